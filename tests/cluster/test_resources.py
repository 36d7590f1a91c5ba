import pytest

from cluster.connect import Capacity
from cluster.resources import ResourcesConfig, concurrent_trials
from spaces.errors import SpecError


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "fits"),
    [
        ({}, 2, 0, 2),
        ({"cpus_per_worker": 3}, 8, 0, 2),
        ({"gpus_per_worker": 1}, 16, 4, 4),
        ({"gpus_per_worker": 0.25}, 16, 1, 4),
        ({"gpus_per_worker": 0.1}, 16, 1, 10),
        ({"gpus_per_worker": 1, "cpus_per_worker": 8}, 16, 4, 2),
        ({"workers": 2}, 5, 0, 2),
        ({"workers": 2, "cpus_per_worker": 2}, 16, 0, 4),
        ({"workers": 4, "gpus_per_worker": 1}, 64, 8, 2),
        ({"concurrent_trials": 3}, 16, 0, 3),
        ({"concurrent_trials": 30}, 16, 0, 16),
    ],
)
def test_as_many_trials_run_at_once_as_fit(resources: dict[str, float], cpus: float, gpus: float, fits: int) -> None:
    config = ResourcesConfig.model_validate(resources)
    assert concurrent_trials(config, Capacity(cpus=cpus, gpus=gpus)) == fits


@pytest.mark.parametrize("resources", [{"cpus_per_worker": 4}, {"gpus_per_worker": 1}, {"workers": 3}])
def test_a_trial_that_never_fits_is_refused_with_both_amounts(resources: dict[str, float]) -> None:
    config = ResourcesConfig.model_validate(resources)
    with pytest.raises(SpecError, match=r"a trial needs .* but there are 2 CPUs and 0 GPUs"):
        concurrent_trials(config, Capacity(cpus=2, gpus=0))


def test_several_workers_cannot_share_a_gpu() -> None:
    with pytest.raises(ValueError, match=r"one whole GPU or none, but got 0\.5"):
        ResourcesConfig(workers=2, gpus_per_worker=0.5)

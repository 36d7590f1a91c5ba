import pytest

from cluster.capacity import Capacity, Room
from cluster.resources import ResourcesConfig, concurrent_trials, waits_for
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


def cluster(*nodes: Room, may_bring: tuple[Room, ...] = ()) -> Capacity:
    return Capacity(
        cpus=sum(node.cpus * node.count for node in nodes), gpus=sum(node.gpus * node.count for node in nodes),
        nodes=nodes, may_bring=may_bring,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("resources", "nodes", "fits"),
    [
        # 2 x 3 CPUs are no 3 x 2: a worker has all of its CPUs on one node
        ({"cpus_per_worker": 2}, [Room(cpus=3, gpus=0), Room(cpus=3, gpus=0)], 2),
        ({"workers": 2, "cpus_per_worker": 2}, [Room(cpus=3, gpus=0), Room(cpus=3, gpus=0)], 1),
        # what is left of each GPU is of no use together
        ({"gpus_per_worker": 0.4}, [Room(cpus=16, gpus=4)], 8),
        ({"gpus_per_worker": 0.3}, [Room(cpus=16, gpus=1), Room(cpus=1, gpus=4)], 4),
        ({"gpus_per_worker": 2}, [Room(cpus=16, gpus=3), Room(cpus=16, gpus=3)], 2),
        ({"workers": 8, "gpus_per_worker": 1}, [Room(cpus=8, gpus=4), Room(cpus=8, gpus=4)], 1),
        # a head without CPUs takes no trial
        ({}, [Room(cpus=0, gpus=0), Room(cpus=4, gpus=0)], 4),
    ],
)
def test_a_worker_fits_onto_one_node(resources: dict[str, float], nodes: list[Room], fits: int) -> None:
    assert concurrent_trials(ResourcesConfig.model_validate(resources), cluster(*nodes)) == fits


def test_what_fits_onto_no_node_is_refused_though_all_together_have_it() -> None:
    config = ResourcesConfig(cpus_per_worker=4)
    with pytest.raises(SpecError, match=r"but there are 6 CPUs and 0 GPUs in all, and at most 3 CPUs .* on one node"):
        concurrent_trials(config, cluster(Room(cpus=3, gpus=0), Room(cpus=3, gpus=0)))


def test_an_autoscaler_is_asked_for_as_many_as_it_may_bring() -> None:
    config = ResourcesConfig(cpus_per_worker=4, gpus_per_worker=1)
    growing = cluster(Room(cpus=2, gpus=0), may_bring=(Room(cpus=2, gpus=0), Room(cpus=8, gpus=2, count=3)))
    assert concurrent_trials(config, growing) == 6
    assert "waiting for nodes: a trial needs 4 CPUs and 1 GPUs" in str(waits_for(config, growing))
    assert waits_for(config, cluster(Room(cpus=8, gpus=2))) is None


def test_what_no_node_type_of_an_autoscaler_has_is_refused_at_once() -> None:
    growing = cluster(Room(cpus=2, gpus=0), may_bring=(Room(cpus=8, gpus=2, count=3),))
    with pytest.raises(SpecError, match=r"at most 8 CPUs and 2 GPUs on one node: it can never start"):
        concurrent_trials(ResourcesConfig(gpus_per_worker=4), growing)


def test_a_fraction_above_one_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match=r"several are whole, but got 1\.5"):
        ResourcesConfig(gpus_per_worker=1.5)

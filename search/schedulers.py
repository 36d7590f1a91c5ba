"""SCHEDULERS: when a trial is stopped early. Tune's schedulers, counting in the spec's unit of training."""

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from search.spec import SchedulerConfig
from trainables.metrics import Mode

RungHistory = Mapping[float, float]
"""Amount of training, in the scheduler's unit -> objective."""


def _asha(config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float) -> TrialScheduler:
    return AsyncHyperBandScheduler(
        time_attr=config.unit,
        metric=metric,
        mode=mode,
        grace_period=config.grace,  # any number works, and epochs may be fractions
        max_t=max_resource,
        reduction_factor=config.reduction_factor,
    )


def _none(config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float) -> TrialScheduler:
    return FIFOScheduler()


SCHEDULERS: dict[str, Callable[..., TrialScheduler]] = {"asha": _asha, "none": _none}


def replay(
    scheduler: TrialScheduler,
    histories: Iterable[tuple[int, RungHistory]],
    *,
    config: SchedulerConfig,
    metric: str,
) -> None:
    """Give a fresh scheduler the rungs of an interrupted search, trial by trial."""
    if isinstance(scheduler, FIFOScheduler) and not isinstance(scheduler, AsyncHyperBandScheduler):
        return
    for number, history in histories:
        trial = SimpleNamespace(trial_id=f"recorded-{number}")
        scheduler.on_trial_add(None, trial)
        for resource, value in sorted(history.items()):
            # What the scheduler answers was decided long ago; only its books matter here.
            scheduler.on_trial_result(None, trial, {config.unit: resource, metric: value})

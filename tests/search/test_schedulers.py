"""One conformance suite for all schedulers: a new one in SCHEDULERS inherits it."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from search.schedulers import SCHEDULERS, replay
from search.spec import SchedulerConfig

METRIC = "eval/loss"


def _scheduler(name: str, *, unit: str = "epochs") -> tuple[TrialScheduler, SchedulerConfig]:
    config = (
        SchedulerConfig(name=name, unit=unit)
        if name == "none"
        else SchedulerConfig(name=name, unit=unit, grace=1, reduction_factor=3)
    )  # type: ignore[arg-type]  # names of SCHEDULERS
    return SCHEDULERS[name](config, metric=METRIC, mode="min", max_resource=9), config


def _report(scheduler: TrialScheduler, trial: Any, resource: float, value: float, *, unit: str = "epochs") -> str:
    return str(scheduler.on_trial_result(None, trial, {unit: resource, METRIC: value}))


def _trial(scheduler: TrialScheduler, name: str) -> SimpleNamespace:
    trial = SimpleNamespace(trial_id=name, status="RUNNING")
    scheduler.on_trial_add(None, trial)
    return trial


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("unit", ["epochs", "steps", "tokens", "evaluations"])
def test_the_best_trial_so_far_always_goes_on(name: str, unit: str) -> None:
    scheduler, _ = _scheduler(name, unit=unit)
    for number, value in enumerate([0.9, 0.8, 0.7, 0.6]):
        assert _report(scheduler, _trial(scheduler, f"t{number}"), 1, value, unit=unit) == TrialScheduler.CONTINUE


@pytest.mark.parametrize("name", SCHEDULERS)
def test_no_trial_is_stopped_before_its_grace(name: str) -> None:
    scheduler, _ = _scheduler(name)
    for number in range(6):
        _report(scheduler, _trial(scheduler, f"good{number}"), 1, 0.1)
    assert _report(scheduler, _trial(scheduler, "bad"), 0.5, 99.0) == TrialScheduler.CONTINUE


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_failed_trial_without_a_metric_is_taken(name: str) -> None:
    scheduler, _ = _scheduler(name)
    scheduler.on_trial_complete(None, _trial(scheduler, "failed"), {"failure": "{}"})


@pytest.mark.parametrize(("name", "decision"), [("asha", TrialScheduler.STOP), ("none", TrialScheduler.CONTINUE)])
def test_a_bad_trial_is_stopped_at_the_first_rung_by_asha_only(name: str, decision: str) -> None:
    scheduler, _ = _scheduler(name)
    for number in range(3):
        _report(scheduler, _trial(scheduler, f"good{number}"), 1, 0.1)
    assert _report(scheduler, _trial(scheduler, "bad"), 1, 0.9) == decision


def test_asha_after_a_replay_decides_as_it_would_have_without_the_interruption() -> None:
    histories = [(number, {1.0: 0.1 * number, 3.0: 0.05 * number}) for number in range(1, 7)]
    straight, config = _scheduler("asha")
    for number, history in histories:
        trial = _trial(straight, f"t{number}")
        for resource, value in history.items():
            _report(straight, trial, resource, value)
    resumed, _ = _scheduler("asha")
    replay(resumed, histories, config=config, metric=METRIC)
    for value in (0.05, 0.15, 0.25, 0.35, 0.65):
        name = f"new{value}"
        assert _report(straight, _trial(straight, name), 1, value) == _report(resumed, _trial(resumed, name), 1, value)

"""SCHEDULERS: when a trial is stopped early. Tune's rules, counting in the spec's unit of training.

Tune's schedulers know a trial by an id that ends with the process. Here a trial is known by its number in the study:
after an interruption the rungs are as they were, for trials that ended and for trials that go on.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from search.stopping import SchedulerConfig
from trainables.metrics import Mode
from trainables.trainable import TrialOrder

RungHistory = Mapping[float, float]
"""Amount of training, in the scheduler's unit -> objective."""
_ROUNDING = 1e-3
"""The study keeps epochs in thousandths."""
CONTINUE, STOP = str(TrialScheduler.CONTINUE), str(TrialScheduler.STOP)


class NumberedScheduler(FIFOScheduler):
    """Asks a rule of Tune's about trials by their numbers. What was decided once stays decided."""

    def __init__(self, rules: Sequence[FIFOScheduler], *, unit: str, metric: str, shares: Sequence[float] = ()) -> None:
        """
        Args:
            rules: One, or one for each bracket.
            unit: Name of the amount of training in a result.
            metric: Name of the objective in a result.
            shares: How many trials each rule gets, relative to the others. Default: all the same.
        """
        super().__init__()
        self._rules = rules
        self._turns = _turns(shares or [1.0] * len(rules))
        self._unit = unit
        self._metric = metric
        self._numbers: dict[str, int] = {}
        self._known: set[int] = set()
        self._last: dict[int, tuple[float, str]] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial starts, or goes on after an interruption."""
        self._know(self._number_of(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on after this evaluation."""
        number = self._number_of(trial)
        if self._unit not in result or self._metric not in result:
            return CONTINUE
        return self.decide(number, resource=result[self._unit], value=result[self._metric])

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The last result of a trial; a failed one may lack all of it."""
        self.on_trial_result(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A lost trial stays in the rungs that it reached."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """The same."""

    def decide(self, number: int, *, resource: float, value: float) -> str:
        """Whether trial `number` goes on with `value` after `resource`. An evaluation that comes again changes
        nothing: it gets the answer it got."""
        self._know(number)
        last = self._last.get(number)
        if last is not None and resource <= last[0]:
            return last[1] if last[0] - resource <= _ROUNDING else CONTINUE
        rule = self._rule(number)
        decision = str(rule.on_trial_result(None, _stand_in(number), {self._unit: resource, self._metric: value}))
        self._last[number] = (resource, decision)
        return decision

    def _number_of(self, trial: Any) -> int:
        if trial.trial_id not in self._numbers:
            self._numbers[trial.trial_id] = TrialOrder.from_config(trial.config).number
        return self._numbers[trial.trial_id]

    def _rule(self, number: int) -> FIFOScheduler:
        return self._rules[self._turns[number % len(self._turns)]]

    def _know(self, number: int) -> None:
        if number not in self._known:
            self._known.add(number)
            self._rule(number).on_trial_add(None, _stand_in(number))

    def debug_string(self) -> str:
        """For Tune's own displays."""
        return "; ".join(rule.debug_string() for rule in self._rules)


class _MedianRule(MedianStoppingRule):
    """Tune's rule, which would pause trials while there are few of them; they go on."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether it goes on. In a replay a trial may have gone on where this rule, knowing more by now, would not."""
        self._stopped_trials.discard(trial)
        return str(super().on_trial_result(tune_controller, trial, result))

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:
        return CONTINUE


class _PatienceRule(FIFOScheduler):
    """A trial that has not got better for a while ends, unless none was ever better."""

    def __init__(self, config: SchedulerConfig, *, metric: str, mode: Mode) -> None:
        super().__init__()
        self._config = config
        self._metric = metric
        self._sign = 1.0 if mode == "min" else -1.0
        self._best: dict[str, tuple[float, float]] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Nothing to note."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether it goes on."""
        resource, value = result[self._config.unit], self._sign * result[self._metric]
        best, at = self._best.get(trial.trial_id, (float("inf"), resource))
        if value < best - self._config.min_change:
            self._best[trial.trial_id] = best, at = value, resource
        self._best.setdefault(trial.trial_id, (best, at))
        if resource < self._config.grace or resource - at < self._config.patience:
            return CONTINUE
        is_best = best <= min(other for other, _ in self._best.values())
        return CONTINUE if is_best else STOP


def _asha(config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float) -> TrialScheduler:
    return NumberedScheduler([_rungs(config, metric, mode, max_resource, 0)], unit=config.unit, metric=metric)


def _hyperband(config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float) -> TrialScheduler:
    # Tune draws a trial's bracket at random, from numpy's global state; here trials take turns by their number, so that
    # it is the same after an interruption. Shares as in HyperBand (Li et al. 2018, algorithm 1).
    count = config.num_brackets(max_resource)
    rules = [_rungs(config, metric, mode, max_resource, bracket) for bracket in range(count)]
    shares = [count / (count - bracket) * config.reduction_factor ** (count - 1 - bracket) for bracket in range(count)]
    return NumberedScheduler(rules, unit=config.unit, metric=metric, shares=shares)


def _rungs(
    config: SchedulerConfig, metric: str, mode: Mode, max_resource: float, bracket: int
) -> AsyncHyperBandScheduler:
    return AsyncHyperBandScheduler(
        time_attr=config.unit,
        metric=metric,
        mode=mode,
        grace_period=config.grace * config.reduction_factor**bracket,  # any number works, epochs may be fractions
        max_t=max_resource,
        reduction_factor=config.reduction_factor,
    )


def _median(config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float | None) -> TrialScheduler:
    rule = _MedianRule(
        time_attr=config.unit, metric=metric, mode=mode, grace_period=config.grace,
        min_samples_required=config.min_trials, hard_stop=True,
    )  # fmt: skip
    return NumberedScheduler([rule], unit=config.unit, metric=metric)


def _patience(config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float | None) -> TrialScheduler:
    return NumberedScheduler([_PatienceRule(config, metric=metric, mode=mode)], unit=config.unit, metric=metric)


def _none(config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float | None) -> TrialScheduler:
    return FIFOScheduler()


SCHEDULERS: dict[str, Callable[..., TrialScheduler]] = {
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
    "patience": _patience,
    "none": _none,
}


def replay(scheduler: TrialScheduler, histories: Iterable[tuple[int, RungHistory]]) -> None:
    """Give a fresh scheduler what trials of an interrupted search reported, those that go on included."""
    if not isinstance(scheduler, NumberedScheduler):
        return
    for number, history in histories:
        for resource, value in sorted(history.items()):
            scheduler.decide(number, resource=resource, value=value)


def _turns(shares: Sequence[float]) -> list[int]:
    """Whose turn it is, trial by trial: each gets its share of a round, spread as evenly as can be."""
    tenths = [round(10 * share / min(shares)) for share in shares]
    wanted = [share // math.gcd(*tenths) for share in tenths]
    credit, turns = [0.0] * len(shares), []
    for _ in range(sum(wanted)):
        credit = [have + want for have, want in zip(credit, wanted, strict=True)]
        chosen = max(range(len(credit)), key=credit.__getitem__)
        credit[chosen] -= sum(wanted)
        turns.append(chosen)
    return turns


@dataclass(frozen=True, slots=True)
class _StandIn:
    """What a rule of Tune's needs to know of a trial."""

    trial_id: str


def _stand_in(number: int) -> Any:
    return _StandIn(str(number))

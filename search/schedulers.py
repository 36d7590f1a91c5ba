"""SCHEDULERS: when a trial is stopped early, or waits. Tune's rules and our own, in the spec's unit of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from search.numbered_scheduler import NumberedScheduler
from search.pasha import Pasha
from search.patience import Patience
from search.population import Population
from search.protected_rungs import ProtectedRungs
from search.rank_prediction import RankPrediction
from search.rules import CONTINUE, STOP, Decision, Rule
from search.stopping import SchedulerConfig
from spaces.space import Assignment, Space
from trainables.metrics import Mode

# --- rules of Tune's -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _StandIn:
    """What a rule of Tune's needs to know of a trial."""

    trial_id: str


class _TunesRule(Rule):
    """A scheduler of Tune's, asked without its controller."""

    def __init__(self, scheduler: FIFOScheduler, config: SchedulerConfig, *, metric: str, words: str) -> None:
        self._scheduler = scheduler
        self._unit = config.unit
        self._metric = metric
        self._words = words

    def add(self, number: int) -> None:
        """A trial starts."""
        self._scheduler.on_trial_add(None, _stand_in(number))

    def decide(self, number: int, *, resource: float, value: float) -> Decision:
        """As Tune decides."""
        result = {self._unit: resource, self._metric: value}
        answer = self._scheduler.on_trial_result(None, _stand_in(number), result)
        return CONTINUE if answer == TrialScheduler.CONTINUE else STOP

    def why(self, number: int) -> str:
        """In general words: Tune does not say more."""
        return self._words


class _MedianRule(MedianStoppingRule):
    """Tune's rule, which would pause trials while there are few of them; they go on."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether it goes on. In a replay a trial may have gone on where this rule, knowing more by now, would not."""
        self._stopped_trials.discard(trial)
        return str(super().on_trial_result(tune_controller, trial, result))

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:
        return str(TrialScheduler.CONTINUE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    """What a population needs to know of its trials."""

    space: Space
    """Where their values come from."""
    mutate: Sequence[str]
    """The paths that change."""
    seed: int
    """Of the search."""
    first_assignment: Callable[[int], Assignment]
    """What a trial began with."""


# --- builders --------------------------------------------------------------------------------------------


def _asha(
    config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float, members: Members | None = None
) -> NumberedScheduler:
    return NumberedScheduler(_brackets(config, metric, mode, max_resource, count=1), unit=config.unit, metric=metric)


def _hyperband(
    config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float, members: Members | None = None
) -> NumberedScheduler:
    # Tune draws a trial's bracket at random, from numpy's global state; here trials take turns by their number, so that
    # it is the same after an interruption. Shares as in HyperBand (Li et al. 2018, algorithm 1).
    count = config.num_brackets(max_resource)
    rules = _brackets(config, metric, mode, max_resource, count=count)
    shares = [count / (count - bracket) * config.reduction_factor ** (count - 1 - bracket) for bracket in range(count)]
    return NumberedScheduler(rules, unit=config.unit, metric=metric, shares=shares)


def _brackets(config: SchedulerConfig, metric: str, mode: Mode, max_resource: float, *, count: int) -> list[Rule]:
    """One rule a bracket. What their rungs foretell is learned together."""
    rungs = config.rungs(max_resource)
    prediction = RankPrediction(rungs, max_resource=max_resource, unit=config.unit)
    rules: list[Rule] = []
    for bracket in range(count):
        plain = _TunesRule(
            AsyncHyperBandScheduler(
                time_attr=config.unit,
                metric=metric,
                mode=mode,
                # Any number works: epochs may be fractions.
                grace_period=config.grace * config.reduction_factor**bracket,
                max_t=max_resource,
                reduction_factor=config.reduction_factor,
            ),
            config, metric=metric, words=f"not among the best 1/{config.reduction_factor:g} at its rung",
        )  # fmt: skip
        protected = ProtectedRungs(
            plain,
            rungs=rungs[bracket:],
            reduction_factor=config.reduction_factor,
            prediction=prediction,
            max_resource=max_resource,
            sign=_sign(mode),
        )
        rules.append(protected if config.protect else plain)
    return rules


def _pasha(
    config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float, members: Members | None = None
) -> NumberedScheduler:
    rule = Pasha(config, max_resource=max_resource, sign=_sign(mode))
    return NumberedScheduler([rule], unit=config.unit, metric=metric)


def _population(
    config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float | None, members: Members | None = None
) -> NumberedScheduler:
    from search.exploring import Bandit, Perturbation  # scikit-learn takes a while to import

    assert members is not None, "a population has members"
    explorer = (Bandit if config.name == "pb2" else Perturbation)(members.space, config, mutate=members.mutate)
    rule = Population(
        config,
        explorer=explorer,
        first_assignment=members.first_assignment,
        sign=_sign(mode),
        seed=members.seed,
        max_resource=max_resource,
    )
    return NumberedScheduler([rule], unit=config.unit, metric=metric)


def _median(
    config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float | None, members: Members | None = None
) -> NumberedScheduler:
    tunes = _MedianRule(
        time_attr=config.unit, metric=metric, mode=mode, grace_period=config.grace,
        min_samples_required=config.min_trials, hard_stop=True,
    )  # fmt: skip
    rule = _TunesRule(tunes, config, metric=metric, words="worse than the median of the others so far")
    return NumberedScheduler([rule], unit=config.unit, metric=metric)


def _patience(
    config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float | None, members: Members | None = None
) -> NumberedScheduler:
    return NumberedScheduler([Patience(config, sign=_sign(mode))], unit=config.unit, metric=metric)


def _none(
    config: SchedulerConfig, *, metric: str, mode: Mode, max_resource: float | None, members: Members | None = None
) -> NumberedScheduler:
    return NumberedScheduler([_TunesRule(FIFOScheduler(), config, metric=metric, words="")], unit=config.unit,
                             metric=metric)  # fmt: skip


SCHEDULERS: dict[str, Callable[..., NumberedScheduler]] = {
    "asha": _asha,
    "hyperband": _hyperband,
    "pasha": _pasha,
    "pbt": _population,
    "pb2": _population,
    "median": _median,
    "patience": _patience,
    "none": _none,
}


def _sign(mode: Mode) -> float:
    return 1.0 if mode == "min" else -1.0


def _stand_in(number: int) -> Any:
    return _StandIn(str(number))

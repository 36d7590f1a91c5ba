"""Our rules behind Tune's scheduler: trials by their numbers, conditions, trials that wait, what is journalled.

Tune's schedulers know a trial by an id that ends with the process. Here a trial is known by its number in the study:
after an interruption all is as it was, for trials that ended and for trials that go on. Knows no rule by name.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.conditions import StopConditions
from search.processes import Processes
from search.racing import Race
from search.rules import CONTINUE, STOP, Decision, HandOver, PausingRule, Rule
from spaces.reports import TrialReport
from trainables.trainable import REPORT, TrialOrder

RungHistory = Mapping[float, float]
"""Amount of training, in the scheduler's unit -> objective."""
_ROUNDING = 1e-3
"""The study keeps epochs in thousandths."""


class NumberedScheduler(FIFOScheduler):
    """Asks rules about trials by their numbers. What was decided once stays decided."""

    def __init__(self, rules: Sequence[Rule], *, unit: str, metric: str, shares: Sequence[float] = ()) -> None:
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
        self._processes: Processes | None = None
        self._numbers: dict[str, int] = {}
        self._known: set[int] = set()
        self._last: dict[int, tuple[float, Decision]] = {}
        self._reasons: dict[int, str] = {}
        self._errors: dict[int, BaseException | None] = {}
        self.conditions = StopConditions(())
        """What ends a trial besides the rules."""
        self.race: Race | None = None
        """Between trials of several folds."""
        self.on_event: Callable[[Mapping[str, Any]], None] = lambda event: None
        """Told what `apply` needs to bring a fresh scheduler to where this one is, before it is acted on."""
        self.on_news: Callable[[str], None] = lambda sentence: None
        """Told what a person should know."""
        self.on_hand_overs: Callable[[Sequence[HandOver]], None] = lambda hand_overs: None
        """Told which trials go on from others' checkpoints, before any of them does. May be told again."""
        self.may_begin: Callable[[], bool] = lambda: True
        """Whether another trial may begin when one ends."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The trial that Tune starts next."""
        if self._processes is None:
            self._processes = Processes(tune_controller._tune_controller, order=self._number_of)
        self._processes.forget_ended()
        chosen = self._processes.next_trial()
        if chosen is None and not self.may_begin():
            self._processes.let_go_of_kept()
        return chosen

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial starts, or goes on after an interruption."""
        self._know(self._number_of(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on after this evaluation. For Tune one that pauses has ended, too."""
        number = self._number_of(trial)
        if self._unit not in result or self._metric not in result:
            return str(TrialScheduler.CONTINUE)
        reason = self._met_by(number, TrialReport.from_json(result[REPORT])) if REPORT in result else None
        if reason is not None:
            self._reasons[number] = reason
            return str(TrialScheduler.STOP)
        decision = self.decide(number, resource=result[self._unit], value=result[self._metric])
        return str(TrialScheduler.CONTINUE if decision == CONTINUE else TrialScheduler.STOP)

    def _met_by(self, number: int, report: TrialReport) -> str | None:
        lost = self.race.met_by(number, report) if self.race else None
        return self.conditions.met_by(report) or lost

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The last result of a trial; a failed one may lack all of it."""
        self.on_trial_result(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A lost trial stays in the rungs that it reached."""
        self._errors[self._number_of(trial)] = _error_of(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """The same."""

    def decide(self, number: int, *, resource: float, value: float) -> Decision:
        """Whether trial `number` goes on with `value` after `resource`. An evaluation that comes again changes
        nothing: it gets the answer it got."""
        self._know(number)
        last = self._last.get(number)
        if last is not None and resource <= last[0]:
            return last[1] if last[0] - resource <= _ROUNDING else CONTINUE
        self.on_event({"trial": number, "resource": resource, "value": value})
        rule = self._rule(number)
        decision = rule.decide(number, resource=resource, value=value)
        self._last[number] = (resource, decision)
        if decision == STOP:
            self._reasons[number] = rule.why(number)
        self._tell_news(rule)
        return decision

    def take_error(self, number: int) -> BaseException | None:
        """By what error a trial was lost, once; None where that is not known."""
        return self._errors.pop(number, None)

    def why_stopped(self, number: int) -> str | None:
        """Why a trial was stopped, for a person; None when it was not."""
        return self._reasons.get(number)

    def end(self, number: int) -> None:
        """A trial has ended for good."""
        self.on_event({"ended": number})
        self._know(number)
        self._rule(number).end(number)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Bring this scheduler a step further, to where another one was."""
        if "trial" in event:
            self.decide(event["trial"], resource=event["resource"], value=event["value"])
        elif "ended" in event:
            self.end(event["ended"])
        elif self._pausing is not None and "goes_on" in event:
            self._go_on(self._pausing, event["goes_on"], to_the_end=event["to_the_end"])
        elif self._pausing is not None and "hand_overs" in event:
            self._pausing.restore([HandOver(**each) for each in event["hand_overs"]])

    # --- trials that wait -----------------------------------------------------------------------------------

    @property
    def can_pause(self) -> bool:
        """Whether trials may have to wait."""
        return self._pausing is not None

    def is_paused(self, number: int) -> bool:
        """Whether a trial waits."""
        return self._pausing is not None and self._pausing.is_paused(number)

    @property
    def paused(self) -> list[int]:
        """The trials that wait."""
        return [number for number in sorted(self._known) if self.is_paused(number)]

    def take_next(self, *, is_last_act: bool = False) -> int | None:
        """A waiting trial that goes on now. In the last act, when all else has ended, it trains to its end."""
        rule = self._pausing
        if rule is None:
            return None
        number = rule.last_act() if is_last_act else rule.next_paused()
        if hand_overs := rule.hand_overs():
            self.on_event({"hand_overs": [asdict(each) for each in hand_overs]})
            self.on_hand_overs(hand_overs)
        self._tell_news(rule)
        if number is not None:
            self.on_event({"goes_on": number, "to_the_end": is_last_act})
            self._go_on(rule, number, to_the_end=is_last_act)
        return number

    def _go_on(self, rule: PausingRule, number: int, *, to_the_end: bool) -> None:
        rule.go_on(number, to_the_end=to_the_end)
        # It will report the evaluation of its checkpoint again: that is no reason to wait again.
        self._last[number] = (self._last[number][0], CONTINUE)

    def no_more_trials(self) -> None:
        """No new trial will start."""
        if self._pausing is not None:
            self._pausing.has_all_trials = True

    def repeat_hand_overs(self) -> None:
        """After an interruption: those that a kill may have left half done."""
        if self._pausing is not None and (open_ones := self._pausing.open_hand_overs()):
            self.on_hand_overs(open_ones)

    @property
    def _pausing(self) -> PausingRule | None:
        rule = self._rules[0]
        return rule if isinstance(rule, PausingRule) else None

    def _tell_news(self, rule: Rule) -> None:
        for sentence in rule.news():
            self.on_news(sentence)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its parts for a restore that we never ask for."""
        return {}

    def _number_of(self, trial: Any) -> int:
        if trial.trial_id not in self._numbers:
            self._numbers[trial.trial_id] = TrialOrder.from_config(trial.config).number
        return self._numbers[trial.trial_id]

    def _rule(self, number: int) -> Rule:
        return self._rules[self._turns[number % len(self._turns)]]

    def _know(self, number: int) -> None:
        if number not in self._known:
            self._known.add(number)
            self._rule(number).add(number)


def replay(
    scheduler: NumberedScheduler,
    histories: Iterable[tuple[int, RungHistory]],
    *,
    events: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Give a fresh scheduler what trials of an interrupted search reported, those that go on included.

    Args:
        scheduler: It knows nothing yet.
        histories: What the study holds, by trial.
        events: What the scheduler before it was told, in that order. What the study holds beyond them comes after.
    """
    for event in events:
        scheduler.apply(event)
    for number, history in histories:
        for resource, value in sorted(history.items()):
            scheduler.decide(number, resource=resource, value=value)


def is_ahead_of_study(event: Mapping[str, Any], *, num_trials: int, running: Collection[int]) -> bool:
    """Whether an event is about a trial that the study does not know, or is the end of one that still has to run."""
    ended = event.get("ended")
    handed = [each[role] for each in event.get("hand_overs", ()) for role in ("donor", "receiver")]
    named = [number for number in (event.get("trial"), ended, event.get("goes_on"), *handed) if number is not None]
    return ended in running or any(number >= num_trials for number in named)


def _error_of(trial: Any) -> BaseException | None:
    """The error that Tune has just written down beside the trial; its own reader looks where it is copied later."""
    file = trial.pickled_error_file
    return cloudpickle.loads(Path(file).read_bytes()) if file and Path(file).is_file() else None


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

"""A search against recorded results: the same proposers and schedulers, a simulated clock, no training.

Workers are asked for in the order in which they become free, as in an asynchronous search; what a trial would have
reported comes from a table, at the time it was recorded at. Equal seeds give equal trajectories.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.algorithms import AlgorithmConfig
from search.budget import Account, BudgetConfig
from search.lessons import EndState, Lessons
from search.rules import CONTINUE, PAUSE
from search.samplers import make_proposer
from search.schedulers import SCHEDULERS
from search.stopping import SchedulerConfig
from search.tables import Curve, Table
from spaces.space import Assignment, Space
from trainables.metrics import Mode

CurveOf = Callable[[Assignment], Curve]


@dataclass(frozen=True, kw_only=True, slots=True)
class RehearsedTrial:
    """A trial that ended."""

    number: int
    """In the order of starts."""
    params: dict[str, Any]
    """Dotted path -> value."""
    value: float | None
    """The objective at its last evaluation; None when it diverged before the first."""
    steps: float
    """Training that it had, in the unit of the table."""
    state: EndState
    """COMPLETE, PRUNED or FAIL."""
    time: float
    """Simulated seconds from the start of the search to its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """One repeat."""

    repeat: int
    """From 0."""
    trials: list[RehearsedTrial]
    """In the order in which they ended."""
    best: list[float | None]
    """The best objective of a COMPLETE trial after each of them; None before there was one."""

    def to_json(self) -> dict[str, Any]:
        """The documented form of `rehearse --json`."""
        trials = [
            {
                "number": trial.number,
                "params": trial.params,
                "value": trial.value,
                "steps": trial.steps,
                "state": trial.state,
                "time": trial.time,
            }
            for trial in self.trials
        ]
        return {"repeat": self.repeat, "trials": trials, "best": self.best}


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """What is rehearsed."""

    space: Space
    """What varies."""
    algorithm: AlgorithmConfig
    """How configurations are chosen; not `auto`, but what it stands for."""
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    """When trials are stopped early."""
    metric: str = "value"
    """Name of the objective."""
    mode: Mode = "min"
    """Which way it is better."""
    num_trials: int
    """How many trials at most."""
    max_resource: float | None = None
    """The most training a trial gets. Default: all that the table has."""
    start_from: Sequence[Mapping[str, Any]] = ()
    """Points that come first."""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    """What ends the search early: time on the simulated clock, a target, a plateau. A table knows no other amounts."""


def rehearse(script: Script, table: Table, *, repeat: int, seed: int, num_parallel: int = 1) -> Rehearsal:
    """One search against `table`, with `num_parallel` workers."""
    return _Stage(script, table.curve, seed=seed, num_parallel=num_parallel, longest=_longest(script, table)).play(
        repeat
    )


class _Stage:
    """The search while it runs."""

    def __init__(self, script: Script, curve_of: CurveOf, *, seed: int, num_parallel: int, longest: float) -> None:
        self._script = script
        self._curve_of = curve_of
        self._num_parallel = num_parallel
        self._longest = longest
        self._lessons = Lessons(
            make_proposer(script.space, script.algorithm, seed=seed, start_from=script.start_from),
            directions=["minimize" if script.mode == "min" else "maximize"],
        )
        self._scheduler = SCHEDULERS[script.scheduler.name](
            script.scheduler, metric=script.metric, mode=script.mode, max_resource=longest
        )
        self._account = Account(
            budget=BudgetConfig(time=script.budget.time, target=script.budget.target, plateau=script.budget.plateau),
            mode=script.mode,
            rates={"time": 1.0},
            stops_early=script.scheduler.name != "none",
        )
        self._num_started = 0
        self._events: list[tuple[float, int, int]] = []
        self._running: dict[int, tuple[Assignment, Curve, float]] = {}
        self._waiting: dict[int, tuple[Assignment, Curve, float, int]] = {}
        self._ended: list[RehearsedTrial] = []
        self._best: list[float | None] = []

    def play(self, repeat: int) -> Rehearsal:
        """From the first trial to the last."""
        now = 0.0
        self._start_all(now)
        # When a limit is reached, what runs stays unfinished.
        while self._events and self._account.exhausted(now=self._events[0][0]) is None:
            # At the same time the trial that started first reports first.
            now, number, index = heapq.heappop(self._events)
            if self._report(number, index, now):
                # A trial that did not fit into the budget while others ran may do so now.
                self._start_all(now)
        for number in sorted(self._waiting):
            self._running[number], index = self._waiting[number][:3], self._waiting[number][3]
            self._end(number, index, "PRUNED", now)
        return Rehearsal(repeat=repeat, trials=self._ended, best=self._best)

    def _start_all(self, now: float) -> None:
        """Give every free worker a trial, as long as there is one."""
        while len(self._running) < self._num_parallel and self._start(now):
            pass

    def _start(self, now: float) -> bool:
        """Begin the next trial, or go on with one that has waited. Gives whether there was one."""
        waited = self._scheduler.take_next()
        draft = None
        if waited is None and self._num_started < self._script.num_trials:
            verdict = self._account.verdict(now=now)
            if verdict.action == "wait":
                return False
            draft = self._lessons.draft() if verdict.action == "start" else None
        if waited is None and draft is None:
            self._scheduler.no_more_trials()
            waited = self._scheduler.take_next(is_last_act=not self._running)
        if waited is not None:
            self._go_on(waited, now)
        if draft is None:
            return waited is not None
        number, self._num_started = self._num_started, self._num_started + 1
        curve = self._curve_of(draft.assignment)
        self._running[number] = draft.assignment, curve, now
        self._account.started(number, now=now)
        heapq.heappush(self._events, (now + curve.seconds[0], number, 0))
        return True

    def _go_on(self, number: int, now: float) -> None:
        """A trial that has waited goes on where it was: its clock stood still."""
        assignment, curve, _, index = self._waiting.pop(number)
        began = now - curve.seconds[index]
        self._running[number] = assignment, curve, began
        heapq.heappush(self._events, (began + curve.seconds[index + 1], number, index + 1))

    def _report(self, number: int, index: int, now: float) -> bool:
        """An evaluation of a running trial. Gives whether the trial ends with it."""
        _, curve, began = self._running[number]
        step, value = curve.steps[index], curve.values[index]
        if not math.isfinite(value):
            self._end(number, index, "FAIL", now)
            return True
        goes_on = self._scheduler.decide(number, resource=step, value=value)
        is_last = index + 1 == len(curve.steps) or curve.steps[index + 1] > self._longest
        if goes_on == PAUSE and not is_last:
            self._waiting[number] = (*self._running.pop(number), index)
            self._lessons.pause(number, last=(int(step * 1000), value))
            return True
        if is_last or goes_on != CONTINUE:
            self._end(number, index, "COMPLETE" if is_last else "PRUNED", now)
            return True
        heapq.heappush(self._events, (began + curve.seconds[index + 1], number, index + 1))
        return False

    def _end(self, number: int, index: int, state: EndState, now: float) -> None:
        assignment, curve, began = self._running.pop(number)
        self._scheduler.end(number)
        reported = index if state == "FAIL" else index + 1
        last = (int(curve.steps[reported - 1] * 1000), curve.values[reported - 1]) if reported else None
        value = last[1] if last else None
        told = [value] if state == "COMPLETE" and value is not None else None
        self._lessons.finish(number, state=state, values=told, last=last)
        self._ended.append(
            RehearsedTrial(
                number=number, params=assignment, value=value, steps=curve.steps[index], state=state, time=now
            )
        )
        best = self._best[-1] if self._best else None
        if state == "COMPLETE" and value is not None:
            better = min if self._script.mode == "min" else max
            best = value if best is None else better(best, value)
        self._best.append(best)
        self._account.ended(number, state=state, value=value if state == "COMPLETE" else None, seconds=now - began)


def _longest(script: Script, table: Table) -> float:
    recorded = max(curve.steps[-1] for curve in table.curves)
    return recorded if script.max_resource is None else min(recorded, script.max_resource)

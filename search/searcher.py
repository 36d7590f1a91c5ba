"""Tune's Searcher over our recorder: hands out orders, passes on what came back. The only door between Tune and us."""

import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray.tune.search import Searcher

from cluster.avoidance import FULL_FOR_SECONDS, Avoidance
from cluster.faults import Attempts, Decision, Fault, decide, fault_of, fault_of_failure, recorded_kind
from search.control import ControlDesk, Lanes, first_lanes
from search.ledger import Proposal
from search.numbered_scheduler import NumberedScheduler
from search.placing import kept_away
from search.recorder import Recorder
from search.units import show_count
from spaces.reports import TrialFailure, TrialReport
from trainables.trainable import CALLED_AWAY, FAILURE, FINISHED, LAST_ROWS, NODE, REPORT, TrialOrder

log = logging.getLogger(__name__)


class AskTellSearcher(Searcher):
    """One searcher for all algorithms: they differ in the ledger's proposer only."""

    def __init__(
        self,
        recorder: Recorder,
        scheduler: NumberedScheduler,
        *,
        make_order: Callable[[int, dict[str, Any]], TrialOrder],
        num_trials: int,
        max_restarts: int = 0,
        num_concurrent: int,
        desk: ControlDesk | None = None,
        avoidance: Avoidance | None = None,
    ) -> None:
        super().__init__(metric=recorder.metric, mode=recorder.mode)
        self._recorder = recorder
        self._scheduler = scheduler
        self._make_order = make_order
        self._num_trials = num_trials
        self._max_restarts = max_restarts
        self._attempts: dict[int, Attempts] = {}
        self._desk = desk
        self._avoidance = avoidance or Avoidance()
        # Tune would hold a number of its own, which cannot be changed while it runs.
        self._lanes = first_lanes(num_concurrent)
        scheduler.may_begin = lambda: self.has_free_lane and not self._is_running_out
        waiting = set(scheduler.paused)
        self._unfinished = deque(each for each in recorder.unfinished() if each.number not in waiting)
        self._numbers: dict[str, int] = {}
        self.is_closing = False
        """Set when the search is interrupted: trials that Tune stops then stay resumable."""
        self.ended_by: str | None = None
        """What ended the search before all its trials were run, and not by an interruption."""
        self._to_stop: set[int] = set()
        self._is_held_back = False
        """Whether a new trial has to wait until one that runs has ended."""
        self._has_no_more = False
        """Whether all trials were handed out. One that is lost comes again."""

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        """The next order: first what an interrupted session left, then trials that have waited, then new ones."""
        self.listen()
        if self.is_closing:
            return None if self._numbers else str(Searcher.FINISHED)
        if not self.has_free_lane:
            return None
        if self._unfinished and (reason := self._recorder.exhausted()) is not None:
            self.ended_by = reason
            return str(Searcher.FINISHED)
        # One that was interrupted needs less than a new trial: it has come some way.
        proposal = self._unfinished.popleft() if self._unfinished else self._next()
        if proposal is None and (self._is_held_back or self._numbers):
            return None  # one that runs may let others go on, or may be lost and go on itself
        if proposal is None:
            for number in self._scheduler.paused:
                self._recorder.finish(number, is_complete=False, reason="it waited to go on until the search ended")
                self._scheduler.end(number)
            return str(Searcher.FINISHED)
        self._numbers[trial_id] = proposal.number
        document = self._recorder.start(proposal)
        return kept_away(self._make_order(proposal.number, document).to_config(), self._avoidance.nodes)

    @property
    def lanes(self) -> Lanes:
        """How many trials may run, and do."""
        return replace(self._lanes, num_running=len(self._numbers), is_running_out=self._is_running_out)

    @property
    def _is_running_out(self) -> bool:
        return self._has_no_more and not self._unfinished and not self._scheduler.can_pause

    @property
    def has_free_lane(self) -> bool:
        """Whether another trial may begin now."""
        return not self._lanes.is_paused and len(self._numbers) < self._lanes.num_concurrent

    def listen(self) -> None:
        """Do what was asked for from outside."""
        if self._desk is not None:
            self._desk.answer(self)

    def stop_search(self) -> None:
        """End the search in order: trials stay resumable."""
        self.is_closing = True

    def pause(self) -> None:
        """Begin no new trials; those that run go on to their ends."""
        self._lanes = replace(self._lanes, is_paused=True)
        self._recorder.say("paused: trials that run go on, no new ones begin")

    def go_on(self) -> None:
        """Begin new trials again."""
        self._lanes = replace(self._lanes, is_paused=False)
        self._recorder.say("going on")

    def scale(self, num_concurrent: int) -> None:
        """From now on so many trials at once. More than fit wait until there is room, or until a queue gives it."""
        self._lanes = self._lanes.with_asked(num_concurrent)
        now = self._lanes.num_concurrent
        self._recorder.say(
            f"from now on {show_count(now, 'trial')} at once"
            + (f", and up to {num_concurrent} when the queue gives room" if now < num_concurrent else "")
        )

    def grant(self, num_concurrent: int) -> None:
        """A queue gives room for so many trials at once."""
        before = self._lanes.num_concurrent
        self._lanes = self._lanes.with_granted(num_concurrent)
        if self._lanes.num_concurrent != before:
            self._recorder.say(f"the queue gives room for {show_count(num_concurrent, 'trial')} at once")

    def end_if_exhausted(self) -> None:
        """End the search when its budget is spent while trials run: they stay resumable."""
        if not self.is_closing and (reason := self._recorder.exhausted()) is not None:
            self.ended_by = reason
            self.is_closing = True

    def stop_trial(self, number: int) -> bool:
        """Stop trial `number` at its next evaluation. Gives whether it runs."""
        runs = number in self._numbers.values()
        if runs:
            self._to_stop.add(number)
        return runs

    def is_to_stop(self, trial_id: str) -> bool:
        """Whether a person wants this trial to end."""
        number = self._numbers.get(trial_id)
        if number not in self._to_stop:
            return False
        self._to_stop.discard(number)
        self._recorder.stopping(number, by="user")
        return True

    def _next(self) -> Proposal | None:
        """A trial that has waited, else a new one, else whatever can still go on."""
        self._is_held_back = False
        if self._has_no_more and not self._scheduler.can_pause:
            return None
        waited = self._scheduler.take_next()
        if waited is None and self._recorder.num_trials < self._num_trials:
            if (fresh := self._fresh()) is not None:
                return fresh
            if self._is_held_back:
                return None
        if waited is None:
            self._scheduler.no_more_trials()
            waited = self._scheduler.take_next()
        if waited is None and not self._numbers:
            waited = self._scheduler.take_next(is_last_act=True)
        self._has_no_more = waited is None
        return self._recorder.proposal(waited) if waited is not None else None

    def _fresh(self) -> Proposal | None:
        """A new trial, where the budget allows one."""
        verdict = self._recorder.verdict()
        if verdict.action == "start":
            return self._recorder.ask()
        if verdict.action == "wait":
            self._is_held_back = True
        else:
            self.ended_by = verdict.reason
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """An evaluation of a trial that goes on."""
        self._avoidance.uses(result.get(NODE, ""))
        self._recorder.report(self._numbers[trial_id], TrialReport.from_json(result[REPORT]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The last result of a trial, or its loss. Tune brings the last result only here."""
        number = self._numbers.pop(trial_id, None)
        if number is None or self.is_closing:
            return
        if error or result is None:
            lost = self._scheduler.take_error(number)
            fault = fault_of([kind.__name__ for kind in type(lost).__mro__], str(lost))
            if self._goes_on(number, fault):
                return
            self._recorder.fail(number, self._lost(number, fault), rows=[])
        elif CALLED_AWAY in result:
            fault = Fault(kind="preempted", node=result.get(NODE))
            if self._goes_on(number, fault):
                return
            self._recorder.fail(number, self._lost(number, fault), rows=[])
        elif FAILURE in result:
            failure = TrialFailure.from_json(result[FAILURE])
            own = fault_of_failure(replace(failure, node=failure.node or result.get(NODE)))
            if own is not None and self._goes_on(number, own):
                return
            if own is not None:
                failure = replace(self._lost(number, own), seconds=failure.seconds)
            self._recorder.fail(number, failure, rows=json.loads(result[LAST_ROWS]))
        else:
            if REPORT in result:
                self._recorder.report(number, TrialReport.from_json(result[REPORT]))
            if not result.get(FINISHED) and self._scheduler.is_paused(number):
                if not self._recorder.pause(number):
                    self._scheduler.end(number)
                return
            reason = None if result.get(FINISHED) else self._scheduler.why_stopped(number)
            self._recorder.finish(number, is_complete=bool(result.get(FINISHED)), reason=reason)
        self._scheduler.end(number)

    def _goes_on(self, number: int, fault: Fault) -> bool:
        """Whether a trial that was lost is started again, from its last checkpoint and before all others."""
        self._keep_away_from_its_node(fault)
        before = self._attempts.get(number, Attempts())
        decision = self._decide(number, fault)
        if decision.action == "record":
            return False
        self._attempts[number] = before.with_one_more(fault)
        self._unfinished.appendleft(self._recorder.proposal(number))
        self._recorder.lost(number, because=decision.words)
        return True

    def _lost(self, number: int, fault: Fault) -> TrialFailure:
        return TrialFailure(
            kind=recorded_kind(fault), message=self._decide(number, fault).words, details=fault.details
        )  # fmt: skip

    def _decide(self, number: int, fault: Fault) -> Decision:
        return decide(
            fault, self._attempts.get(number, Attempts()), max_restarts=self._max_restarts,
            is_full_everywhere=self._avoidance.is_full_everywhere,
        )  # fmt: skip

    def _keep_away_from_its_node(self, fault: Fault) -> None:
        if not fault.node:
            return
        if fault.kind == "preempted":
            self._avoidance.leave(fault.node)
        elif fault.kind == "disk_full":
            self._avoidance.fill(fault.node)
            then = f": no trial begins there for {FULL_FOR_SECONDS / 60:.0f} min"
            if self._avoidance.is_full_everywhere:
                then = ", and there is no other node with room"
            self._recorder.say(f"the disk of node {self._avoidance.name_of(fault.node)} is full{then}")

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its parts for a restore that we never ask for."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the study is the state."""

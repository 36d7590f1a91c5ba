"""Tune's Searcher over our recorder: hands out orders, passes on what came back. The only door between Tune and us."""

import json
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from search.budget import Verdict
from search.recorder import Recorder
from spaces.reports import TrialFailure, TrialReport
from trainables.trainable import FAILURE, FINISHED, LAST_ROWS, REPORT, TrialOrder

log = logging.getLogger(__name__)


class AskTellSearcher(Searcher):
    """One searcher for all algorithms: they differ in the ledger's proposer only."""

    def __init__(
        self, recorder: Recorder, *, make_order: Callable[[int, dict[str, Any]], TrialOrder], num_trials: int
    ) -> None:
        super().__init__(metric=recorder.metric, mode=recorder.mode)
        self._recorder = recorder
        self._make_order = make_order
        self._num_trials = num_trials
        self._unfinished = deque(recorder.unfinished())
        self._numbers: dict[str, int] = {}
        self.is_closing = False
        """Set when the search is interrupted: trials that Tune stops then stay resumable."""
        self.ended_by: str | None = None
        """What ended the search before all its trials were run, and not by an interruption."""
        self._to_stop: set[int] = set()

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        """The next order: first what an interrupted session left, then new trials."""
        if self.is_closing:
            return None
        if self._unfinished:
            if (reason := self._recorder.exhausted()) is not None:
                self.ended_by = reason
                return str(Searcher.FINISHED)
            proposal = self._unfinished.popleft()  # needs less than a new trial: it has come some way
        elif self._recorder.num_trials >= self._num_trials:
            return str(Searcher.FINISHED)
        else:
            verdict = self._recorder.verdict()
            if verdict.action != "start":
                return self._held_back(verdict)
            fresh = self._recorder.ask()
            if fresh is None:
                return str(Searcher.FINISHED)
            proposal = fresh
        self._numbers[trial_id] = proposal.number
        document = self._recorder.start(proposal)
        return self._make_order(proposal.number, document).to_config()

    def _held_back(self, verdict: Verdict) -> str | None:
        if verdict.action == "wait":
            return None
        self.ended_by = verdict.reason
        return str(Searcher.FINISHED)

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

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """An evaluation of a trial that goes on."""
        self._recorder.report(self._numbers[trial_id], TrialReport.from_json(result[REPORT]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The last result of a trial, or its loss. Tune brings the last result only here."""
        number = self._numbers.pop(trial_id, None)
        if number is None or self.is_closing:
            return
        if error or result is None:
            lost = TrialFailure(
                kind="lost", message="its process died, more often than `resources.max_restarts` allows"
            )
            self._recorder.fail(number, lost, rows=[])
            return
        if FAILURE in result:
            self._recorder.fail(number, TrialFailure.from_json(result[FAILURE]), rows=json.loads(result[LAST_ROWS]))
            return
        if REPORT in result:
            self._recorder.report(number, TrialReport.from_json(result[REPORT]))
        self._recorder.finish(number, is_complete=bool(result.get(FINISHED)))

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its parts for a restore that we never ask for."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the study is the state."""

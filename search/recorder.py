"""The report stream -> study, history, checkpoints kept, W&B and progress. What happened once is recorded once.

Knows no ray. On a resumed or restarted trial, evaluations come again that are recorded already: they are left out.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from analysis.kept import public_checkpoint
from analysis.own_runs import trial_summary
from analysis.records import SearchFiles, SearchRecord, replace_text
from search.budget import Verdict
from search.ledger import EndState, Ledger, Proposal
from search.mirror import Mirror
from search.progress import SearchProgress
from search.retention import Retention
from search.rules import HandOver
from search.spending import Spending
from search.tracking import Tracker
from search.yaml_text import parse_yaml, to_yaml
from spaces.objectives import Objective, values_of
from spaces.reports import Progress, Row, Scalar, TrialFailure, TrialReport
from trainables.checkpoints import TrialDirectory
from trainables.handover import hand_over

log = logging.getLogger(__name__)

_NO_CHECKPOINT = (
    "it reported without a checkpoint, but this scheduler lets trials go on from theirs: hand one to each report"
)


@dataclass
class _Live:
    """A trial that runs."""

    last_evaluation: int = 0
    """The last one that is in the history."""
    last: TrialReport | None = None
    """The last report, recorded or repeated."""
    best: dict[str, float] = field(default_factory=dict)
    """Best objective so far, by metric."""


class Recorder:
    """Writes the record of one search. All calls come from one thread."""

    def __init__(
        self,
        files: SearchFiles,
        ledger: Ledger,
        tracker: Tracker,
        progress: SearchProgress,
        *,
        objectives: Sequence[Objective],
        keep_checkpoints: int,
        is_at_end: Callable[[Progress], bool],
        document_of: Callable[[Proposal], dict[str, Any]],
        trial_facts: dict[str, Any],
        record: SearchRecord,
        price_per_hour: float | None = None,
        spending: Spending | None = None,
        max_checkpoint_bytes: float | None = None,
        values_change: bool = False,
        mirror: Mirror | None = None,
    ) -> None:
        self._mirror = mirror
        self._files = files
        self._ledger = ledger
        self._tracker = tracker
        self._progress = progress
        self._spending = spending
        self._retention = Retention(
            files, keep=keep_checkpoints, mode=objectives[0].mode, record=record, max_bytes=max_checkpoint_bytes,
            on_free=mirror.freed if mirror else None, on_forget=mirror.forget if mirror else None,
        )  # fmt: skip
        self._retention.clean_up(record)
        self._stopped_by: dict[int, str] = {}
        self._is_at_end = is_at_end
        self._document_of = document_of
        self._trial_facts = trial_facts
        self._price_per_hour = price_per_hour
        self._values_change = values_change
        self._live: dict[int, _Live] = {}
        self._objectives = objectives
        self.metric = objectives[0].name
        self.mode = objectives[0].mode

    @property
    def num_trials(self) -> int:
        """Trials that the algorithm has suggested so far."""
        return self._ledger.num_suggested

    def say(self, message: str) -> None:
        """Tell the person who watches."""
        self._progress.say(message)

    def unfinished(self) -> list[Proposal]:
        """Trials to go on with."""
        return self._ledger.unfinished()

    def ask(self) -> Proposal | None:
        """A new trial."""
        return self._ledger.ask()

    def verdict(self) -> Verdict:
        """Whether the budget and the disk allow another trial."""
        verdict = self._spending.verdict() if self._spending else Verdict(action="start")
        if verdict.action == "start" and not self._retention.has_room:
            reason = "checkpoints.max_disk: the checkpoints of another trial do not fit"
            return Verdict(action="wait" if self._live else "end", reason=reason)
        return verdict

    def exhausted(self) -> str | None:
        """Why all must stop now, what runs included; None while there is no reason."""
        return self._spending.exhausted() if self._spending else None

    def end_session(self) -> None:
        """No more reports come in this session."""
        if self._spending:
            self._spending.keep_time()

    def stopping(self, number: int, *, by: str) -> None:
        """Trial `number` is going to be stopped, and not by the scheduler."""
        self._stopped_by[number] = by

    def start(self, proposal: Proposal) -> dict[str, Any]:
        """Record that a trial starts, starts again or goes on. Gives its document."""
        if self._mirror is not None:
            self._mirror.began(proposal.number)
        if proposal.number in self._live:  # it has waited in this session
            self._progress.trial_started(proposal.number, params=proposal.assignment)
            return self._document_of(proposal)
        files = self._files.trial(proposal.number)
        document = self._document_of(proposal)
        # Also a trial that runs for the first time has a history where it goes on from another one.
        history = self._recover_history(proposal.number) if files.history.is_file() else []
        files.path.mkdir(parents=True, exist_ok=True)
        header = {"number": proposal.number, "params": proposal.assignment, **self._trial_facts}
        # Anew each time: a trial that goes on may train for longer than it was to.
        replace_text(files.document, to_yaml({**header, "document": document}))
        done = max((int(row["evaluation"] or 0) for row in history if "evaluation" in row), default=0)
        self._live[proposal.number] = _Live(last_evaluation=done)
        if self._spending:
            self._spending.started(proposal.number)
        self._progress.trial_started(proposal.number, params=proposal.assignment)
        known = trial_summary(self._ledger.recorded(proposal.number))
        self._tracker.start_trial(proposal.number, document, history=history, summary=known)
        return document

    def proposal(self, number: int) -> Proposal:
        """What a trial goes on with."""
        return self._ledger.proposal(number)

    def pause(self, number: int) -> bool:
        """A trial waits; all that it reported is recorded. False, and the trial has failed, when it cannot go on."""
        last = self._live[number].last
        if last is not None and last.checkpoint is not None:
            self._ledger.pause(number)
            self._progress.trial_paused(number)
            return True
        self.fail(number, TrialFailure(kind="error", message=_NO_CHECKPOINT), rows=[])
        return False

    def wait_again(self, number: int) -> None:
        """A trial waits since an earlier session, which may have died before it recorded the last evaluation."""
        self.start(self.proposal(number))
        if (last := self._recorded_last(number)) is not None:
            self.report(number, last)
        self._ledger.pause(number)
        self._progress.trial_paused(number)

    def lost(self, number: int, *, because: str) -> None:
        """A trial was lost and starts again, from its last checkpoint: nothing of its record changes."""
        log.info("trial %d starts again: %s", number, because)
        self._progress.trial_paused(number)
        self._progress.say(f"trial {number} starts again from its last checkpoint: {because}")

    def hand_over(self, hand_overs: Sequence[HandOver]) -> None:
        """Trials that wait go on from others' checkpoints. What was done already is done again, which changes nothing.

        A trial's lineage has one entry each time: `at` (amount of training, in the scheduler's unit), `from_trial`,
        `params`, all values that it goes on with, and `seconds`, by how much its training until then took longer than
        the donor's, which is counted for it from now on.
        """
        for one in hand_overs:
            lineage = self._ledger.lineage(one.receiver)
            entry = next((each for each in lineage if each["at"] == one.resource), None)
            if entry is None:
                seconds = round(self._seconds_so_far(one.receiver) - self._seconds_so_far(one.donor), 3)
                params = dict(one.assignment)
                entry = {"at": one.resource, "from_trial": one.donor, "params": params, "seconds": seconds}
                lineage.append(entry)
            donor, receiver = (TrialDirectory(self._files.trial(each).path) for each in (one.donor, one.receiver))
            taken = hand_over(donor, receiver)
            if one.receiver in self._live:
                self._live[one.receiver].last_evaluation = taken.report.progress.evaluation
            self._ledger.reassign(one.receiver, dict(one.assignment), lineage=lineage)
            self._write_document(one.receiver, lineage=lineage)
            self._progress.say(f"trial {one.receiver} goes on from trial {one.donor}")

    def report(self, number: int, report: TrialReport) -> None:
        """Record an evaluation and the rows before it."""
        live = self._live[number]
        live.last = report
        if report.progress.evaluation > live.last_evaluation:
            live.last_evaluation = report.progress.evaluation
            rows = self._with_values(number, report.rows)
            self._files.trial(number).append_history(rows)
            self._tracker.log_rows(number, rows)
            if report.samples:
                self._files.trial(number).write_samples(report.samples)
        self._ledger.report(number, report)
        if self._spending:
            self._spending.reported(number, report)
        if report.checkpoint is not None:
            if self._mirror is not None:
                # Says that there are some, also where they lie elsewhere.
                self._files.trial(number).checkpoints.mkdir(parents=True, exist_ok=True)
                self._mirror.wait_until_known(number)
            self._retention.saved(number, report.checkpoint_bytes)
        self._progress.trial_reported(number, report.progress, report.metrics.get(self.metric))

    def finish(self, number: int, *, is_complete: bool, reason: str | None = None) -> None:
        """A trial has ended: as planned, or stopped early for `reason`."""
        last = self._live[number].last
        value = last.metrics.get(self.metric) if last else None
        if last is None or value is None:
            missing = TrialFailure(kind="error", message=self._missing_metric(last))
            self.fail(number, missing, rows=[])
            return
        is_complete = is_complete or self._is_at_end(last.progress)
        state: EndState = "COMPLETE" if is_complete else "PRUNED"
        self._end(number, state, value=value, error=None, reason=None if is_complete else reason)

    def fail(self, number: int, failure: TrialFailure, *, rows: list[Row]) -> None:
        """A trial has failed: that is its result."""
        files = self._files.trial(number)
        files.append_history(rows)
        self._tracker.log_rows(number, rows)
        files.error.write_text(f"{failure.kind}: {failure.message}\n\n{failure.details}".rstrip() + "\n", "utf-8")
        self._end(number, "FAIL", value=None, error=failure.message, failure=failure)

    def _end(
        self,
        number: int,
        state: EndState,
        *,
        value: float | None,
        error: str | None,
        failure: TrialFailure | None = None,
        reason: str | None = None,
    ) -> None:
        last = self._live.pop(number).last
        checkpoint = last.checkpoint if last else None
        is_kept = self._retention.ended(
            number, state, value=value, failure=failure.kind if failure else None, has_checkpoint=checkpoint is not None
        )
        checkpoint = public_checkpoint(self._files, number, checkpoint) if checkpoint and is_kept else None
        result = _result_of(last) | {"checkpoint": checkpoint, "error": error}
        if number in self._stopped_by:
            result["stopped_by"] = self._stopped_by.pop(number)
        if reason is not None:
            result["stopped_because"] = reason
        if failure is not None:
            result["failure"] = failure.kind
            result["seconds"] = failure.seconds if failure.seconds is not None else result["seconds"]
        if self._values_change and result["seconds"] is not None:
            result["seconds"] = round(result["seconds"] + self._seconds_given_up(number), 3)
        if self._price_per_hour is not None and result["seconds"] is not None:
            result["cost"] = result["seconds"] / 3600 * self._price_per_hour
        values = None
        if state == "COMPLETE":
            measured = values_of(self._objectives, result)
            missing = next((name for name, each in measured.items() if each is None), None)
            if missing is None:
                values = [each for each in measured.values() if each is not None]
            else:
                state, value = "FAIL", None
                error = f"`{missing}` could not be measured here: take it out of `search.metric`"
                result |= {"error": error, "failure": "error"}
        stored = self._ledger.finish(number, state=state, values=values, result=result)
        self._retention.sweep()
        if self._mirror is not None:
            self._mirror.ended(number)
        if self._spending:
            self._spending.ended(number, state, value=value, result=result)
        if last and last.samples:
            self._tracker.log_samples(number, last.samples)
        summary = summary_of(result) | trial_summary(stored)
        self._tracker.end_trial(number, state=state, summary=summary, error=error)
        self._progress.trial_ended(number, state, value, error or reason)

    def _recover_history(self, number: int) -> list[Row]:
        """The history up to its last evaluation, which the study then has too."""
        files = self._files.trial(number)
        rows = files.read_history()
        ends = [index for index, row in enumerate(rows) if "evaluation" in row]
        rows = rows[: ends[-1] + 1] if ends else []
        files.rewrite_history(rows)
        for row in rows:
            value = row.get(self.metric)
            if "evaluation" in row and isinstance(value, int | float):
                self._ledger.report(number, _recorded_report(row, self.metric, float(value)))
        return rows

    def _seconds_so_far(self, number: int) -> float:
        live = self._live.get(number)
        return live.last.seconds if live is not None and live.last is not None else 0.0

    def _seconds_given_up(self, number: int) -> float:
        """What a trial spent on weights that it gave up, less what those cost that it took over."""
        return sum(float(each["seconds"]) for each in self._ledger.lineage(number))

    def _with_values(self, number: int, rows: list[Row]) -> list[Row]:
        """Rows of a trial whose values change: each evaluation says what led to it."""
        if not self._values_change:
            return rows
        values: Row = {
            f"params/{path}": value if isinstance(value, Scalar) else str(value)
            for path, value in self.proposal(number).assignment.items()
        }
        return [row | values if "evaluation" in row else row for row in rows]

    def _write_document(self, number: int, *, lineage: list[dict[str, Any]]) -> None:
        """trial.yaml keeps what the trial began with; its lineage says what came later."""
        place = self._files.trial(number).document
        content, _ = parse_yaml(place.read_text("utf-8"))
        replace_text(place, to_yaml({**content, "lineage": lineage, "document": content["document"]}))

    def _recorded_last(self, number: int) -> TrialReport | None:
        """The last report of a trial that runs no more: it lies with its checkpoint."""
        checkpoint = TrialDirectory(self._files.trial(number).path).latest()
        return checkpoint.reported_again(None) if checkpoint else None

    def _missing_metric(self, last: TrialReport | None) -> str:
        if last is None:
            return "it ended without an evaluation"
        return f"it does not report `{self.metric}`, the search's metric; it reports {', '.join(sorted(last.metrics))}"


def _recorded_report(row: Row, metric: str, value: float) -> TrialReport:
    progress = Progress(
        step=int(row["step"] or 0),
        epoch=float(row["epoch"] or 0.0),
        tokens=int(row["tokens"] or 0),
        evaluation=int(row["evaluation"] or 0),
    )
    return TrialReport(progress=progress, metrics={metric: value})


def _result_of(last: TrialReport | None) -> dict[str, Any]:
    if last is None:
        return {"steps": 0, "epochs": 0.0, "tokens": 0, "seconds": None, "metrics": {}}
    return {
        "steps": last.progress.step,
        "epochs": last.progress.epoch,
        "tokens": last.progress.tokens,
        "seconds": round(last.seconds, 3),
        "attempts": last.attempt,
        "clock": {"began_at": last.began_at, "ended_at": last.reported_at, "process": last.process},
        "metrics": last.metrics,
        **({"folds_ended": last.folds_ended} if last.folds_ended else {}),
        "usage": {name: value for name, value in asdict(last.usage).items() if value is not None} if last.usage else {},
    }


def summary_of(result: dict[str, Any]) -> dict[str, Any]:
    """A trial's result as the summary of its run: metrics by their names, the rest as `trial/...`."""
    flat = {**result, **result.get("usage", {})}
    told = {name: item for name, item in flat.items() if name not in ("metrics", "clock", "usage") and item is not None}
    return result["metrics"] | {f"trial/{name}": value for name, value in told.items()}

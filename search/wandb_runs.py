"""The runs of one search in W&B: given rows, results and artifacts, and ended.

Used by one thread. Row k of a trial's history is step k of its run: a resumed run is sent the rows it misses, and no
row twice. Knows no queue, and opens no run itself.
"""

import logging
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.records import SearchFiles, SearchRecord
from analysis.wandb_charts import results, table_of
from search.spec import WandbConfig
from search.tracker import NOTHING, Row, RunFacts, SearchIdentity, TrainedModel
from search.units import show_bytes
from search.wandb_artifacts import data_artifact, model_artifact, model_files, spec_artifact, use
from search.wandb_folders import mark_as_sent, remove_superseded, unsent
from search.wandb_opening import Mode, RunOpener
from spaces.redaction import redact
from spaces.reports import Scalar

log = logging.getLogger(__name__)

STEP_AXIS = "progress/step"
SECTION = "tunesmith"
"""Of each config: what identifies the search and says what trained."""
STATE = "tunesmith/state"
ERROR = "tunesmith/error"
BEST = "best/"
"""Begins the summary's name of a metric's best value; under its own name stands the last one."""


@dataclass
class _LiveRun:
    """A run that takes rows."""

    run: Any
    id: str
    document: Mapping[str, Any]
    """What it trains, or the spec."""
    next_step: int
    """First step that W&B does not have."""
    num_rows: int = 0
    """Rows of the history handed over so far; below `next_step` when W&B has more."""
    best: dict[str, float] = field(default_factory=dict)
    """Best value so far, by metric."""


class SearchRuns:
    """The runs of a search. Used by one thread; each finish, which may wait for the server, has its own."""

    def __init__(
        self,
        tracking: WandbConfig,
        identity: SearchIdentity,
        facts: RunFacts,
        init_timeout_seconds: float,
        finish_timeout_seconds: float,
    ) -> None:
        self._tracking = tracking
        self._identity = identity
        self._facts = facts
        self._opener = RunOpener(tracking, identity, init_timeout_seconds, finish_timeout_seconds)
        self._live: dict[int | None, _LiveRun] = {}
        self._finishing: dict[int | None, threading.Thread] = {}

    @property
    def mode(self) -> Mode:
        """`disabled` once all is lost."""
        return self._opener.mode

    def give_up(self) -> None:
        """Write nothing more."""
        self._opener.mode = "disabled"

    def start(
        self,
        number: int | None,
        document: Mapping[str, Any],
        history: Iterable[Row],
        summary: Mapping[str, Any] = NOTHING,
    ) -> None:
        """A trial, or for None the search, begins or goes on."""
        if number in self._finishing:  # a trial that is tried again: its id is taken until then
            self._finishing.pop(number).join()
        if number not in self._live:
            self._live[number] = self._open(number, document)
            if number is None:
                self._describe_search(document)
        self._live[number].run.summary.update(_without_none(summary))
        self._live[number].num_rows = 0
        self.log(number, history)

    def log(self, number: int | None, rows: Iterable[Row]) -> None:
        """The next rows of a trial's history."""
        live = self._live[number]
        for row in rows:
            self._note_best(live, row)
            if live.num_rows >= live.next_step:
                live.run.log(_named(row), step=live.num_rows, commit=True)
                live.next_step = live.num_rows + 1
            live.num_rows += 1

    def log_table(self, number: int | None, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table beside the rows."""
        self._live[number].run.log({name: table_of(rows)})

    def show_results(self, record: SearchRecord, summary: Mapping[str, Any]) -> None:
        """What the search has shown, in its own run."""
        run = self._live[None].run
        if shown := results(record):
            # As many steps as trials: what a resumed search adds comes behind what was there.
            run.log(shown, step=max(run.starting_step, len(record.trials)))
        run.summary.update(_without_none(summary))

    def log_model(self, model: TrainedModel) -> None:
        """Send the best model, as an artifact of the run of its trial.

        That run has ended. Online it is gone on with; offline it is written anew with all that it had, and takes the
        place of the first one.
        """
        size = sum(file.stat().st_size for file in model_files(model.checkpoint))
        if size > self._tracking.max_model_size:
            log.warning(
                "The best model is not sent to W&B: it has %s, and `tracking.wandb.max_model_size` is %s.",
                show_bytes(size),
                show_bytes(self._tracking.max_model_size),
            )
            return
        self.start(model.number, model.document, model.history)
        if model.samples and not self._live[model.number].run.resumed:
            self.log_table(model.number, "samples", model.samples)
        artifact = model_artifact(self._identity.name, model)
        self._live[model.number].run.log_artifact(artifact, aliases=["best", f"trial-{model.number}"])
        self.end(model.number, {**model.summary, STATE: "COMPLETE"}, exit_code=0)

    def end(self, number: int | None, summary: Mapping[str, Any], *, exit_code: int) -> None:
        """A run is over. Its last values stand under their names, the best ones under `best/...`."""
        live = self._live.pop(number)
        if number is not None:
            self._use_data(live)
        best = {f"{BEST}{name}": value for name, value in live.best.items()}
        live.run.summary.update(best | _without_none(summary))
        thread = threading.Thread(target=self._finish, args=(live, exit_code), name=f"finish-{live.id}", daemon=True)
        self._finishing[number] = thread
        thread.start()

    def end_all(self, *, interrupted: bool) -> None:
        """The session is over."""
        for number, live in list(self._live.items()):
            if number is None and not interrupted:
                self.end(number, {STATE: "COMPLETE"}, exit_code=0)
            else:
                live.run.mark_preempting()  # W&B then shows `preempted`, not `failed`
                self.end(number, {}, exit_code=1)

    def wait_until(self, deadline: float) -> bool:
        """Whether all runs have finished by then."""
        for thread in list(self._finishing.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._finishing.values())

    def pending(self) -> list[Path]:
        """Directories of runs that the server does not have."""
        return [run.directory for run in unsent(self._opener.folder)]

    def _open(self, number: int | None, document: Mapping[str, Any]) -> _LiveRun:
        run_id = self._identity.run_id(number)
        about = {"search": self._identity.name, "fingerprint": self._identity.fingerprint, **self._facts.provenance}
        if number is not None:
            about["number"] = number
        run = self._opener.open(
            run_id,
            {
                "name": self._identity.run_name(number),
                "job_type": self._identity.job_type(number),
                "config": {**redact(document), SECTION: about},
            },
        )
        run.define_metric("*", step_metric=STEP_AXIS)
        run.summary[STATE] = "RUNNING"
        return _LiveRun(run=run, id=run_id, document=document, next_step=run.starting_step)

    def _describe_search(self, spec: Mapping[str, Any]) -> None:
        """What the search begins with: lineage leads from here to its trials."""
        run, file = self._live[None].run, SearchFiles(self._identity.directory).spec
        if file.is_file():
            run.log_artifact(spec_artifact(self._identity.name, file))
        if (card := self._facts.card_of(spec)) is not None:
            run.log_artifact(data_artifact(card))

    def _use_data(self, live: _LiveRun) -> None:
        # At the end of a trial, because data that varies with it is prepared by the trial itself.
        if (card := self._facts.card_of(live.document)) is not None:
            use(live.run, data_artifact(card))
            live.run.summary["data/fingerprint"] = card["fingerprint"]

    def _note_best(self, live: _LiveRun, row: Row) -> None:
        for name, mode in self._facts.modes.items():
            value = row.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                live.best[name] = (min if mode == "min" else max)(live.best.get(name, value), value)

    def _finish(self, live: _LiveRun, exit_code: int) -> None:
        directory = Path(live.run.settings.sync_dir)
        try:
            live.run.finish(exit_code=exit_code)
        except Exception as error:
            log.warning("W&B did not take all of run %s, kept in %s: %s", live.id, directory, error)
            return
        if live.run.settings.mode != "offline":
            mark_as_sent(directory)
        remove_superseded(self._opener.folder, live.id, by=directory)  # their rows are in this run, too


def _named(row: Row) -> dict[str, Scalar]:
    """A row under the names that W&B shows: `step` is `progress/step`, metrics keep theirs."""
    return {name if "/" in name else f"progress/{name}": value for name, value in row.items() if value is not None}


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}

"""How far a search is, read from its folder; and stopping it, or one of its trials, from outside. Knows no ray."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.kept import brought_here, conducted_elsewhere, place_of
from analysis.records import SearchFiles, SearchRecord, TrialRecord
from analysis.sources import read_records
from analysis.study_place import study_place
from analysis.study_source import no_search
from analysis.wording import show_metric
from search.control import (
    Lanes,
    ask_to_go_on,
    ask_to_pause,
    ask_to_scale,
    ask_to_stop,
    is_conducted,
    shown_lanes,
    wait_until_ended,
)
from search.disk_use import DiskUse
from search.units import show_count, show_seconds
from spaces.errors import SpecError
from spaces.store import store_of

_LOOK_EVERY_SECONDS = 0.5
_SHOWN = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A search at one moment."""

    record: SearchRecord
    """All trials."""
    is_running: bool
    """Whether a process conducts it."""
    disk: DiskUse
    """What it takes."""
    lanes: Lanes | None = None
    """How many trials may run at once, of one that runs."""
    elsewhere: str | None = None
    """The other machine that conducts it, as it says in its object store."""

    def to_json(self) -> dict[str, Any]:
        """The documented form of `status --json`."""
        record = self.record
        return {
            "name": record.name,
            "directory": str(record.directory),
            "running": self.is_running,
            "elsewhere": self.elsewhere,
            "paused": self.lanes.is_paused if self.lanes else None,
            "concurrent_trials": self.lanes.num_concurrent if self.lanes else None,
            "counts": {state: record.count(state) for state in ("COMPLETE", "PRUNED", "FAIL", "RUNNING")},
            "trials": record.num_planned,
            "best": None if record.best is None else {"number": record.best.number, "value": record.best.value},
            "seconds": record.seconds,
            "gpu_hours": sum((trial.gpu_hours or 0.0) * trial.own_share for trial in record.trials),
            "energy_wh": sum((trial.usage.energy_wh or 0.0) * trial.own_share for trial in record.trials),
            "cost": sum((trial.cost or 0.0) * trial.own_share for trial in record.trials),
            "ended_by": record.ended_by,
            "disk_bytes": self.disk.total,
            "checkpoint_bytes": self.disk.checkpoints,
        }

    def text(self) -> RenderableType:
        """For a person."""
        record, facts = self.record, self.to_json()
        lines = Table.grid(padding=(0, 2))
        lines.add_column(style="bold", no_wrap=True)
        lines.add_column(overflow="fold")
        lines.add_row(record.name, _state(self))
        words = {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "unfinished"}
        counted = ", ".join(f"{facts['counts'][state]} {word}" for state, word in words.items())
        lines.add_row("trials", f"{counted}, of {record.num_planned}")
        if record.best is not None and record.best.value is not None:
            lines.add_row("best", f"trial {record.best.number}, {record.metric} {show_metric(record.best.value)}")
        lines.add_row("time", show_seconds(record.seconds))
        lines.add_row("disk", str(self.disk))
        unfinished = [_line(trial, record) for trial in record.current if trial.state == "RUNNING"]
        return Group(lines, *(Text(line) for line in ["", *unfinished[:_SHOWN]] if unfinished))


def read_status(directory: Path) -> Status:
    """The status of the search in `directory`.

    Raises:
        SpecError: it is no search.
    """
    files = SearchFiles(brought_here(directory).expanduser().resolve())
    record = read_records(files.path)
    is_running = is_conducted(files)
    return Status(
        record=record,
        is_running=is_running,
        disk=DiskUse.of(files),
        lanes=shown_lanes(files),
        elsewhere=None if is_running else conducted_elsewhere(files),
    )


def stop_search(directory: Path, *, answer_seconds: float, wait_seconds: float) -> str:
    """Stop the search in `directory` in order. Gives what happened, for a person.

    Raises:
        SpecError: it does not run, or does not answer.
    """
    files = _files(directory)
    ask_to_stop(files, trial=None, timeout_seconds=answer_seconds)
    if not wait_until_ended(files, timeout_seconds=wait_seconds):
        return f"asked: it stops when what is in flight has ended; after {wait_seconds:g} s it has not yet."
    unfinished = read_records(files.path).count("RUNNING")
    go_on = f"tunesmith resume {_as_named(directory, files)}"
    return f"stopped, {show_count(unfinished, 'trial')} unfinished. Go on:  {go_on}"


def stop_trial(directory: Path, number: int, *, answer_seconds: float, wait_seconds: float) -> str:
    """Stop one trial at its next evaluation; it counts as stopped early. Gives what happened, for a person.

    Raises:
        SpecError: it does not run, or the search does not.
    """
    files = _files(directory)
    if not ask_to_stop(files, trial=number, timeout_seconds=answer_seconds):
        running = [str(trial.number) for trial in read_records(files.path).current if trial.state == "RUNNING"]
        raise SpecError(f"trial {number} does not run at this moment. Running: {', '.join(running) or 'none'}.")
    deadline = time.monotonic() + wait_seconds
    while True:
        trial = read_records(files.path).trials[number]
        if trial.state != "RUNNING":
            value = "" if trial.last_value is None else f" at {show_metric(trial.last_value)}"
            return (
                f"trial {number} has stopped{value}." if trial.stopped_by else f"trial {number} had just ended{value}."
            )
        if time.monotonic() > deadline:
            return f"asked: trial {number} stops at its next evaluation; after {wait_seconds:g} s there was none yet."
        time.sleep(_LOOK_EVERY_SECONDS)


def pause_search(directory: Path, *, answer_seconds: float) -> str:
    """Let the search in `directory` begin no new trials. Gives what happened, for a person.

    Raises:
        SpecError: it does not run, or does not answer.
    """
    files = _files(directory)
    ask_to_pause(files, timeout_seconds=answer_seconds)
    running = read_records(files.path).count("RUNNING")
    go_on = f"tunesmith resume {_as_named(directory, files)}"
    ends = "goes on to its end" if running == 1 else "go on to their ends"
    return f"paused: {show_count(running, 'trial')} {ends}, no new ones begin. Go on:  {go_on}"


def go_on_if_paused(directory: Path, *, answer_seconds: float) -> str | None:
    """Let a paused search that runs in another process begin new trials again. Gives what happened, for a person; None
    where no such search runs.

    Raises:
        SpecError: it does not answer.
    """
    files = SearchFiles(directory.expanduser().resolve())
    lanes = shown_lanes(files)
    if lanes is None or not lanes.is_paused:
        return None
    ask_to_go_on(files, timeout_seconds=answer_seconds)
    return "the search goes on, in the process that conducts it."


def scale_search(directory: Path, num_concurrent: int, *, answer_seconds: float) -> str:
    """Let the search in `directory` run so many trials at once. Gives what happened, for a person.

    Raises:
        SpecError: it does not run, or does not answer.
    """
    files = _files(directory)
    before = shown_lanes(files)
    ask_to_scale(files, num_concurrent, timeout_seconds=answer_seconds)
    were = f", before {before.num_concurrent}" if before else ""
    most = "" if before is None or before.granted is None else " at most, as the queue gives room"
    return (
        f"from now on {show_count(num_concurrent, 'trial')} at once{most}{were}, until this session of the search ends."
    )


def _files(directory: Path) -> SearchFiles:
    files = SearchFiles(brought_here(directory).expanduser().resolve())
    if study_place(files) is None:
        raise no_search(directory, lacks=files.study.name)
    return files


def _as_named(directory: Path, files: SearchFiles) -> str:
    """As a person names it: the folder as it was given, or the URL that it stands for."""
    return str(directory) if store_of(files.path) is None else place_of(files)


def _state(status: Status) -> str:
    if status.is_running and status.lanes is not None:
        at_once = f"{status.lanes.num_concurrent} trial{'s' if status.lanes.num_concurrent > 1 else ''} at once"
        return "paused: no new trials begin" if status.lanes.is_paused else f"running, {at_once}"
    if status.is_running:
        return "running"
    if status.elsewhere is not None:
        return f"running on {status.elsewhere}; or interrupted, if that is gone"
    if status.record.ended_by:
        return f"ended by {status.record.ended_by}"
    return "interrupted" if status.record.count("RUNNING") else "not running"


def _line(trial: TrialRecord, record: SearchRecord) -> str:
    value = "no evaluation yet" if trial.last_value is None else f"{record.metric} {show_metric(trial.last_value)}"
    return f"trial {trial.number}: {show_count(len(trial.intermediate), 'evaluation')}, {value}"

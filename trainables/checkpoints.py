"""The folder of one trial as the trial itself sees it: attempts, and a pointer to the last good checkpoint.

A checkpoint is a folder; `last.json` points to it and carries the report that belongs to it. The pointer is moved
into place only when the folder is whole, so a kill at any moment leaves the old pointer or the new one.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from spaces.reports import TrialReport, TrialStopped
from spaces.shelf import bring_shelf
from spaces.store import entered, is_store
from spaces.whole_text import replace_text
from trainables.remote_checkpoints import POINTER as _POINTER
from trainables.remote_checkpoints import fetch, file_sizes, note_attempt, push, recorded_attempt

_ATTEMPT = "attempt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Where a trial can go on from."""

    path: Path
    """Folder with weights, optimizer, schedule, random state and trainer state."""
    report: TrialReport
    """The report of the evaluation at which it was taken."""

    def reported_again(self, directory: "TrialDirectory | None") -> TrialReport:
        """The report as this attempt gives it: with the checkpoint's place, which is not known when it is saved."""
        attempt = directory.attempt if directory else 1
        return replace(self.report, checkpoint=str(self.path), attempt=attempt)


class TrialDirectory:
    """`<search>/trials/<number>/`, owned by one attempt of the trial at a time."""

    def __init__(self, path: Path, *, attempt: int = 0, fold: int | None = None) -> None:
        self.path = path
        self.attempt = attempt
        self.index = fold
        """Which fold's checkpoints; None for all of the trial."""
        self.is_called_away: Callable[[], bool] = lambda: False
        """Whether the machine is about to be taken back, so that the trial should save and go on elsewhere."""

    @property
    def checkpoints(self) -> Path:
        """Folder of this trial's checkpoints, or of one fold's."""
        all_of_them = self.path / "checkpoints"
        return all_of_them if self.index is None else all_of_them / f"fold-{self.index}"

    def fold(self, index: int) -> "TrialDirectory":
        """The same trial and attempt, with the checkpoints of fold `index`."""
        fold = TrialDirectory(self.path, attempt=self.attempt, fold=index)
        fold.is_called_away = self.is_called_away
        fold.checkpoints.mkdir(parents=True, exist_ok=True)
        return fold

    def folds(self) -> list["TrialDirectory"]:
        """The folds that have begun, in order; empty for a trial without folds."""
        found = [path.name.removeprefix("fold-") for path in self.checkpoints.glob("fold-*")]
        return [self.fold(index) for index in sorted(int(name) for name in found if name.isdecimal())]

    def reached(self) -> list[tuple["TrialDirectory", Checkpoint]]:
        """The last checkpoint, or that of each fold that has one, in order, and where it lies."""
        fetch(self.path)
        found = [(place, place._latest_here()) for place in (self, *self.folds())]
        return [(place, checkpoint) for place, checkpoint in found if checkpoint is not None]

    def begin_attempt(self) -> int:
        """Take the trial over: 1 for its first start. An older attempt that still lives can save no more."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.attempt = self._recorded_attempt() + 1
        replace_text(self.path / _ATTEMPT, str(self.attempt))
        note_attempt(self.path, self.attempt)
        return self.attempt

    @property
    def is_its_owner(self) -> bool:
        """Whether no newer attempt has taken the trial over."""
        return self._recorded_attempt() == self.attempt

    def latest(self) -> Checkpoint | None:
        """The last checkpoint that was committed and still exists."""
        fetch(self.path)
        return self._latest_here()

    def _latest_here(self) -> Checkpoint | None:
        try:
            pointer = json.loads((self.checkpoints / _POINTER).read_text("utf-8"))
        except FileNotFoundError:
            return None
        path = self.checkpoints / pointer["folder"]
        return Checkpoint(path=path, report=TrialReport.from_json(pointer["report"])) if path.is_dir() else None

    def commit(self, folder: Path, report: TrialReport) -> Path:
        """Make `folder` the checkpoint of `report`; older ones are removed. Gives its final place.

        Raises:
            TrialStopped: a newer attempt has taken this trial over.
        """
        if not self.is_its_owner:
            raise TrialStopped
        final = self.checkpoints / f"evaluation-{report.progress.evaluation:05d}-attempt-{self.attempt}"
        if folder != final:
            shutil.rmtree(final, ignore_errors=True)
            folder.rename(final)
        replace_text(self.checkpoints / _POINTER, json.dumps({"folder": final.name, "report": report.to_json()}))
        for other in self.checkpoints.iterdir():
            if other.is_dir() and other != final:
                shutil.rmtree(other, ignore_errors=True)
        push(self.path, self.checkpoints)
        return final

    def bytes_with(self, checkpoint: Path) -> int:
        """What `checkpoint` takes, and in a fold those of all folds; 0 when a newer attempt has replaced it."""
        try:
            return sum(file_sizes(checkpoint if self.index is None else self.path / "checkpoints").values())
        except FileNotFoundError:
            return 0

    def adopt(self, checkpoint: Checkpoint, *, goes_on: bool) -> Path:
        """Start from another trial's checkpoint. Its files are linked where the disk can, else copied: they are never
        written to again, and stay when the other trial removes its own. Gives the folder.

        Args:
            checkpoint: Of the other trial.
            goes_on: Whether training goes on from there, also where the other trial was at its end.
        """
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        folder = self.checkpoints / f"evaluation-{checkpoint.report.progress.evaluation:05d}-adopted"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(checkpoint.path, folder, copy_function=_link)
        report = checkpoint.report
        if goes_on:
            report = replace(report, progress=replace(report.progress, is_final=False))
        replace_text(self.checkpoints / _POINTER, json.dumps({"folder": folder.name, "report": report.to_json()}))
        push(self.path, self.checkpoints)
        return folder

    def _recorded_attempt(self) -> int:
        try:
            here = int((self.path / _ATTEMPT).read_text("utf-8"))
        except FileNotFoundError:
            here = 0
        return max(here, recorded_attempt(self.path))


def entered_trial(directory: str) -> Path:
    """The folder of a trial on this machine, with what it needs from elsewhere. `directory` may be a URL."""
    if is_store(directory):
        bring_shelf(directory.rpartition("/trials/")[0])
    return entered(directory, search_levels=2)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no links
        shutil.copy2(source, target)

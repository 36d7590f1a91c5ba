"""The run directories that wandb leaves in a search's folder: which were sent, which are superseded.

Goes by their names alone: `run-TIME-ID` or `offline-run-TIME-ID`, with the log `run-ID.wandb` in it. Does not
import wandb.
"""

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from analysis.kept import place_of
from analysis.records import SearchFiles

OFF = "-off"
"""Ends the id of an offline run whose own id wandb refused."""
SEARCH = "-search"
"""Ends the id of a search's own run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalRun:
    """A run directory."""

    directory: Path
    """Where it lies."""
    log: Path
    """What `wandb sync` reads."""

    @property
    def id(self) -> str:
        """The id that the run has, or is to have, in W&B."""
        return self._own_id.removesuffix(OFF)

    @property
    def has_other_id(self) -> bool:
        """Whether it was written under another id than its own."""
        return self._own_id.endswith(OFF)

    @property
    def is_search(self) -> bool:
        """Whether it is the run of the search itself."""
        return self.id.endswith(SEARCH)

    @property
    def marker(self) -> Path:
        """The file by which `wandb sync` knows that a run was sent."""
        return self.log.with_name(f"{self.log.name}.synced")

    @property
    def is_sent(self) -> bool:
        """Whether W&B has all of it."""
        return self.marker.exists()

    @property
    def whole_log(self) -> Path:
        """Where the log lies while a shorter one is sent in its place."""
        return self.log.with_name(f"{self.log.name}.whole")

    @property
    def _own_id(self) -> str:
        return self.log.stem.removeprefix("run-")


def local_runs(folder: Path) -> list[LocalRun]:
    """All run directories, those of the search itself last."""
    runs = [LocalRun(directory=file.parent, log=file) for file in _logs(folder, "*")]
    return sorted(runs, key=lambda run: (run.is_search, run.id, run.directory.name))


def unsent(folder: Path) -> list[LocalRun]:
    """Runs that the server does not have, or not whole."""
    return [run for run in local_runs(folder) if not run.is_sent]


def sync_command(directory: Path) -> str:
    """The command line that sends the runs of the search in `directory`."""
    return f"tunesmith sync {shlex.quote(place_of(SearchFiles(directory)))}"


def mark_as_sent(directory: Path) -> None:
    """Mark a run that was online to its end. wandb itself marks only what `wandb sync` has sent."""
    for file in directory.glob("run-*.wandb"):
        LocalRun(directory=directory, log=file).marker.touch()


def remove_superseded(folder: Path, run_id: str, *, by: Path) -> None:
    """Remove all directories of a run but the one of its last session, if that lies in the folder."""
    directories = [file.parent for name in (run_id, run_id + OFF) for file in _logs(folder, name)]
    # wandb gives an absolute path, and writes elsewhere when it may not write here: compare files, not names
    others = [directory for directory in directories if not (by.exists() and directory.samefile(by))]
    if len(others) < len(directories):
        for directory in others:
            shutil.rmtree(directory, ignore_errors=True)


def _logs(folder: Path, run_id: str) -> list[Path]:
    # the underscore is in the time, and keeps the link `latest-run` out
    return list(folder.glob(f"*run-*_*/run-{run_id}.wandb"))

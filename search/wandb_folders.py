"""The run directories that wandb leaves in a search's folder: which were sent, which are superseded.

Goes by their names alone: `run-TIME-ID` or `offline-run-TIME-ID`, with the log `run-ID.wandb` in it. Does not
import wandb.
"""

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

OFF = "-off"
"""Ends the id of an offline run whose own id wandb refused."""


def unsent(folder: Path) -> list[Path]:
    """Directories of runs that the server does not have, or not whole."""
    return sorted(file.parent for file in _logs(folder, "*") if not _marker(file).exists())


def mark_as_sent(directory: Path) -> None:
    """Mark a run that was online to its end. wandb itself marks only what `wandb sync` has sent."""
    for file in directory.glob("run-*.wandb"):
        _marker(file).touch()


def remove_superseded(folder: Path, run_id: str, *, by: Path) -> None:
    """Remove all directories of a run but the one of its last session, if that lies in the folder."""
    directories = [file.parent for name in (run_id, run_id + OFF) for file in _logs(folder, name)]
    # wandb gives an absolute path, and writes elsewhere when it may not write here: compare files, not names
    others = [directory for directory in directories if not (by.exists() and directory.samefile(by))]
    if len(others) < len(directories):
        for directory in others:
            shutil.rmtree(directory, ignore_errors=True)


def sync_command(directories: Sequence[Path]) -> str | None:
    """The command line that sends these run directories; None when there are none."""
    if not directories:
        return None
    commands = []
    for directory in directories:
        if directory.name.endswith(OFF):
            run_id = next(directory.glob("run-*.wandb")).stem.removeprefix("run-").removesuffix(OFF)
            commands.append(f"wandb sync --id {run_id} {shlex.quote(str(directory))}")
    folder = shlex.quote(str(directories[0].parent))
    if any(directory.name.startswith("run-") for directory in directories):
        commands.append(f"wandb sync --include-online {folder}/*run-*_*")
    elif len(directories) > len(commands):
        commands.append(f"wandb sync {folder}/offline-run-*")
    return " && ".join(commands)


def _logs(folder: Path, run_id: str) -> list[Path]:
    # the underscore is in the time, and keeps the link `latest-run` out
    return list(folder.glob(f"*run-*_*/run-{run_id}.wandb"))


def _marker(file: Path) -> Path:
    """The file by which `wandb sync` knows that a run was sent."""
    return file.with_name(f"{file.name}.synced")

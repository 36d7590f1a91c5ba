"""Sends a search's offline runs to W&B by `wandb sync`: trials first, the search's own run last, each exactly once.

What was sent is marked beside each run, as `wandb sync` does itself; so a sync that was killed goes on where it was. Of
a run that the server has in part, only the rest is sent (`wandb_log.py`).
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import filelock

from analysis.kept import conducted_elsewhere, place_of, store_late
from analysis.records import SearchFiles
from search.control import is_conducted
from search.spec import WandbConfig
from search.wandb_folders import LocalRun, local_runs
from search.wandb_log import restore, shortened
from search.wandb_server import last_steps, require_server
from search.yaml_text import parse_yaml
from spaces.errors import SpecError
from spaces.store import store_of

_RUNS_A_CALL = 20
"""A call takes a second to start; each failure costs one more."""
_AT_ONCE = 4
_LOOK_EVERY_SECONDS = 0.2
_NOT_FOR_SYNC = ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_SERVICE")
"""Variables that change what a run is. It was decided when the run was written."""

OnProgress = Callable[[int, int], None]
"""(runs sent so far, runs to send)."""


@dataclass
class SyncOutcome:
    """What a sync has done."""

    sent: list[str] = field(default_factory=list)
    """Ids of the runs that W&B has now."""
    failed: dict[str, str] = field(default_factory=dict)
    """Id -> why it was not sent."""
    already_sent: int = 0
    """Runs that W&B had before."""

    def to_json(self) -> dict[str, Any]:
        """The documented form of `sync --json`."""
        return {"sent": self.sent, "failed": self.failed, "already_sent": self.already_sent}

    def text(self) -> str:
        """For a person."""
        lines = [f"{_counted(len(self.sent))} sent to W&B"] if self.sent or not self.already_sent else []
        if self.already_sent:
            lines.append(f"{_counted(self.already_sent)} there already")
        lines += [f"run {run} was not sent: {reason}" for run, reason in self.failed.items()]
        return "\n".join(lines)


def sync_search(directory: Path, *, on_progress: OnProgress = lambda done, total: None) -> SyncOutcome:
    """Send what W&B does not have of the search in `directory`, or of all searches of a nested cross-validation.

    Raises:
        SpecError: no search is there, it still runs, another process sends it, or W&B cannot be used.
    """
    folders = _searches(directory)
    outcome = SyncOutcome()
    with contextlib.ExitStack() as stack:
        for folder in folders:
            stack.enter_context(_sending(folder))
        found = {folder: local_runs(folder / "wandb") for folder in folders}
        pending = {folder: [run for run in runs if not run.is_sent] for folder, runs in found.items()}
        for run in chain.from_iterable(pending.values()):
            restore(run)
        total = sum(map(len, pending.values()))
        outcome.already_sent = sum(map(len, found.values())) - total
        if total:
            require_server()
        done = 0
        for folder, runs in pending.items():
            for batch in _batches(runs):
                _send_all(batch, outcome, folder, partial(_tell, on_progress, total, done))
                done += len(batch)
        for folder, runs in found.items():
            _store_marks(folder, runs)
    return outcome


def _store_marks(folder: Path, runs: Sequence[LocalRun]) -> None:
    """What was sent from here is marked for all machines: a copy that was fetched is fetched anew next time.

    Raises:
        OutOfReach: the store of the search does not take a mark.
    """
    marks = {run.marker.relative_to(folder).as_posix(): run.marker for run in runs if run.is_sent}
    if marks and (store := store_of(folder)) is not None:
        there = store.names("wandb")
        for name in marks.keys() - there.keys():
            store_late(marks[name])


def _tell(on_progress: OnProgress, total: int, before: int, count: int) -> None:
    on_progress(before + count, total)


def _searches(directory: Path) -> list[Path]:
    found = sorted(path.parent for path in directory.glob("*/spec.yaml"))
    if SearchFiles(directory).spec.is_file():
        return [*found, directory]  # confirmations lie in the search's own folder
    if not found:
        raise SpecError(f"`{directory}` is no search: it has no spec.yaml.")
    return found


@contextlib.contextmanager
def _sending(directory: Path) -> Iterator[None]:
    """One process sends a search, and only one that has stopped: a run that still grows would be sent in part."""
    files = SearchFiles(directory)
    folder = directory / "wandb"
    if not folder.is_dir():
        yield
        return
    lock = filelock.FileLock(folder / ".sync.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise SpecError(f"another process sends `{directory}` to W&B at this moment.") from None
    place = place_of(files)
    try:
        if is_conducted(files):
            raise SpecError(
                f"`{place}` still runs: its runs grow. Sync when it has ended, or stop it "
                f"(`tunesmith stop {place}`); it can be resumed afterwards."
            )
        if (other := conducted_elsewhere(files)) is not None:
            raise SpecError(
                f"`{place}` still runs on {other}: its runs grow. Sync when it has ended; if that machine is gone, go "
                f"on with it before (`tunesmith resume {place}`)."
            )
        yield
    finally:
        lock.release()


def _tracking(directory: Path) -> WandbConfig:
    content, _ = parse_yaml(SearchFiles(directory).spec.read_text("utf-8"))
    return WandbConfig.model_validate(content.get("tracking", {}).get("wandb", {}))


def _batches(runs: Sequence[LocalRun]) -> Iterator[list[LocalRun]]:
    """What one call can send: trials together, a run under another id alone, the search after all of them."""
    plain = [run for run in runs if not run.is_search and not run.has_other_id]
    yield from (plain[start : start + _RUNS_A_CALL] for start in range(0, len(plain), _RUNS_A_CALL))
    yield from ([run] for run in runs if not run.is_search and run.has_other_id)
    yield from ([run] for run in runs if run.is_search)


def _send_all(
    batch: Sequence[LocalRun], outcome: SyncOutcome, search: Path, on_progress: Callable[[int], None]
) -> None:
    # What the server has of them was sent by a sync that was killed, or by a session that was online.
    known = {
        run_id: step for run_id, step in last_steps(_tracking(search), [run.id for run in batch]).items() if step >= 0
    }
    with contextlib.ExitStack() as stack:
        for run in batch:
            if run.id in known:
                stack.enter_context(shortened(run, after_step=known[run.id]))
        reason = _send(batch, on_progress)
        for run in batch:
            if not run.is_sent and len(batch) > 1:  # alone, so that the reason is its own
                reason = _send([run], lambda count: None)
            if run.is_sent:
                outcome.sent.append(run.id)
            else:
                outcome.failed[run.id] = reason


def _send(batch: Sequence[LocalRun], on_progress: Callable[[int], None]) -> str:
    """Have `wandb sync` send these runs, which it marks one by one. Gives its last words."""
    options = ["--include-online", "-n", str(_AT_ONCE)]
    if batch[0].has_other_id:
        options += ["--id", batch[0].id]
    process = subprocess.Popen(
        [sys.executable, "-m", "wandb", "sync", *options, *(str(run.directory) for run in batch)],
        env={
            **{name: value for name, value in os.environ.items() if name not in _NOT_FOR_SYNC},
            "WANDB_DIR": str(
                batch[0].directory.resolve().parents[1]
            ),  # its log lies with the runs, not where one stands
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        return _watched(process, batch, on_progress)
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _watched(process: "subprocess.Popen[str]", batch: Sequence[LocalRun], on_progress: Callable[[int], None]) -> str:
    """Tell how many are sent until the process has ended. Gives its last line."""
    while True:
        try:
            output, _ = process.communicate(timeout=_LOOK_EVERY_SECONDS)
        except subprocess.TimeoutExpired:
            on_progress(sum(run.is_sent for run in batch))
            continue
        on_progress(len(batch))
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        return lines[-1] if lines else f"`wandb sync` ended with code {process.returncode}"


def _counted(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"

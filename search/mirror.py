"""Keeps the copy of a search in an object store up to date while it runs. Never stops it: a store that is away is
waited for, said once, and caught up with.

What lies in the store is at any moment a search that can be resumed: the study comes after the histories that it
knows of, what a trial needs to go on is removed after the study that says it has ended, and no trial goes on from its
first evaluation before the stored study knows that trial. Checkpoints are the trials' own affair
(`trainables.remote_checkpoints`).
"""

import contextlib
import json
import logging
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from analysis.kept import NOTES, copy_id, is_mirrored, read_notes
from analysis.records import SearchFiles, replace_text
from spaces.errors import SpecError
from spaces.store import REPORTS, Store, why
from trainables.remote_checkpoints import void

log = logging.getLogger(__name__)

_EVERY_SECONDS = 3.0
"""Between two looks at what has changed; after the end of a trial there is one at once."""
_SETTLED_SECONDS = 15.0
"""A file of W&B that did not change for so long is taken to be whole."""
_FLUSHED_SECONDS = 1.0
_CLOSE_SECONDS = 120.0
"""How long the end of a search may wait for its store."""
_KNOWN_SECONDS = 20.0
"""How long a trial waits at its first evaluation until the stored study knows it."""
_WANDB = "wandb/"
_TRIAL_OF_RUN = re.compile(r"wandb/[^/]+-(\d{4,})(?:-off)?/")
TAKE_OVER_SECONDS = 4 * _EVERY_SECONDS
"""A mirror that still runs has said so in the store by then."""


class Mirror:
    """Copies what changes in the folder of a search to its store, from a thread of its own."""

    def __init__(self, files: SearchFiles, store: Store, *, say: Callable[[str], object]) -> None:
        self.say = say
        """Told once when the store does not answer, and when it does again."""
        self._files = files
        self._store = store
        self._stored: dict[str, tuple[int, int]] = {}
        self._known: set[str] | None = None
        self._study: tuple[int, int] | None = None
        self._ended: set[int] = set()
        self._freed: set[int] = set()
        self._begun: set[int] = set()
        self._known_trials: set[int] = set()
        self._live: set[int] = set()
        self._lock = threading.Lock()
        self._rounds = threading.Condition(self._lock)
        self._wake, self._is_closing, self._is_away = threading.Event(), False, False
        self._is_late = False
        """Whether nobody waits for the store: it is away, or slow."""
        self._beats = 0
        self.is_taken_over = False
        """Whether another machine conducts the search now."""
        self._thread = threading.Thread(target=self._keep_up, name="mirror", daemon=True)

    def start(self) -> None:
        """Claim the store for this machine's copy, and begin."""
        self._beat(is_running=True)
        self._thread.start()

    def began(self, number: int) -> None:
        """The study knows trial `number`, which is going to start."""
        with self._lock:
            if number in self._begun:
                return
            self._begun.add(number)
            self._live.add(number)
        self._wake.set()

    def wait_until_known(self, number: int) -> None:
        """Wait until the stored study knows trial `number`; for a bounded time, and not while the store is away.

        What a trial has stored of its own is of use only then: a search that goes on elsewhere would give its number
        to another one.
        """
        with self._rounds:
            known = self._rounds.wait_for(lambda: number in self._known_trials or self._is_late, timeout=_KNOWN_SECONDS)
            self._is_late = self._is_late or not known
        if not known:
            log.warning("%s did not take the study within %g s: trials go on", self._store.url, _KNOWN_SECONDS)

    def forget(self, number: int) -> None:
        """Remove, now, what a trial left that the study does not know: another one gets its number.

        Raises:
            SpecError: the store does not answer.
        """
        try:
            void(self._store / f"trials/{number}")
        except Exception as error:
            raise SpecError(f"cannot remove `{self._store.url}/trials/{number}`: {why(error)}.") from None

    def ended(self, number: int) -> None:
        """The study knows the end of trial `number`."""
        with self._lock:
            self._ended.add(number)
            self._live.discard(number)
        self._wake.set()

    def freed(self, number: int) -> None:
        """The checkpoints of trial `number` are no longer kept."""
        with self._lock:
            self._freed.add(number)

    def close(self) -> list[str]:
        """Store what is left, for a bounded time. Gives the names of files that the store lacks."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)
        missing = [name for name, stamp in self._changed(is_last=True)]
        if self._study_stamp() != self._study:
            missing.append(self._files.study.name)
        return [] if self.is_taken_over else missing

    def _keep_up(self) -> None:
        deadline: float | None = None
        while not self.is_taken_over:
            self._wake.wait(_FLUSHED_SECONDS if self._is_closing else _EVERY_SECONDS)
            self._wake.clear()
            is_last = self._is_closing
            deadline = deadline or (time.monotonic() + _CLOSE_SECONDS if is_last else None)
            is_stored = self._store_changes(is_last=is_last)
            if is_last and ((is_stored and self._is_flushed()) or time.monotonic() > (deadline or 0.0)):
                break
        self._let_go_on()

    def _is_flushed(self) -> bool:
        """Whether W&B has written all: a run that is finished is flushed by another process a moment later."""
        latest = time.time_ns() - int(_FLUSHED_SECONDS * 1e9)
        return all(stamp[0] < latest for name, stamp in _files_below(self._files.path) if name.endswith(".wandb"))

    def _let_go_on(self) -> None:
        """Nobody waits for this store any more."""
        with self._rounds:
            self._is_late = True
            self._rounds.notify_all()

    def _store_changes(self, *, is_last: bool) -> bool:
        """One round. Gives whether the store has everything now."""
        try:
            self._check_ours()
            if not self.is_taken_over:
                self._round(is_last=is_last)
        except Exception as error:  # whatever a store's library raises
            self._let_go_on()
            if not self._is_away:
                self._is_away = True
                self.say(f"{self._store.url} does not answer ({why(error)}): the search goes on and stores later")
            return False
        if self._is_away:
            self._is_away = False
            self.say(f"{self._store.url} answers again, and has all that there is")
        return True

    def _round(self, *, is_last: bool) -> None:
        with self._lock:
            begun, ended, freed = set(self._begun), set(self._ended), set(self._freed)
        if self._known is None:
            self._known = {name for name in self._store.names() if is_mirrored(name)}
        with self._snapshot() as study:
            changed = self._changed(is_last=is_last)
            self._put(changed, before_study=True)
            if study is not None:
                place, stamp = study
                self._store.put(place, self._files.study.name)
                self._study = stamp
        with self._rounds:
            self._known_trials |= begun
            self._is_late = False
            self._rounds.notify_all()
        self._put(changed, before_study=False)
        gone = {name for name in self._known if not (self._files.path / name).exists()}
        self._store.remove(*sorted(gone))
        self._known -= gone
        self._clear(ended, freed)
        self._beat(is_running=not is_last)

    def _put(self, changed: list[tuple[str, tuple[int, int]]], *, before_study: bool) -> None:
        """Store the files that the study must not be ahead of; or the others, which may be large."""
        assert self._known is not None, "it was listed"
        for name, stamp in changed:
            if name.startswith(_WANDB) == before_study:
                continue
            with contextlib.suppress(FileNotFoundError):  # it was replaced or removed at this moment
                self._store.put(self._files.path / name, name)
                self._stored[name] = stamp
                self._known.add(name)

    def _clear(self, ended: set[int], freed: set[int]) -> None:
        """Remove what only a trial that runs, or one whose checkpoints are kept, needs."""
        for number in ended:
            self._store.remove(*self._store.names(f"trials/{number}/{REPORTS}"))
        for number in freed:
            self._store.remove(*self._store.names(f"trials/{number}/checkpoints"))
        with self._lock:
            self._ended -= ended
            self._freed -= freed

    def _changed(self, *, is_last: bool) -> list[tuple[str, tuple[int, int]]]:
        """Files that the store lacks as they are, by name."""
        settled = time.time_ns() - int(_SETTLED_SECONDS * 1e9)
        return sorted(
            (name, stamp)
            for name, stamp in _files_below(self._files.path)
            if self._stored.get(name) != stamp
            and (is_last or not name.startswith(_WANDB) or (stamp[0] < settled and not self._is_of_live_trial(name)))
        )

    def _is_of_live_trial(self, name: str) -> bool:
        """Whether a file of W&B grows still. One that is not there is made anew from the history, see `lost_runs.py`;
        so what is there must be whole."""
        found = _TRIAL_OF_RUN.match(name)
        with self._lock:
            return found is not None and int(found[1]) in self._live

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[tuple[Path, tuple[int, int]] | None]:
        """A copy of study.db as it is at this moment, if it has changed; None otherwise."""
        stamp = self._study_stamp()
        if stamp is None or stamp == self._study:
            yield None
            return
        place = self._files.path / f".study.{os.getpid()}.snapshot"
        try:
            with (
                contextlib.closing(sqlite3.connect(self._files.study, timeout=60)) as source,
                contextlib.closing(sqlite3.connect(place)) as target,
            ):
                source.backup(target)
            yield place, stamp
        finally:
            place.unlink(missing_ok=True)

    def _study_stamp(self) -> tuple[int, int] | None:
        return _stamp(self._files.study) if self._files.study.is_file() else None

    def _beat(self, *, is_running: bool) -> None:
        """Say that this machine works on the search."""
        self._beats += 1
        notes = {
            "copy": copy_id(self._files), "host": socket.gethostname(), "process": os.getpid(),
            "beats": self._beats, "running": is_running,
        }  # fmt: skip
        self._store.write(NOTES, json.dumps(notes))

    def _check_ours(self) -> None:
        notes = read_notes(self._store)
        if notes is not None and notes["copy"] != copy_id(self._files):
            self.is_taken_over = True
            self.say(f"{notes['host']} has taken this search over: it stops here, and stores nothing more")
            self._files.control.mkdir(exist_ok=True)
            replace_text(self._files.control / "stop", "")


def _files_below(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                name = os.path.relpath(entry.path, folder)
                if entry.is_dir(follow_symlinks=False):
                    if is_mirrored(f"{name}/"):
                        waiting.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False) and is_mirrored(name):
                    with contextlib.suppress(FileNotFoundError):
                        yield name, _stamp(Path(entry.path))


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size

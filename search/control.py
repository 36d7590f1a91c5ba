"""Asking a search that runs for something, from another process: small files in its folder. To stop, to stop one trial,
to begin no new trials for a while, to run more or fewer at once.

A request is a file that is moved into place; the process that conducts the search answers beside it. Knows no ray and
no study.
"""

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import filelock

from analysis.kept import conducted_elsewhere, place_of
from analysis.records import SearchFiles, replace_text
from search.lease import is_leased
from spaces.errors import SpecError

_LOOK_EVERY_SECONDS = 0.3
_ANSWER, _LANES = ".answer", "lanes"
_STOP, _PAUSE, _GO_ON, _SCALE, _GRANT = "stop", "pause", "go_on", "scale", "grant"
FIRST_LANES = "TUNESMITH_LANES"
"""Environment variable: at most so many trials at once, until the search is told another number. Not in the spec, as
what a search asks for stays the same wherever it runs."""


class Conducted(Protocol):
    """A search that can be told what to do while it runs."""

    @property
    def lanes(self) -> "Lanes":
        """How many trials may run, and whether new ones begin."""

    def stop_search(self) -> None:
        """End it in order."""

    def stop_trial(self, number: int) -> bool:
        """End one trial at its next evaluation. Gives whether it runs."""

    def pause(self) -> None:
        """Begin no new trials."""

    def go_on(self) -> None:
        """Begin new trials again."""

    def scale(self, num_concurrent: int) -> None:
        """A person wants so many trials at once from now on; those that run go on to their ends."""

    def grant(self, num_concurrent: int) -> None:
        """A queue gives room for so many from now on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lanes:
    """How many trials of a search may run at once."""

    num_concurrent: int
    """So many: what a queue gives, and no more than a person asked for."""
    granted: int | None = None
    """What a queue gives; None where the search is in none."""
    asked: int | None = None
    """What a person has asked for since it was started; None when nobody has."""
    is_paused: bool = False
    """Whether new ones wait until the search goes on."""
    num_running: int = 0
    """Trials that run now. More than may, after the number was lowered, until some have ended."""
    is_running_out: bool = False
    """Whether no more trials will begin."""

    def with_asked(self, asked: int) -> "Lanes":
        """Once a person has asked for so many."""
        return replace(self, asked=asked, num_concurrent=asked if self.granted is None else min(asked, self.granted))

    def with_granted(self, granted: int) -> "Lanes":
        """Once a queue has given so many."""
        return replace(
            self, granted=granted, num_concurrent=granted if self.asked is None else min(self.asked, granted)
        )


def first_lanes(num_concurrent: int) -> Lanes:
    """How many trials may run at once when a session begins that would run `num_concurrent`."""
    granted = os.environ.get(FIRST_LANES, "")
    if not granted.isdecimal():
        return Lanes(num_concurrent=num_concurrent)
    lanes = min(num_concurrent, int(granted))
    return Lanes(num_concurrent=lanes, granted=lanes)


class ControlDesk:
    """The side of the search."""

    def __init__(self, files: SearchFiles) -> None:
        self._folder = files.control
        self._looked = 0.0
        self._shown: Lanes | None = None
        for path in self._folder.glob("*"):
            path.unlink(missing_ok=True)  # what was asked of an earlier session

    def answer(self, search: Conducted) -> None:
        """Carry out new requests and answer them; show how many trials may run."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_SECONDS:
            return
        self._looked = now
        for path in sorted(self._folder.glob("*")):
            wanted, _, value = path.name.partition("-")
            if path.suffix == _ANSWER or wanted not in (_STOP, _PAUSE, _GO_ON, _SCALE, _GRANT):
                continue
            accepted = _carry_out(search, wanted, int(value) if value else None)
            replace_text(path.with_name(path.name + _ANSWER), json.dumps({"accepted": accepted}))
            path.unlink(missing_ok=True)
        self._show(search.lanes)

    def _show(self, lanes: Lanes) -> None:
        if lanes != self._shown:
            self._folder.mkdir(exist_ok=True)
            replace_text(self._folder / _LANES, json.dumps(asdict(lanes)))
            self._shown = lanes


def _carry_out(search: Conducted, wanted: str, value: int | None) -> bool:
    if wanted == _STOP and value is not None:
        return search.stop_trial(value)
    if wanted == _STOP:
        search.stop_search()
    elif wanted == _SCALE and value is not None:
        search.scale(value)
    elif wanted == _GRANT and value is not None:
        search.grant(value)
    elif wanted == _PAUSE:
        search.pause()
    else:
        search.go_on()
    return True


def ask_to_stop(files: SearchFiles, *, trial: int | None, timeout_seconds: float) -> bool:
    """Ask the process that conducts the search. Gives whether it agreed: it refuses to stop a trial that does not run.

    Raises:
        SpecError: no process conducts it, or it did not answer in time.
    """
    return _ask(files, _STOP if trial is None else f"{_STOP}-{trial}", timeout_seconds=timeout_seconds)


def ask_to_pause(files: SearchFiles, *, timeout_seconds: float) -> None:
    """Ask it to begin no new trials. Raises as `ask_to_stop`."""
    _ask(files, _PAUSE, timeout_seconds=timeout_seconds)


def ask_to_go_on(files: SearchFiles, *, timeout_seconds: float) -> None:
    """Ask it to begin new trials again. Raises as `ask_to_stop`."""
    _ask(files, _GO_ON, timeout_seconds=timeout_seconds)


def ask_to_scale(files: SearchFiles, num_concurrent: int, *, timeout_seconds: float) -> None:
    """Ask it to run so many trials at once. Raises as `ask_to_stop`."""
    _ask(files, f"{_SCALE}-{num_concurrent}", timeout_seconds=timeout_seconds)


def ask_to_take(files: SearchFiles, lanes: int, *, timeout_seconds: float) -> None:
    """Tell it that a queue gives it room for so many trials at once. Raises as `ask_to_stop`."""
    _ask(files, f"{_GRANT}-{lanes}", timeout_seconds=timeout_seconds)


def shown_lanes(files: SearchFiles) -> Lanes | None:
    """How many trials a search that runs may run at once; None where no process conducts it, or it has not said so."""
    if not is_conducted(files):
        return None
    with contextlib.suppress(FileNotFoundError):
        return Lanes(**json.loads((files.control / _LANES).read_text("utf-8")))
    return None


def _ask(files: SearchFiles, name: str, *, timeout_seconds: float) -> bool:
    if not is_conducted(files):
        if (other := conducted_elsewhere(files)) is not None:
            raise SpecError(
                f"`{place_of(files)}` is run by another machine, {other}, unless that is gone: ask there, or, where it "
                "was submitted, by `tunesmith jobs`."
            )
        raise SpecError(f"no process conducts `{place_of(files)}` at this moment: there is nothing to {_words(name)}.")
    request = files.control / name
    answer = request.with_name(request.name + _ANSWER)
    files.control.mkdir(exist_ok=True)
    answer.unlink(missing_ok=True)
    replace_text(request, "")
    if not _wait_for(answer, files, timeout_seconds=timeout_seconds):
        request.unlink(missing_ok=True)
        raise SpecError(f"the process that conducts `{place_of(files)}` did not answer within {timeout_seconds:g} s.")
    accepted = bool(json.loads(answer.read_text("utf-8"))["accepted"])
    answer.unlink(missing_ok=True)
    return accepted


def is_conducted(files: SearchFiles) -> bool:
    """Whether a process conducts the search now, here or elsewhere."""
    return _is_locked(files) or is_leased(files)


def _is_locked(files: SearchFiles) -> bool:
    if not files.lock.exists():
        return False
    lock = filelock.FileLock(files.lock)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def wait_until_ended(files: SearchFiles, *, timeout_seconds: float) -> bool:
    """Wait until no process conducts the search any more. Gives whether that came in time."""
    deadline = time.monotonic() + timeout_seconds
    while is_conducted(files):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_SECONDS)
    return True


def _words(name: str) -> str:
    return name.partition("-")[0].replace("_", " ")


def _wait_for(answer: Path, files: SearchFiles, *, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not answer.exists():
        # A search that has ended meanwhile has stopped, too.
        if time.monotonic() > deadline or not is_conducted(files):
            return answer.exists()
        time.sleep(_LOOK_EVERY_SECONDS / 3)
    return True

"""Asking a search that runs to stop, or to stop one trial, from another process: small files in its folder.

A request is a file that is moved into place; the process that conducts the search answers beside it. Knows no ray and
no study.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import filelock

from analysis.records import SearchFiles, replace_text
from search.lease import is_leased
from spaces.errors import SpecError

_LOOK_EVERY_SECONDS = 0.3
_STOP, _ANSWER = "stop", ".answer"


class ControlDesk:
    """The side of the search."""

    def __init__(self, files: SearchFiles) -> None:
        self._folder = files.control
        self._looked = 0.0
        for path in self._folder.glob("*"):
            path.unlink(missing_ok=True)  # what was asked of an earlier session

    def is_asked_to_stop(self, stop_trial: Callable[[int], bool]) -> bool:
        """Read new requests and answer them. `stop_trial` stops the trial of a number and gives whether it runs. Gives
        whether the whole search is to stop."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_SECONDS:
            return False
        self._looked = now
        is_to_stop = False
        for path in sorted(self._folder.glob(f"{_STOP}*")):
            if path.suffix == _ANSWER:
                continue
            _, _, trial = path.name.partition("-")
            accepted = stop_trial(int(trial)) if trial else True
            is_to_stop = is_to_stop or not trial
            replace_text(path.with_name(path.name + _ANSWER), json.dumps({"accepted": accepted}))
            path.unlink(missing_ok=True)
        return is_to_stop


def ask_to_stop(files: SearchFiles, *, trial: int | None, timeout_seconds: float) -> bool:
    """Ask the process that conducts the search. Gives whether it agreed: it refuses to stop a trial that does not run.

    Raises:
        SpecError: no process conducts it, or it did not answer in time.
    """
    if not is_conducted(files):
        raise SpecError(f"no process conducts `{files.path}` at this moment: there is nothing to stop.")
    request = files.control / (_STOP if trial is None else f"{_STOP}-{trial}")
    answer = request.with_name(request.name + _ANSWER)
    files.control.mkdir(exist_ok=True)
    answer.unlink(missing_ok=True)
    replace_text(request, "")
    if not _wait_for(answer, files, timeout_seconds=timeout_seconds):
        request.unlink(missing_ok=True)
        raise SpecError(f"the process that conducts `{files.path}` did not answer within {timeout_seconds:g} s.")
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


def _wait_for(answer: Path, files: SearchFiles, *, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not answer.exists():
        # A search that has ended meanwhile has stopped, too.
        if time.monotonic() > deadline or not is_conducted(files):
            return answer.exists()
        time.sleep(_LOOK_EVERY_SECONDS / 3)
    return True

"""Folders that are made once, whoever asks and whatever is killed on the way. Knows not what is in them.

A folder is made under another name and moved into place when it is whole; a lock beside it lets one maker in.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spaces.errors import SpecError

if TYPE_CHECKING:
    from filelock import BaseFileLock

Progress = Callable[[str], None]

UNFINISHED = ".preparing"
"""Ends the name of a folder that is being made."""


def data_directory(cache_directory: Path | None) -> Path:
    """The folder of all prepared data: below `cache_directory`, TUNESMITH_CACHE or ~/.cache/tunesmith."""
    chosen = cache_directory or os.environ.get("TUNESMITH_CACHE") or "~/.cache/tunesmith"
    return Path(chosen).expanduser().resolve() / "data"


def make_once(
    directory: Path,
    make: Callable[[Path], None],
    *,
    is_made: Callable[[Path], bool],
    on_progress: Progress,
) -> None:
    """Have `make` fill `directory` unless it is made already; who comes second waits and finds it made."""
    _make_parents(directory.parent)
    with _locked(directory, on_progress):
        if is_made(directory):
            return  # by the one we waited for
        _remove_unfinished(directory.parent, locked=directory.name)
        unfinished = directory.with_name(directory.name + UNFINISHED)
        try:
            unfinished.mkdir()
            make(unfinished)
            shutil.rmtree(directory, ignore_errors=True)  # there, but not made: somebody deleted half of it
            unfinished.replace(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def mark_used(directory: Path) -> None:
    """Note in the folder's time of change that somebody uses it now."""
    with suppress(OSError):  # a cache that others keep, and we only read
        os.utime(directory)


def remove(directory: Path, *, used_before: float) -> bool:
    """Delete a made folder and what a killed maker left of it.

    False, and nothing is deleted, while somebody makes it, or when it was used at `used_before` (seconds since 1970)
    or later.
    """
    from filelock import Timeout

    unfinished = directory.with_name(directory.name + UNFINISHED)
    try:
        with _lock(directory).acquire(timeout=0):
            if any(place.exists() and place.stat().st_mtime >= used_before for place in (directory, unfinished)):
                return False
            shutil.rmtree(unfinished, ignore_errors=True)
            if directory.exists():
                directory.replace(unfinished)  # at once: nobody takes half of it for the whole
            shutil.rmtree(unfinished, ignore_errors=True)
            # The lock's own file stays: who waits for it now would else hold a lock that nobody else sees.
            return True
    except Timeout:
        return False


def is_being_made(directory: Path) -> bool:
    """Whether a process makes it at this moment."""
    from filelock import Timeout

    try:
        with _lock(directory).acquire(timeout=0):
            return False
    except Timeout:
        return True


@contextmanager
def _locked(directory: Path, on_progress: Progress) -> Iterator[None]:
    from filelock import Timeout

    lock = _lock(directory)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_progress(f"waiting for another process that prepares the same data ({directory.name})")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _lock(directory: Path) -> "BaseFileLock":
    from filelock import FileLock

    return FileLock(directory.with_name(directory.name + ".lock"))


def _remove_unfinished(root: Path, *, locked: str) -> None:
    """Delete what killed makers left. One that is still at work holds its lock and is left alone."""
    from filelock import Timeout

    for folder in root.glob(f"*{UNFINISHED}"):
        name = folder.name.removesuffix(UNFINISHED)
        if name == locked:
            shutil.rmtree(folder)
            continue
        try:
            with _lock(root / name).acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except Timeout:
            continue


def _make_parents(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(
            f"cannot keep prepared data in {directory}: {error.strerror}. "
            "Set TUNESMITH_CACHE to a folder that can be written."
        ) from error

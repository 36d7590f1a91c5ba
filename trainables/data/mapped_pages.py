"""Keeps files that are mapped into memory from filling it, while they are read once from end to end.

Pages of a mapped file count as this process's memory until the system needs them for something else. On a machine, or
in a container, with little memory a preparation that touches gigabytes would look as if it held them.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_EVERY_SECONDS = 0.25
_MADV_DONTNEED = 4


@contextmanager
def mapped_pages_released(folder: Path) -> Iterator[None]:
    """Let go, again and again, of the pages of all files below `folder`. What is read again comes from the disk.

    Linux only; elsewhere nothing happens, and the system takes pages back when it needs them.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    end = threading.Event()

    def work() -> None:
        while not end.wait(_EVERY_SECONDS):
            release_pages(folder)

    thread = threading.Thread(target=work, name="mapped-pages", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def release_pages(folder: Path) -> None:
    """Let go of the pages of every mapped file below `folder` once."""
    library = ctypes.CDLL(None, use_errno=True)
    for start, length in _mappings(folder):
        # Only ranges that the system itself names as mapped from such a file: anywhere else this would destroy data.
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_DONTNEED)


def _mappings(folder: Path) -> Iterator[tuple[int, int]]:
    prefix = f"{folder.resolve()}/"
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        # Read only: pages that were written to privately would be lost.
        if len(fields) == 6 and fields[5].startswith(prefix) and fields[1].startswith("r--"):
            start, end = (int(place, 16) for place in fields[0].split("-"))
            yield start, end - start

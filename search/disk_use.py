"""What the files of a search take where they are kept: in its folder, or in its object store. Removes nothing."""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from analysis.records import SearchFiles
from search.units import show_bytes
from spaces.store import Store, store_of, why

_CHECKPOINT = re.compile(r"trials/(\d+)/checkpoints/")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskUse:
    """What a search takes."""

    checkpoints: int
    """Bytes of all checkpoints."""
    total: int
    """Bytes of all its files."""
    is_in_store: bool = False
    """Whether these are the bytes in an object store, and not on a disk."""

    @staticmethod
    def of(files: SearchFiles) -> "DiskUse":
        """Measured now, by the sizes of files. A store that does not answer is not waited for: then it is what this
        machine has of it."""
        if (stored := _stored(files)) is not None:
            checkpoints = sum(size for name, size in stored.items() if _CHECKPOINT.match(name))
            return DiskUse(checkpoints=checkpoints, total=sum(stored.values()), is_in_store=True)
        folders = (files.path / "trials").glob("*/checkpoints")
        return DiskUse(checkpoints=sum(size_of(folder) for folder in folders), total=size_of(files.path))

    def __str__(self) -> str:
        place = " in the store" if self.is_in_store else ""
        return f"{show_bytes(self.total)}{place}, of which checkpoints {show_bytes(self.checkpoints)}"


def checkpoint_bytes(files: SearchFiles) -> dict[int, int]:
    """What the checkpoints of each trial take, by its number; trials without any are left out."""
    found: dict[int, int] = {}
    if (stored := _stored(files)) is not None:
        for name, size in stored.items():
            if match := _CHECKPOINT.match(name):
                found[int(match[1])] = found.get(int(match[1]), 0) + size
        return found
    for folder in (files.path / "trials").glob("*/checkpoints"):
        found[int(folder.parent.name)] = size_of(folder)
    return found


def size_of(folder: Path) -> int:
    """Bytes of all files below `folder`; a file that has two names there counts once."""
    seen: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(place, name))  # noqa: PTH118  # half the time, for many small files
            except FileNotFoundError:  # a trial that runs has replaced it
                continue
            seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def _stored(files: SearchFiles) -> dict[str, int] | None:
    """The files of a search in its store; None for one in a folder, and where the store does not answer."""
    store: Store | None = store_of(files.path)
    if store is None:
        return None
    try:
        return store.names()
    except Exception as error:  # whatever a store's library raises
        log.warning("%s does not answer (%s): what is counted is what lies here", store.url, why(error))
        return None

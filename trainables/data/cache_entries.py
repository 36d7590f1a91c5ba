"""What lies in the cache of prepared data and converted models: how large, how long unused, made of what.

Reads folders and cards only; knows no tokens. How an entry is made and removed is the business of `cache`.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spaces.errors import SpecError
from trainables.data.cache import UNFINISHED, data_directory, is_being_made, remove

EntryState = Literal["made", "being made", "left over"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheEntry:
    """One folder of the cache."""

    directory: Path
    """Where it lies, or will lie when it is made."""
    state: EntryState
    """`left over`: who made it was killed. The next preparation removes it, and so does `clear`."""
    num_bytes: int
    """Size of its files."""
    last_used: float
    """When a trial last began with it, in seconds since 1970."""
    kind: str
    """The task for which data was prepared, or `model`."""
    source: str
    """What it was made of, in a few words."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "folder": str(self.directory),
            "state": self.state,
            "bytes": self.num_bytes,
            "last_used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.last_used)),
            "kind": self.kind,
            "source": self.source,
        }


def cache_folder() -> Path:
    """The folder of everything: TUNESMITH_CACHE or ~/.cache/tunesmith."""
    return data_directory(None).parent


def cache_entries() -> list[CacheEntry]:
    """All entries, the last used first."""
    data = data_directory(None)
    found = [
        entry
        for root in (data, data.with_name("models"))
        if root.is_dir()
        for folder in root.iterdir()
        if folder.suffix != ".lock" and folder.is_dir() and (entry := _entry(folder)) is not None
    ]
    return sorted(found, key=lambda entry: entry.last_used, reverse=True)


def clear(entries: Iterable[CacheEntry]) -> tuple[list[CacheEntry], list[CacheEntry]]:
    """Remove entries: (removed, kept). What is being made, or was used since it was listed, is kept.

    Raises:
        SpecError: one cannot be removed, as in a cache that belongs to somebody else.
    """
    removed: list[CacheEntry] = []
    kept: list[CacheEntry] = []
    for entry in entries:
        # An entry is judged by the time at which it was seen, not by what became of it since.
        try:
            gone = remove(entry.directory, used_before=entry.last_used + 1e-6)
        except OSError as error:
            raise SpecError(f"cannot remove {entry.directory}: {error.strerror or error}.") from error
        (removed if gone else kept).append(entry)
    return removed, kept


def total_bytes(entries: Sequence[CacheEntry]) -> int:
    """Size of all of them."""
    return sum(entry.num_bytes for entry in entries)


def size_in_words(num_bytes: float) -> str:
    """Such as `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.0f} {unit}" if unit == "B" or num_bytes >= 99.5 else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} TB"


def _entry(folder: Path) -> CacheEntry | None:
    """None for a folder that went away while we looked."""
    is_unfinished = folder.name.endswith(UNFINISHED)
    directory = folder.with_name(folder.name.removesuffix(UNFINISHED))
    try:
        last_used = folder.stat().st_mtime
        state: EntryState = "made"
        if is_unfinished:
            state = "being made" if is_being_made(directory) else "left over"
        kind, source = _described(folder)
        return CacheEntry(
            directory=directory, state=state, num_bytes=_size(folder), last_used=last_used, kind=kind, source=source
        )
    except FileNotFoundError:
        return None


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # a file of a preparation that goes on
            continue
    return total


def _described(folder: Path) -> tuple[str, str]:
    """(kind, source). The card is read as it is: one of another version has these two all the same."""
    if folder.parent.name == "models":
        return "model", folder.name.removesuffix(UNFINISHED).rpartition("-")[0]
    try:
        card = json.loads((folder / "card.json").read_text("utf-8"))
        return str(card["task"]), str(card["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""

"""What a scheduler was told, in the order it was told, so that a resumed search decides as it would have.

The study keeps what each trial reported, but not which of two trials was first. Each event is a line of JSON, written
before the event is acted on; a line that a kill has torn is left out, for what it said is said again.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.records import replace_text

JOURNAL_FILE = "scheduler.jsonl"


class Journal:
    """`scheduler.jsonl` of one search."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event, in one write."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(event)) + "\n")

    def forget(self, is_void: Callable[[Mapping[str, Any]], bool]) -> None:
        """Leave out events of which the study knows nothing: they come again."""
        events = list(self.read())
        kept = [event for event in events if not is_void(event)]
        if len(kept) < len(events):
            replace_text(self._path, "".join(json.dumps(event) + "\n" for event in kept))

    def read(self) -> Iterator[dict[str, Any]]:
        """All events. A torn last line is cut off, so that the next one does not continue it."""
        try:
            text = self._path.read_text("utf-8")
        except FileNotFoundError:
            return
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._path.write_text(whole, "utf-8")
        for line in whole.splitlines():
            yield json.loads(line)

"""Checkpoints that another search was started from: noted beside the trial, so that its own search keeps them.

A note holds as long as the folder of the search that wrote it. Knows nothing of what a checkpoint is used for.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.records import SearchFiles, replace_text

_CHECKPOINT = re.compile(r"(?P<trial>.+/trials/\d+)/checkpoints/[^/]+/?")
_NOTES = "needed-by"


def pin_checkpoints(document: Any, files: SearchFiles) -> None:
    """Note for every checkpoint of another search in `document` that the search of `files` needs it."""
    for text in _texts(document):
        found = _CHECKPOINT.fullmatch(text)
        if found is None or not Path(text).is_dir():
            continue
        notes = Path(found["trial"]) / _NOTES
        if notes.parent.is_relative_to(files.path):
            continue
        notes.mkdir(exist_ok=True)
        name = hashlib.sha256(str(files.path).encode()).hexdigest()[:12]
        replace_text(notes / name, str(files.path))


def is_pinned(trial: Path) -> bool:
    """Whether another search that still lies where it lay needs the checkpoints of the trial in this folder."""
    notes = (trial / _NOTES).glob("[0-9a-f]*")
    return any(SearchFiles(Path(note.read_text("utf-8"))).spec.is_file() for note in notes)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)

"""A W&B run, wherever it was read: from a server, or from the files of an offline run. Knows no W&B."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run."""

    id: str
    """Its id within its project."""
    name: str
    """Its name for people."""
    state: str
    """As W&B has it: finished, failed, crashed, killed, preempted, running ..."""
    group: str = ""
    """The group that it belongs to."""
    job_type: str = ""
    """What it is in its group."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What it was started with, nested."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """What it ended with; a key with a slash is one key."""
    rows: Callable[[], Iterable[Mapping[str, Any]]] = lambda: ()
    """Reads its history, all rows."""
    values: Callable[[str], Iterable[Mapping[str, Any]]] = lambda key: ()
    """Reads `_step` and one metric of its history, maybe thinned where it is long."""

"""The nouns of a queue: a search that was handed in, how it stands, what happened. Plain values; knows no database."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cluster.queueing import Amount
from spaces.errors import SpecError

QueueState = Literal["QUEUED", "STARTING", "RUNNING", "ENDED", "CANCELLED", "FAILED"]
ACTIVE: tuple[QueueState, ...] = ("QUEUED", "STARTING", "RUNNING")
"""States that a search still leaves."""
ON_CLUSTER: tuple[QueueState, ...] = ("STARTING", "RUNNING")
"""States of a search that has a job."""


class NoLongerKeeperError(RuntimeError):
    """Another keeper has taken over the queue: this one may change nothing any more."""


class AlreadyQueuedError(SpecError):
    """A search in the same folder waits or runs already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """The files of a search."""

    files: Mapping[str, bytes]
    """Content by relative path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSearch:
    """A search that is handed in."""

    name: str
    """Its name."""
    user: str
    """Whose it is."""
    priority: int = 0
    """Higher ones come first."""
    directory: str
    """Its folder, as the nodes see it."""
    shelf: str
    """Where its files are laid down."""
    command: tuple[str, ...]
    """Arguments of `tunesmith` that begin it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all its processes, not secret."""
    secret_files: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its own process, by the file on the cluster that holds their value."""
    lane: Amount
    """What one trial takes."""
    workers: int = 1
    """Processes of a trial, which share its lane evenly."""
    most_lanes: int | None = None
    """Trials at once that it asks for. None: as many as fit."""
    is_fixed: bool = False
    """Whether it keeps the lanes that it starts with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuedSearch:
    """A search of the queue as it stands."""

    number: int
    """Its place in the order of arrival."""
    search: NewSearch
    """What was handed in, with the priority it has now."""
    package: str
    """Fingerprint of its files."""
    state: QueueState
    """How it stands."""
    lanes: int
    """Trials at once that it was told."""
    attempt: int
    """How often it was started; higher than one after its cluster or its process was lost."""
    submission_id: str
    """Its job on the cluster; empty while it waits."""
    stop_wanted_by: str
    """Who wants it to stop; empty when nobody does."""
    message: str
    """Why it waits, or how it ended, for a person."""
    submitted_at: float
    """Unix time."""
    started_at: float | None
    """Unix time of its first start."""
    ended_at: float | None
    """Unix time."""

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE

    def to_json(self) -> dict[str, Any]:
        """The documented form of `queue list --json` and of the API."""
        search = self.search
        return {
            "number": self.number,
            "name": search.name,
            "user": search.user,
            "priority": search.priority,
            "state": self.state,
            "lanes": self.lanes,
            "lane": asdict(search.lane),
            "workers": search.workers,
            "most_lanes": search.most_lanes,
            "attempt": self.attempt,
            "job": self.submission_id or None,
            "stopping": bool(self.stop_wanted_by) and self.is_active,
            "message": self.message,
            "directory": search.directory,
            "submitted_at": self.submitted_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class StartOrder:
    """A search that is to be started."""

    queued: QueuedSearch
    """Which one, with its submission id."""
    package: Package
    """Its files."""
    command: tuple[str, ...]
    """Arguments of `tunesmith`."""
    environment: Mapping[str, str]
    """Environment variables of all its processes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueEvent:
    """Something that happened to a search."""

    number: int
    """Which search."""
    at: float
    """Unix time."""
    event: str
    """A state, or `LANES` when it was told another number."""
    lanes: int
    """Trials at once from then on."""
    detail: str
    """Why, or by whom."""

"""What happened to a trial that was lost, and whether it goes on: error and attempts -> decision.

Pure: errors come as the names of their types and their text, so that it needs no ray and can be tested with what Ray
was seen to say.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from spaces.reports import FailureKind, TrialFailure

FaultKind = Literal[
    "node_lost", "preempted", "process_died", "node_memory", "object_store_full", "disk_full", "cannot_start"
]

MOST_NODES_LOST = 20
"""A trial may lose so many nodes. One that loses more is perhaps what takes them down."""
_NOT_ITS_FAULT: frozenset[FaultKind] = frozenset({"node_lost", "preempted"})
_BY_TYPE: dict[str, FaultKind] = {
    "NodeDiedError": "node_lost",
    "ActorUnavailableError": "node_lost",
    "LocalRayletDiedError": "node_lost",
    "OutOfMemoryError": "node_memory",
    "ObjectStoreFullError": "object_store_full",
    "OutOfDiskError": "disk_full",
    "RuntimeEnvSetupError": "cannot_start",
    "ActorUnschedulableError": "cannot_start",
}
# Ray packs causes into the text of a general error. The first that is found counts.
_BY_TEXT: tuple[tuple[str, FaultKind], ...] = (
    ("preempt", "preempted"),
    ("running low on memory", "node_memory"),
    ("No space left on device", "disk_full"),
    ("object store is full", "object_store_full"),
    ("its node has died", "node_lost"),
    ("node was terminated", "node_lost"),
    ("node is dead", "node_lost"),
    ("because the node", "node_lost"),
    ("Failed to set up runtime environment", "cannot_start"),
)
_WORDS: dict[FaultKind, str] = {
    "node_lost": "its node was lost",
    "preempted": "its node is being taken back",
    "process_died": "its process died",
    "node_memory": "its process was ended because its node ran out of memory (run fewer trials at once, or on nodes "
    "with more memory)",
    "object_store_full": "the object store of its node was full",
    "disk_full": "the disk of its node was full",
    "cannot_start": "its process could not start",
}


_NO_ROOM = (
    "the disks of all nodes that could run it are full: make room (prepared data lies in TUNESMITH_CACHE, checkpoints "
    "in the search's folder), then `tunesmith retry` runs it again from its last checkpoint"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a trial was lost."""

    kind: FaultKind
    """What happened."""
    details: str = ""
    """What Ray said."""
    node: str | None = None
    """Ray's id of the node where it happened, where that is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempts:
    """How often a trial was started again."""

    counted: int = 0
    """After faults that may be its own."""
    nodes_lost: int = 0
    """After losses that are not."""

    def with_one_more(self, fault: Fault) -> "Attempts":
        """After one more fault."""
        if fault.kind in _NOT_ITS_FAULT:
            return replace(self, nodes_lost=self.nodes_lost + 1)
        return replace(self, counted=self.counted + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What is done."""

    action: Literal["retry", "record"]
    """`retry`: it goes on from its last checkpoint. `record`: it has failed."""
    words: str
    """Why, for a person."""


def fault_of(types: Sequence[str], text: str) -> Fault:
    """What an error means: the names of its type and those it descends from, and what it says."""
    for name in types:
        if name in _BY_TYPE:
            return Fault(kind=_BY_TYPE[name], details=text)
    for name, kind in _BY_TYPE.items():  # the cause within the text: one of several workers, or told in other words
        if re.search(rf"(^|: ){name}: ", text):
            return Fault(kind=kind, details=text)
    for words, kind in _BY_TEXT:
        if words.lower() in text.lower():
            return Fault(kind=kind, details=text)
    return Fault(kind="process_died", details=text)


def fault_of_failure(failure: TrialFailure) -> Fault | None:
    """The fault of the machine behind a failure that a trial reported itself; None when it is the trial's own."""
    if failure.kind == "error" and "No space left on device" in f"{failure.message}\n{failure.details}":
        return Fault(kind="disk_full", details=failure.details or failure.message, node=failure.node)
    return None


def recorded_kind(fault: Fault) -> FailureKind:
    """What a trial has failed as that does not go on."""
    return "disk_full" if fault.kind == "disk_full" else "lost"


def decide(fault: Fault, attempts: Attempts, *, max_restarts: int, is_full_everywhere: bool = False) -> Decision:
    """Whether a trial goes on after `fault`. Lost nodes do not count as restarts: they say nothing of the trial.

    Args:
        fault: What happened now.
        attempts: How often it was started again before.
        max_restarts: `resources.max_restarts`.
        is_full_everywhere: Whether the disks of all nodes that could run the trial are full.
    """
    if fault.kind == "disk_full" and is_full_everywhere:
        return Decision(action="record", words=_NO_ROOM)
    if fault.kind in _NOT_ITS_FAULT:
        if attempts.nodes_lost < MOST_NODES_LOST:
            return Decision(action="retry", words=_WORDS[fault.kind])
        return Decision(
            action="record", words=f"it has lost {attempts.nodes_lost + 1} nodes, and perhaps it is what ends them"
        )
    if attempts.counted < max_restarts:
        return Decision(action="retry", words=_WORDS[fault.kind])
    return Decision(
        action="record", words=f"{_WORDS[fault.kind]}, more often than `resources.max_restarts` allows ({max_restarts})"
    )

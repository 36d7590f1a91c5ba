"""What a cluster has: its nodes, and those that it may bring. Plain values; knows no ray."""

from dataclasses import dataclass

UNLIMITED_NODES = 1000
"""Stands for a number of nodes without a limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Nodes of one kind."""

    cpus: float
    """Logical CPUs of each."""
    gpus: float
    """GPUs of each."""
    count: int = 1
    """How many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What a cluster has in all."""

    cpus: float
    """Logical CPUs."""
    gpus: float
    """GPUs."""
    nodes: tuple[Room, ...] = ()
    """The same by node, as a process needs all of its CPUs and GPUs on one. Empty: all is on one node."""
    may_bring: tuple[Room, ...] = ()
    """What an autoscaler may bring it to, the present nodes included. Empty: it stays as it is."""

    @property
    def present(self) -> tuple[Room, ...]:
        """The nodes that are there."""
        return self.nodes or (Room(cpus=self.cpus, gpus=self.gpus),)

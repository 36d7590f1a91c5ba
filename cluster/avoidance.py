"""Nodes that no trial is started on for a while: their disk is full, or they are about to be taken back.

Pure: which nodes there are, and which are being drained, is asked of functions that are handed in. Knows no ray.
"""

import time
from collections.abc import Callable, Collection, Mapping

FULL_FOR_SECONDS = 1800.0
"""A node whose disk was full is tried again after this time: somebody may have made room."""


class Avoidance:
    """Keeps the trials of one search away from nodes."""

    def __init__(
        self,
        *,
        hosts: Callable[[], Mapping[str, str]] = dict,
        draining: Callable[[], Collection[str]] = frozenset,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            hosts: The nodes that could run a trial now: ids, and names for a person.
            draining: Ids of the nodes that are about to be taken back.
            clock: Seconds.
        """
        self._hosts = hosts
        self._draining = draining
        self._clock = clock
        self._full_until: dict[str, float] = {}
        self._used: set[str] = set()
        self._left: set[str] = set()

    def uses(self, node: str) -> None:
        """A trial of this search runs, or ran, on this node."""
        self._used.add(node)

    def fill(self, node: str) -> None:
        """The disk of this node is full."""
        self._full_until[node] = self._clock() + FULL_FOR_SECONDS

    def leave(self, node: str) -> None:
        """This node is being taken back. It does not return: a machine that comes again is another node."""
        self._left.add(node)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Ids of the nodes to keep away from. Ray itself starts nothing on nodes that are drained; they are here for
        the processes that wait there, warm, for another trial. Where all disks are full none is better than another:
        trials that kept away from all of them would wait and say nothing."""
        for node in self._used.intersection(self._draining()):
            self.leave(node)
        full = set() if self.is_full_everywhere else self._full
        return tuple(sorted({*full, *self._left}))

    @property
    def is_full_everywhere(self) -> bool:
        """Whether no node with room on its disk could run a trial. False where nobody knows the nodes."""
        hosts = set(self._hosts())
        return bool(hosts) and hosts <= {*self._full, *self._left, *self._draining()}

    def name_of(self, node: str) -> str:
        """What a person calls it: its address, and how its id begins, as `ray list nodes` shows it."""
        address = self._hosts().get(node)
        return f"{address} ({node[:8]})" if address else node[:8]

    @property
    def _full(self) -> set[str]:
        now = self._clock()
        return {node for node, until in self._full_until.items() if now < until}

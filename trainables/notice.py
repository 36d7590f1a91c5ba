"""The node that this process runs on, and nodes that are about to be taken back. Asks Ray; knows no trial.

Ray knows of such nodes by its drain API: from `ray drain-node`, from an autoscaler, and from `ray start --block`, which
drains its node when it gets SIGTERM. It starts nothing new there, but tells nobody who runs there already.
"""

import logging
import threading
from collections.abc import Collection

import ray

log = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 2.0


def this_node() -> str:
    """Ray's id of the node of this process; empty outside of Ray."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


class DrainWatch:
    """Knows which nodes are being drained, a moment late. A thread asks: training never waits for the answer."""

    def __init__(self) -> None:
        self._draining: frozenset[str] = frozenset()
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="drain-watch", daemon=True)
        self._thread.start()

    @property
    def draining(self) -> frozenset[str]:
        """Ids of the nodes."""
        return self._draining

    def is_drained(self, nodes: Collection[str]) -> bool:
        """Whether one of these is being drained."""
        return not self._draining.isdisjoint(nodes)

    def close(self) -> None:
        """Ask no more."""
        self._has_ended.set()

    def _look(self) -> None:
        while not self._has_ended.is_set():
            try:
                # No public interface tells. Ray Train asks in the same way; Ray is pinned.
                self._draining = frozenset(ray._private.state.state.get_draining_nodes())
            except Exception as error:  # the head is away: what was known stays known
                log.debug("draining nodes not read: %s", error)
            self._has_ended.wait(_LOOK_EVERY_SECONDS)


_watch: DrainWatch | None = None


def drain_watch() -> DrainWatch:
    """The one of this process, begun when it is first asked for."""
    global _watch
    if _watch is None:
        _watch = DrainWatch()
    return _watch

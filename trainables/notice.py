"""The node that this process runs on, and nodes that are about to be taken back. Asks Ray; knows no trial.

Ray knows of such nodes by its drain API: from `ray drain-node`, from an autoscaler, and from `ray start --block`, which
drains its node when it gets SIGTERM. It starts nothing new there, but tells nobody who runs there already.
"""

import logging
import threading
import time
from collections.abc import Collection

import ray
from ray._private.state import state

log = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 2.0


def this_node() -> str:
    """Ray's id of the node of this process; empty outside of Ray."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def draining_nodes() -> frozenset[str] | None:
    """Ids of the nodes that are being drained; None while the head does not say."""
    try:
        # No public interface tells. Ray Train asks in the same way; Ray is pinned.
        return frozenset(state.get_draining_nodes())
    except Exception as error:
        log.debug("draining nodes not read: %s", error)
        return None


class DrainWatch:
    """Knows which nodes are being drained, a moment late. A thread asks: training never waits for the answer."""

    def __init__(self) -> None:
        self._draining: frozenset[str] = frozenset()
        threading.Thread(target=self._look, name="drain-watch", daemon=True).start()

    def is_drained(self, nodes: Collection[str]) -> bool:
        """Whether one of these is being drained."""
        return not self._draining.isdisjoint(nodes)

    def _look(self) -> None:
        while True:
            if (found := draining_nodes()) is not None:  # else what was known stays known
                self._draining = found
            time.sleep(_LOOK_EVERY_SECONDS)


_watch: DrainWatch | None = None


def drain_watch() -> DrainWatch:
    """The one of this process, begun when it is first asked for."""
    global _watch
    if _watch is None:
        _watch = DrainWatch()
    return _watch

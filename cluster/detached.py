"""A function that goes on running on a cluster's head when its starter has gone, and is begun again when its process
dies: a detached Ray actor. Knows not what it runs.
"""

import importlib
import logging
import os
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from cluster.capacity import Room
from cluster.errors import ClusterError
from cluster.joining import capacity_now
from cluster.queueing import Amount, ClusterRoom

log = logging.getLogger(__name__)

_NAMESPACE = "tunesmith"
_PAUSE_SECONDS = 3.0
"""Before a function that failed is begun again."""
_ANSWER_SECONDS = 120.0
"""A process that starts has to import first."""


class DetachedFunction:
    """Runs in a process of its own: the function has one thread, questions another."""

    def __init__(self, target: str, arguments: Mapping[str, Any]) -> None:
        self._arguments = dict(arguments)
        self._thread = threading.Thread(target=_run, args=(target, dict(arguments)), name=target, daemon=True)
        self._thread.start()

    def is_running(self) -> bool:
        """Whether the function runs."""
        return self._thread.is_alive()

    def arguments(self) -> dict[str, Any]:
        """What the function was begun with."""
        return self._arguments

    def process(self) -> int:
        """The number of the process that it runs in."""
        return os.getpid()


def _run(target: str, arguments: dict[str, Any]) -> None:
    import ray

    module, _, name = target.partition(":")
    try:
        getattr(importlib.import_module(module), name)(**arguments)
    except BaseException:
        traceback.print_exc()
        time.sleep(_PAUSE_SECONDS)
        os._exit(1)  # Ray begins it again
    # It has come to its end: nobody is to begin it again.
    ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


def start_detached(name: str, target: str, arguments: Mapping[str, Any]) -> bool:
    """Start `module:function` on this node of the joined cluster, under a name. Gives False when one of this name runs.

    Raises:
        ClusterError: it does not come up.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if _find(name) is not None:
        return False
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options: dict[str, Any] = {
        "name": name, "namespace": _NAMESPACE, "lifetime": "detached", "num_cpus": 0, "max_restarts": -1,
        "max_task_retries": -1, "get_if_exists": True, "scheduling_strategy": here, "max_concurrency": 2,
    }  # fmt: skip
    actor = ray.remote(DetachedFunction).options(**options).remote(target, dict(arguments))
    try:
        ray.get(actor.is_running.remote(), timeout=_ANSWER_SECONDS)
    except Exception as error:  # ray raises many types here; all mean the same
        raise ClusterError(f"`{name}` does not come up on the cluster: {str(error).strip().splitlines()[0]}") from error
    return True


def stop_detached(name: str) -> bool:
    """End it. Gives False when none of this name runs."""
    import ray

    if (actor := _find(name)) is None:
        return False
    ray.kill(actor, no_restart=True)
    return True


def process_of(name: str) -> int | None:
    """The number of its process on the head; None when none of this name runs."""
    return _ask(name, "process")


def arguments_of(name: str) -> dict[str, Any] | None:
    """What it was begun with; None when none of this name runs."""
    return _ask(name, "arguments")


def _ask(name: str, question: str) -> Any:
    """What the actor answers; None when none of this name runs.

    Raises:
        ClusterError: it does not answer, or does not know the question: another tunesmith began it.
    """
    import ray

    if (actor := _find(name)) is None:
        return None
    try:
        return ray.get(getattr(actor, question).remote(), timeout=_ANSWER_SECONDS)
    except Exception as error:  # ray raises many types here; all mean the same
        raise ClusterError(
            f"`{name}` runs on the cluster and does not answer ({type(error).__name__}); perhaps an older tunesmith "
            "began it. Stop it, and start it again."
        ) from error


def cluster_room() -> ClusterRoom:
    """What the joined cluster has, with all nodes that it may bring, and how it lies on nodes. Nodes that are about
    to be taken back count no more."""
    import ray
    from ray._private.state import state

    draining = state.get_draining_nodes()  # no public interface tells
    staying = {
        node["NodeID"]: _amount(node["Resources"])
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in draining
    }
    to_come = [each for room in capacity_now().may_bring for each in rooms_to_come(room, staying.values())]
    nodes = (*staying.values(), *to_come)
    return ClusterRoom(total=sum(nodes, Amount()), nodes=nodes)


def rooms_to_come(room: Room, present: Iterable[Amount]) -> list[Amount]:
    """The nodes of one kind that an autoscaler may still bring: those that are there count among its most."""
    one = Amount(cpus=room.cpus, gpus=room.gpus)
    return [one] * max(0, room.count - sum(each == one for each in present))


def _amount(resources: Mapping[str, float]) -> Amount:
    return Amount(cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0))


def dashboard_address() -> str:
    """Where the dashboard of the joined cluster answers, seen from its nodes.

    Raises:
        ClusterError: it has none.
    """
    from ray._private import ray_constants
    from ray.experimental.internal_kv import _internal_kv_get

    # As Ray's own client finds it. `get_dashboard_url` gives a worker the default port, whatever the true one is.
    found = _internal_kv_get(ray_constants.DASHBOARD_ADDRESS, namespace=ray_constants.KV_NAMESPACE_DASHBOARD)
    if not found:
        raise ClusterError(
            "the cluster has no dashboard, and searches are submitted to it: `ray start --head` has one."
        )
    return f"http://{found.decode()}".replace("//0.0.0.0:", "//127.0.0.1:")


def _find(name: str) -> Any:
    import ray

    try:
        return ray.get_actor(name, namespace=_NAMESPACE)
    except ValueError:
        return None

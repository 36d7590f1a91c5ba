"""Why a group of workers broke: which of them is gone, and whether its node went with it. Asks Ray; knows no trial."""

import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup

_ANSWER_SECONDS = 10.0
_NODE_DEATH_SECONDS = 20.0
"""Ray declares a node dead after 13 s."""
_LOOK_SECONDS = 0.5


def nodes_of(placement_group: PlacementGroup) -> frozenset[str]:
    """Ids of the nodes that it has room on."""
    return frozenset(ray.util.placement_group_table(placement_group)["bundles_to_node_id"].values())


def why_broken(workers: Sequence[Any], *, num_workers: int, nodes: frozenset[str]) -> str | None:
    """What Ray says of a worker that is gone; None when all of them answer. Takes seconds where a node is gone.

    Args:
        workers: Those that have come to say who they are.
        num_workers: How many there should be.
        nodes: Where they were started.
    """
    if len(workers) < num_workers:
        return _dead_node(nodes)
    asked = [worker.__ray_ready__.remote() for worker in workers]
    for answer in ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_SECONDS)[0]:
        try:
            ray.get(answer)
        except ray.exceptions.RayError as error:
            return f"a worker of this trial is gone: {type(error).__name__}: {error}"
    return None


def _dead_node(nodes: frozenset[str]) -> str | None:
    deadline = time.monotonic() + _NODE_DEATH_SECONDS
    while time.monotonic() < deadline:
        if gone := nodes - {node["NodeID"] for node in ray.nodes() if node["Alive"]}:
            return f"a worker of this trial is gone: its node is dead: {', '.join(sorted(gone))}"
        time.sleep(_LOOK_SECONDS)
    return None

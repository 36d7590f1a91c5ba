"""Where Tune places a trial: the room that it reserves, and the nodes that it keeps away from.

A process is kept warm for the next trial that asks for the same place. So one that waits on a node to keep away from
gets no other trial, and Tune ends it.
"""

from collections.abc import Sequence
from typing import Any

from ray import tune

from cluster.resources import ResourcesConfig
from trainables.trainable import WarmTrainable

_AWAY_FROM = "away_from"
"""In the configuration of a Tune trial: ids of nodes."""
_NODE_LABEL = "ray.io/node-id"
"""Ray gives it to every node."""


def kept_away(config: dict[str, str], nodes: Sequence[str]) -> dict[str, str]:
    """The configuration of a Tune trial that is placed on none of these nodes."""
    return {**config, _AWAY_FROM: " ".join(nodes)} if nodes else config


def placed_trainable(resources: ResourcesConfig) -> type[tune.Trainable]:
    """The trainable with what Tune reserves for each trial: room for its process, or for all its workers."""
    if resources.workers == 1:
        return tune.with_resources(WarmTrainable, lambda config: place_of(config, resources))
    from trainables.worker_group import WorkerGroupTrainable

    return tune.with_resources(WorkerGroupTrainable, lambda config: place_of(config, resources))


def place_of(config: dict[str, Any], resources: ResourcesConfig) -> tune.PlacementGroupFactory:
    """What Tune reserves for the trial of this configuration."""
    room = {"CPU": float(resources.cpus_per_worker), "GPU": float(resources.gpus_per_worker)}
    bundles = [room] * resources.workers
    options: dict[str, Any] = {}
    if nodes := config.get(_AWAY_FROM, "").split():
        options["bundle_label_selector"] = [{_NODE_LABEL: f"!in({', '.join(nodes)})"}] * len(bundles)
    # The process that leads several workers takes nothing: it only passes messages on.
    leader: list[dict[str, float]] = [{}] if resources.workers > 1 else []
    return tune.PlacementGroupFactory([*leader, *bundles], strategy="PACK", **options)

"""Which Ray tunesmith is made for, and what of it we use that has no public name. The one check, made before a search
begins: on another Ray it would break in its middle, or do something else without a word.
"""

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from cluster.errors import ClusterError

MADE_FOR = "2.60"
"""As in `pyproject.toml`. The last number of a version may be any."""
PRIVATE = {
    "ray.tune.execution.tune_controller:TuneController": (
        "update_max_pending_trials", "_maybe_update_trial_queue", "_cleanup_cached_actors",
    ),
    "ray.air.execution._internal.actor_manager:RayActorManager": (
        "is_actor_started", "_actor_task_failed", "_actor_start_failed",
    ),
    "ray._private:ray_constants": ("DASHBOARD_ADDRESS", "KV_NAMESPACE_DASHBOARD"),
    "ray._private:services": ("get_node",),
    "ray._private.state:state": ("get_draining_nodes", "get_cluster_config"),
    "ray.train.v2._internal.execution:train_fn_utils": (),
    "ray.train.v2._internal.execution.train_fn_utils:LocalTrainFnUtils": (),
    "ray.train.v2._internal.execution.train_fn_utils:set_train_fn_utils": (),
    "ray.train.v2._internal.constants:get_env_vars_to_propagate": (),
    "ray.train.v2._internal.execution.controller:TrainController": (),
    "ray.train.v2._internal.execution.worker_group:WorkerGroup": (),
    "ray.train.v2._internal.execution.worker_group.placement_group_handle:DefaultPlacementGroupHandle": (),
    "ray.train.v2._internal.callbacks.placement_group_callback:PlacementGroupCleanerCallback": (),
}  # fmt: skip
"""What has no promise, and what of it we call or replace. A new Ray is looked at from here (decision 145)."""
PRIVATE_STATE = (
    "_actor_cache", "_actor_manager", "_failed_trials", "_live_trials", "_max_pending_trials", "_pending_trials",
    "_resetting_trials", "_staged_trials", "_stopped_trials", "_trial_metadata", "_trial_to_actor", "_trials",
    "_trials_to_cache",
)  # fmt: skip
"""What `search/processes.py` reads and changes of Tune's controller."""


def check_installed_ray() -> None:
    """Whether the Ray of this environment is the one that tunesmith is made for.

    Raises:
        ClusterError: it is another one, or there is none.
    """
    try:
        found = version("ray")
    except PackageNotFoundError:
        found = ""
    if is_made_for(found):
        return
    lost = missing_names() if found else []
    raise ClusterError(
        f"tunesmith is made for Ray {MADE_FOR}, and here is {f'Ray {found}' if found else 'none'}"
        + (f", which has no {', no '.join(lost)}" if lost else "")
        + ". A search leans on parts of Ray that have no promise and change between versions. "
        f"`pip install 'ray[default,train,tune]=={MADE_FOR}.*'` brings the right one."
    )


def is_made_for(found: str) -> bool:
    """Whether tunesmith is made for this version of Ray. The last number may be any."""
    return found.split(".")[:2] == MADE_FOR.split(".")


def missing_names(names: Mapping[str, Sequence[str]] = PRIVATE) -> list[str]:
    """Those of `names` that the installed Ray does not have: `Class.attribute`, or the module or class itself."""
    missing: list[str] = []
    for place, attributes in names.items():
        module, _, name = place.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            missing.append(place.replace(":", "."))
            continue
        missing += [f"{name}.{attribute}" for attribute in attributes if not hasattr(found, attribute)]
    return missing

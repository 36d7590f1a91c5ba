"""Become a driver of a Ray cluster that runs: quickly told why not, with our code on all of its nodes.

Knows no searches. What each node can do is asked in `nodes.py`.
"""

import contextlib
import logging
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from cluster.admission import check_admission
from cluster.capacity import UNLIMITED_NODES, Capacity, Room
from cluster.errors import ClusterError
from cluster.packaging import copy_tunesmith
from cluster.tokens import find_token
from spaces.errors import SpecError

_TIMEOUT_SECONDS = 5.0
_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the process of a submitted job: what travels has travelled already."""
# What trials read, too. A local Ray inherits it from this process; the nodes of a cluster do not.
_OF_TRIALS = (
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "RAY_TRAIN_METRICS_ENABLED",
    "TUNESMITH_CACHE", "HF_HUB_OFFLINE",
)  # fmt: skip


def join(address: str) -> Capacity:
    """Join the cluster at `address`, which was checked, and say what it has.

    Raises:
        ClusterError: it does not take us in.
    """
    import ray

    with tempfile.TemporaryDirectory(prefix="tunesmith-join-") as scratch:
        try:
            ray.init(
                address=address, log_to_driver=False, logging_level=logging.ERROR,
                runtime_env=_runtime_env(Path(scratch)),
            )  # fmt: skip
        except (Exception, SystemExit) as error:  # ray raises many types here, and leaves at times
            raise ClusterError(explain_refusal(address, str(error), has_token=find_token() is not None)) from error
    return capacity_now()


def capacity_now() -> Capacity:
    """What the cluster has at this moment, and may bring."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    total = ray.cluster_resources()
    return Capacity(
        cpus=total.get("CPU", 0.0),
        gpus=total.get("GPU", 0.0),
        nodes=tuple(Room(cpus=each.get("CPU", 0.0), gpus=each.get("GPU", 0.0)) for each in nodes),
        may_bring=_may_bring(),
    )


def hosts_of(*, cpus: float, gpus: float) -> dict[str, str]:
    """The nodes of the joined cluster that could run a process of this size: ids and addresses."""
    import ray

    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0.0) >= cpus and node["Resources"].get("GPU", 0.0) >= gpus
    }


def check_address(address: str) -> None:
    """Whether a driver could join there: asked before anything is begun, and before anything imports ray.

    Raises:
        SpecError: it could not; with what to do instead.
        ClusterError: nothing answers there, or it does not take our token.
    """
    if address.startswith("ray://"):
        host = address.removeprefix("ray://").partition(":")[0]
        raise SpecError(
            f"a search does not run over Ray Client (`{address}`): it would end with this connection, and its record "
            f"would lie on another machine than its trials. Submit it (`tunesmith submit SPEC --address "
            f"http://{host}:8265`), or start it on a node of the cluster with `--address auto`."
        )
    if "://" in address:
        raise SpecError(
            f"`run` joins a cluster as `auto` or `HOST:PORT`, but got `{address}`; the address of a dashboard is one "
            f"to submit to: `tunesmith submit SPEC --address {address}`."
        )
    if address != "auto" and not _port_of(address):
        raise SpecError(f"a cluster is joined as `auto` or `HOST:PORT` (its head, port 6379), but got `{address}`.")
    if address != "auto":
        _check_that_something_listens(address)
    check_admission(address, find_token())


def explain_refusal(address: str, reason: str, *, has_token: bool) -> str:
    """Why Ray did not take us in, in words that say what to do. `reason` is what Ray said."""
    words = " ".join(reason.split())
    where = f"the Ray cluster at `{address}`" if address != "auto" else "the Ray cluster of this machine"
    if "Could not find any running Ray instance" in words:
        return "no Ray runs on this machine: start it (`ray start`), or leave `--address` out to have a Ray of its own."
    if "Version mismatch" in words:
        return f"{where} runs other versions: {words.partition('Version mismatch:')[2].strip()} Use the same in both."
    if "RAY_AUTH_TOKEN" in words:
        return f"{where} asks for a token: {words.partition('. ')[0]}. {_TOKEN}"
    if "expects this IP" in words or "raylet" in words.lower():
        return f"this machine is no node of {where}: submit the search instead, or start it on a node."
    if "Failed to connect" in words or words.isdecimal():
        token = f" Perhaps its token is another one. {_TOKEN}" if has_token else f" Perhaps it has a token. {_TOKEN}"
        return f"{where} does not take this process in.{token}"
    return f"cannot join {where}: {words}"


_TOKEN = "`RAY_AUTH_TOKEN_PATH` names the file with it; `ray get-auth-token` on the head shows it."


def _runtime_env(scratch: Path) -> dict[str, Any]:
    environment = {name: os.environ[name] for name in _OF_TRIALS if name in os.environ}
    if os.environ.get(_SUBMITTED):
        return {"env_vars": environment}
    return {"env_vars": environment, "py_modules": [str(module) for module in copy_tunesmith(scratch)]}


def _check_that_something_listens(address: str) -> None:
    """Ray itself tries for more than a minute, and then ends this process without a word."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_TIMEOUT_SECONDS):
            pass
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at `{address}`: {(error.strerror or str(error)).lower()}. A head listens at port "
            "6379, unless `ray start --port` said otherwise."
        ) from None


def _port_of(address: str) -> int | None:
    port = address.rpartition(":")[2]
    return int(port) if ":" in address and port.isdecimal() else None


def _may_bring() -> tuple[Room, ...]:
    """What an autoscaler says that it may bring. No public interface tells; without one nothing comes."""
    from ray._private.state import state

    with contextlib.suppress(Exception):
        config = state.get_cluster_config()
        if config is None:
            return ()
        return tuple(
            Room(
                cpus=float(group.resources.get("CPU", 0)),
                gpus=float(group.resources.get("GPU", 0)),
                count=group.max_count if group.max_count >= 0 else UNLIMITED_NODES,
            )
            for group in config.node_group_configs
        )
    return ()

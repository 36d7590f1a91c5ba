"""Start Ray on this machine or join one that runs, quietly, and let go of it. Knows no searches."""

import contextlib
import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.capacity import Capacity as Capacity
from cluster.errors import ClusterError as ClusterError
from cluster.joining import check_address, join
from cluster.ray_version import check_installed_ray

# Ray prints boxes, hints and warnings of its own; tunesmith has its own progress.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # The raylet's last words about a lost node, with a stack: Ray would print them into our standard output.
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_raylet_start_wait_time_s": "120",
}
_START_SECONDS = 120.0
"""How long a Ray may take to come up; on a busy machine it takes a minute."""
# Trials pass small messages only: data is memory-mapped from disk, weights stay where they were written.
_OBJECT_STORE_BYTES = 128 * 1024**2


def local_cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def set_environment() -> None:
    """Ray's switches, for this process and all that Ray starts. Call it before anything imports ray: Ray reads some
    of them at import, and a driver that missed RAY_AUTH_MODE cannot talk to the servers that did not."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[Capacity]:
    """Ray for the time of the block: started here when `address` is None, joined otherwise.

    Raises:
        SpecError: `address` is of a kind that cannot be joined.
        ClusterError: nothing answers at `address`, Ray does not start here, or it is another one than we are made for.
    """
    set_environment()
    check_installed_ray()
    if address is not None:
        check_address(address)
    import ray

    quiet_ray()
    capacity = _start() if address is None else join(address)
    quiet_ray()
    try:
        yield capacity
    finally:
        ray.shutdown()


def _start() -> Capacity:
    import ray

    try:
        with patient_start():
            ray.init(
                address="local",
                num_cpus=local_cpus(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
            )
    except Exception as error:  # ray raises many types here; all mean the same to the user
        raise ClusterError(f"Ray does not start on this machine: {str(error).strip().splitlines()[0]}") from error
    _hide_token()
    total = ray.cluster_resources()
    return Capacity(cpus=total.get("CPU", 0.0), gpus=total.get("GPU", 0.0))


@contextlib.contextmanager
def patient_start() -> Iterator[None]:
    """Let Ray wait longer for the node that it starts: it gives it 30 seconds, and has no setting for that."""
    from ray._private import services

    look = services.get_node

    def look_longer(*arguments: Any, **options: Any) -> Any:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return look(*arguments, **options)
            except RuntimeError:  # the node is not there yet
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    services.get_node = look_longer
    try:
        yield
    finally:
        services.get_node = look


def quiet_ray() -> None:
    """Only fatal words from Ray's loggers. Tune logs each trial's traceback as an error; ours goes to error.txt."""
    for name in ("ray", "ray.tune", "ray.train", "ray.data", "ray._private", "ray.util"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _hide_token() -> None:
    """Ray writes its token readable for everyone; make it the owner's."""
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() and token.stat().st_uid == os.getuid():
        token.chmod(stat.S_IRUSR | stat.S_IWUSR)

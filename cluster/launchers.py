"""What starts a cluster elsewhere than on Kubernetes: a `ray up` configuration, a script for Slurm, a Dockerfile.

All of them ask for a token and keep the head free of trials. Knows no cloud: what comes out is text and plain values.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any, Literal

from cluster.kuberay import ClusterShape
from spaces.errors import SpecError

Provider = Literal["aws", "gcp", "local"]

_TOKEN_ON_NODES = "/home/ray/.ray/auth_token"
_MACHINES = {
    "aws": ("m6i.xlarge", "g5.2xlarge", "m6i.2xlarge"),
    "gcp": ("n2-standard-4", "g2-standard-8", "n2-standard-8"),
}
"""Machines for a head, a node with a GPU and one without: 8 CPUs and 32 GiB, to be changed to what is needed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudPlace:
    """Where `ray up` brings a cluster."""

    provider: Provider
    """Whose machines."""
    region: str = ""
    """Region of a cloud."""
    zone: str = ""
    """Zone of a cloud."""
    project: str = ""
    """Project of Google Cloud."""
    hosts: tuple[str, ...] = ()
    """Machines of one's own, the head first."""
    user: str = "ubuntu"
    """Who logs in there."""
    nfs: str = ""
    """`HOST:/export`, mounted at the storage of all nodes. Empty: it is mounted there already."""


def ray_up(shape: ClusterShape, place: CloudPlace) -> dict[str, Any]:
    """The configuration that `ray up` takes.

    Raises:
        SpecError: the provider needs something that was not given.
    """
    _check_place(place)
    start = (
        f"ulimit -n 65536; RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={_TOKEN_ON_NODES} "
        f"TUNESMITH_CACHE={shape.storage}/cache"
    )
    num_workers = len(place.hosts) - 1 if place.provider == "local" else shape.workers
    mount = [
        f"sudo mkdir -p {shape.storage}",
        f"mountpoint -q {shape.storage} || sudo mount -t nfs4 -o nfsvers=4.1,hard {place.nfs} {shape.storage}",
    ]
    options = [f"-v {shape.storage}:{shape.storage}", "--ulimit nofile=65536:65536", "--shm-size=8g"]
    found: dict[str, Any] = {
        "cluster_name": shape.name,
        "max_workers": num_workers,
        "idle_timeout_minutes": 10,
        "docker": {
            "image": shape.image, "container_name": "tunesmith", "pull_before_run": True, "run_options": options,
        },
        "provider": _provider(place),
        "auth": {"ssh_user": place.user},
        # The token that this machine has, made by `ray get-auth-token --generate`.
        "file_mounts": {_TOKEN_ON_NODES: "~/.ray/auth_token"},
        "initialization_commands": mount if place.nfs else [],
        "head_start_ray_commands": [
            "ray stop",
            f"{start} ray start --head --port=6379 --num-cpus=0 --dashboard-host=127.0.0.1 "
            "--autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": ["ray stop", f"{start} ray start --address=$RAY_HEAD_IP:6379"],
    }  # fmt: skip
    if place.provider != "local":
        found |= {"head_node_type": "head", "available_node_types": _node_types(shape, place)}
    return found


def slurm_script(shape: ClusterShape, *, spec_file: str, hours: int, partition: str, environment: str) -> str:
    """A script for `sbatch`: Ray on all nodes of the allocation, one search, stopped in order before time is up.

    Args:
        shape: `name` is that of the search, too; `storage` a folder that all nodes see.
        spec_file: The search's spec.
        hours: How long the allocation lasts. A search that is not done then is queued again, and goes on.
        partition: Of the allocation; empty is Slurm's default.
        environment: The virtual environment that has tunesmith.
    """
    searches = f"{shape.storage}/searches"
    gpus = f"#SBATCH --gpus-per-node={shape.gpus}\n" if shape.gpus else ""
    queue = f"#SBATCH --partition={partition}\n" if partition else ""
    values = {
        "NAME": shlex.quote(shape.name), "NODES": str(shape.workers), "CPUS": str(shape.cpus), "HOURS": str(hours),
        "MEMORY": str(shape.memory_gib), "GPUS": str(shape.gpus),
        "ACTIVATE": shlex.quote(f"{environment}/bin/activate"),
        "SPEC": shlex.quote(spec_file), "SEARCHES": shlex.quote(searches), "EXTRA": gpus + queue,
        "CACHE": shlex.quote(f"{shape.storage}/cache"),
    }  # fmt: skip
    script = _SLURM
    for key, value in values.items():
        script = script.replace(f"@{key}@", value)
    return script


def dockerfile(*, gpu: bool) -> str:
    """An image of Ray with tunesmith and all that trains, built in the folder of its sources."""
    variant = "-gpu" if gpu else "-cpu"
    extras = ",".join(["gpu"] * gpu + ["service", "postgres", "s3", "gcs"])
    return _DOCKERFILE.format(ray=version("ray"), variant=variant, extras=extras)


def check_shape(shape: ClusterShape) -> None:
    """Whether the names and places of a cluster can be used everywhere.

    Raises:
        SpecError: one cannot.
    """
    import re

    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", shape.name):
        raise SpecError(
            f"a cluster's name is at most 40 lower-case letters, digits and dashes, a letter first, not `{shape.name}`."
        )
    if not PurePosixPath(shape.storage).is_absolute() or re.search(r"[^\w./-]", shape.storage):
        raise SpecError(f"the storage is the absolute path of a folder that all nodes see, not `{shape.storage}`.")
    if shape.min_workers > shape.workers:
        raise SpecError(f"`--min-workers` is at most `--workers` ({shape.workers}), but got {shape.min_workers}.")


def _check_place(place: CloudPlace) -> None:
    needs = {"aws": ("region",), "gcp": ("region", "zone", "project"), "local": ("hosts",)}[place.provider]
    missing: Sequence[str] = [name for name in needs if not getattr(place, name)]
    if missing:
        shown = ", ".join(f"`--{name.removesuffix('s') if name == 'hosts' else name}`" for name in missing)
        raise SpecError(f"`--provider {place.provider}` needs {shown}.")


def _provider(place: CloudPlace) -> dict[str, Any]:
    if place.provider == "aws":
        zone = {"availability_zone": place.zone} if place.zone else {}
        return {"type": "aws", "region": place.region, **zone, "cache_stopped_nodes": False}
    if place.provider == "gcp":
        return {
            "type": "gcp", "region": place.region, "availability_zone": place.zone, "project_id": place.project,
        }  # fmt: skip
    return {"type": "local", "head_ip": place.hosts[0], "worker_ips": list(place.hosts[1:])}


def _node_types(shape: ClusterShape, place: CloudPlace) -> dict[str, Any]:
    head, with_gpu, without = _MACHINES[place.provider]
    key = "InstanceType" if place.provider == "aws" else "machineType"
    worker = with_gpu if shape.gpus else without
    resources = {"CPU": shape.cpus, **({"GPU": shape.gpus} if shape.gpus else {})}
    return {
        "head": {"resources": {"CPU": 0}, "node_config": {key: head}, "min_workers": 0, "max_workers": 0},
        "worker": {
            "resources": resources,
            "node_config": {key: worker},
            "min_workers": shape.min_workers,
            "max_workers": shape.workers,
        },
    }


_DOCKERFILE = """\
# An image for all nodes of a cluster. Build it in the folder of tunesmith's sources:
#     docker build -f deploy/Dockerfile -t REGISTRY/tunesmith:TAG .
FROM rayproject/ray:{ray}-py311{variant}
# Below the home of the image's user: pip builds beside the sources, so their folder must be that user's, too.
WORKDIR /home/ray
COPY --chown=ray:users . tunesmith
# Ray stays as the image has it: all nodes and drivers must have the same.
RUN pip install --no-cache-dir --constraint tunesmith/constraints.txt "./tunesmith[{extras}]" "ray=={ray}"
"""

_SLURM = """\
#!/bin/bash
# Runs one search on an allocation: `sbatch` this file. It needs no other node than its own.
#SBATCH --job-name=@NAME@
#SBATCH --nodes=@NODES@
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=@CPUS@
#SBATCH --mem=@MEMORY@G
#SBATCH --time=@HOURS@:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@300
#SBATCH --output=%x-%j.log
@EXTRA@set -euo pipefail

name=@NAME@
spec=@SPEC@
searches=@SEARCHES@
port=$((20000 + SLURM_JOB_ID % 10000))

source @ACTIVATE@
export TUNESMITH_CACHE=@CACHE@

# All nodes, and nobody else, know the token of this Ray.
private="$searches/.slurm/$SLURM_JOB_ID"
mkdir -p "$private"
chmod 700 "$private"
(umask 077 && python -c "import secrets; print(secrets.token_hex(32))" > "$private/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$private/token"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
started=()
driver=

finish() {
    for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
    rm -rf "$private"
}
trap finish EXIT

# Sent five minutes before time is up, and when the allocation is taken back: the search stops in order.
stop_in_order() {
    echo "asked to stop: the search ends in order and is queued again"
    [[ -n $driver ]] && kill -TERM "$driver" 2>/dev/null || true
}
trap stop_in_order TERM

start_ray() {  # NODE ARGUMENTS...
    local node=$1
    shift
    # Since Slurm 22.05 a step does not inherit the CPUs of its job: without them Ray would be bound to one.
    srun --nodes=1 --ntasks=1 --cpus-per-task=@CPUS@ --overlap --nodelist="$node" \\
        ray start "$@" --num-cpus=@CPUS@ --num-gpus=@GPUS@ --block &
    started+=("$!")
}

start_ray "$head" --head --node-ip-address="$address" --port="$port" --include-dashboard=false \\
    --temp-dir="/tmp/ray-$SLURM_JOB_ID"
for node in "${nodes[@]:1}"; do start_ray "$node" --address="$address:$port"; done

ready=false
for _ in $(seq 60); do
    if python - "$address:$port" "${#nodes[@]}" <<'PYTHON'
import logging, sys
import ray
ray.init(address=sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
sys.exit(0 if sum(node["Alive"] for node in ray.nodes()) >= int(sys.argv[2]) else 1)
PYTHON
    then ready=true; break; fi
    sleep 2
done
[[ $ready == true ]] || { echo "error: not all of ${#nodes[@]} nodes have started Ray" >&2; exit 4; }

if [[ -f "$searches/$name/study.db" || -f "$searches/$name/study.json" ]]; then  # .json: the study is in a database
    tunesmith resume "$searches/$name" --address "$address:$port" &
else
    tunesmith run "$spec" --set "name=$name" --storage "$searches" --address "$address:$port" &
fi
driver=$!

# A signal ends `wait` before the search has ended: then it is waited for again.
code=0
wait "$driver" || code=$?
while [[ $code -eq 143 ]] && kill -0 "$driver" 2>/dev/null; do
    code=0
    wait "$driver" || code=$?
done
if [[ $code -eq 143 ]]; then
    code=0
    wait "$driver" || code=$?
fi
# 130: stopped in order, not done.
if [[ $code -eq 130 ]]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
"""

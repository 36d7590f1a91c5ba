"""Manifests for KubeRay: a RayCluster that stays, or a RayJob that brings its cluster and ends with its search.

Field names are those of the ray.io/v1 API of KubeRay 1.5.1 and newer, which a test compares with an excerpt of it.
Knows no Kubernetes: what comes out is plain values to be written as YAML.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

_API = "ray.io/v1"
_SHARED, _MEMORY = "shared", "shm"
_GPU = "nvidia.com/gpu"
_GRACE_SECONDS = 120
# A node that is to end tells Ray, and then waits for its trials so long. Ray's own 30 s may be too short for a save.
_NOTICE = [{"name": "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "value": str(_GRACE_SECONDS - 20)}]
# A search keeps next to nothing there. Ray's own 30 % of the memory does not fit into /dev/shm, and would go to disk.
_OBJECT_STORE = {"object-store-memory": str(10**9)}
_GROUP_OF_RAY = 100
"""Group of the user that Ray's images run as. A volume that only root may write to would be of no use."""
_WANDB_SECRET, _WANDB_KEY = "wandb", "WANDB_API_KEY"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterShape:
    """What a cluster is made of, wherever it runs."""

    name: str
    """Its name."""
    image: str
    """The container image of all nodes."""
    workers: int = 2
    """Nodes that train, at most."""
    min_workers: int = 0
    """Nodes that stay when nothing runs."""
    cpus: int = 8
    """CPUs of each of them."""
    gpus: int = 0
    """GPUs of each of them."""
    memory_gib: int = 32
    """Memory of each of them."""
    storage: str = "/shared"
    """Where all nodes see the same folder."""


def ray_cluster(shape: ClusterShape) -> dict[str, Any]:
    """A RayCluster with token authentication and an autoscaler, to submit searches to."""
    return {
        "apiVersion": _API,
        "kind": "RayCluster",
        "metadata": {"name": shape.name},
        "spec": cluster_spec(shape),
    }


def ray_job(shape: ClusterShape, *, spec_file: str) -> dict[str, Any]:
    """A RayJob that runs the search of `spec_file`, a path that the nodes see, and gives its cluster back at the end.

    When its cluster is lost, the next attempt goes on with the search.
    """
    searches = f"{shape.storage}/searches"
    folder = f"{searches}/{shape.name}"
    script = (
        # A later attempt finds the folder of an earlier one. study.json: the study itself is in a database.
        f"if [ -f {folder}/study.db ] || [ -f {folder}/study.json ]; then exec tunesmith resume {folder} "
        f"--address auto; else exec tunesmith run {shlex.quote(spec_file)} --set name={shape.name} "
        f"--storage {searches} --address auto; fi"
    )
    return {
        "apiVersion": _API,
        "kind": "RayJob",
        "metadata": {"name": shape.name},
        "spec": {
            "entrypoint": shlex.join(["bash", "-c", script]),
            "submissionMode": "HTTPMode",
            "backoffLimit": 3,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "rayClusterSpec": cluster_spec(shape),
        },
    }


def volume_claim(shape: ClusterShape) -> dict[str, Any]:
    """The storage that all nodes share: a volume that many nodes may write to."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{shape.name}-shared"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "200Gi"}}},
    }


def cluster_spec(shape: ClusterShape) -> dict[str, Any]:
    """The nodes. The head trains nothing: when a trial exhausts a node, the search itself goes on."""
    return {
        "rayVersion": version("ray"),
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"idleTimeoutSeconds": 300, "upscalingMode": "Default"},
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0", **_OBJECT_STORE},
            "template": _pod(shape, container="ray-head", cpus=2, gpus=0, memory_gib=8, is_head=True),
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": shape.min_workers,
                "minReplicas": shape.min_workers,
                "maxReplicas": shape.workers,
                "rayStartParams": dict(_OBJECT_STORE),
                "template": _pod(
                    shape, container="ray-worker", cpus=shape.cpus, gpus=shape.gpus, memory_gib=shape.memory_gib,
                    is_head=False,
                ),
            }
        ],
    }  # fmt: skip


def _pod(
    shape: ClusterShape, *, container: str, cpus: int, gpus: int, memory_gib: int, is_head: bool
) -> dict[str, Any]:
    amounts: Mapping[str, str] = {
        "cpu": str(cpus), "memory": f"{memory_gib}Gi", **({_GPU: str(gpus)} if gpus else {}),
    }  # fmt: skip
    key = {"secretKeyRef": {"name": _WANDB_SECRET, "key": _WANDB_KEY, "optional": True}}
    ports = {"gcs": 6379, "dashboard": 8265, "client": 10001}
    return {
        "spec": {
            "containers": [
                {
                    "name": container,
                    "image": shape.image,
                    "resources": {"limits": dict(amounts), "requests": dict(amounts)},
                    "env": [
                        {"name": "TUNESMITH_CACHE", "value": f"{shape.storage}/cache"},
                        # W&B is written by the search's own process, which runs on the head.
                        *([{"name": _WANDB_KEY, "valueFrom": key}] if is_head else _NOTICE),
                    ],
                    **(
                        {"ports": [{"containerPort": port, "name": name} for name, port in ports.items()]}
                        if is_head
                        else {}
                    ),
                    "volumeMounts": [
                        {"name": _SHARED, "mountPath": shape.storage},
                        {"name": _MEMORY, "mountPath": "/dev/shm"},
                    ],
                }
            ],
            "securityContext": {"fsGroup": _GROUP_OF_RAY, "fsGroupChangePolicy": "OnRootMismatch"},
            # Nodes with GPUs often refuse all pods that do not say that they are meant for them.
            **({"tolerations": [{"key": _GPU, "operator": "Exists", "effect": "NoSchedule"}]} if gpus else {}),
            # Data loaders and several workers exchange batches there; the default of 64 MB ends them.
            "volumes": [
                {"name": _SHARED, "persistentVolumeClaim": {"claimName": f"{shape.name}-shared"}},
                {"name": _MEMORY, "emptyDir": {"medium": "Memory", "sizeLimit": f"{max(1, memory_gib // 4)}Gi"}},
            ],
            # Time to save what a trial can save when its node is taken back.
            "terminationGracePeriodSeconds": _GRACE_SECONDS,
        }
    }

"""Commands that write what a cluster is started from: cluster init."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cluster.kuberay import ClusterShape

app = typer.Typer(help="Manifests and launchers for clusters.", no_args_is_help=True)


class Target(StrEnum):
    """What starts the cluster."""

    KUBERAY = "kuberay"
    RAY_UP = "ray-up"
    SLURM = "slurm"


class Provider(StrEnum):
    """Whose machines `ray up` starts."""

    AWS = "aws"
    GCP = "gcp"
    LOCAL = "local"


@app.callback()
def cluster() -> None:
    """Manifests and launchers for clusters."""


@app.command("init")
def init(
    target: Annotated[Target, typer.Option(help="What starts the cluster.", show_default=False)],
    folder: Annotated[Path, typer.Option(help="Where the files are written.")] = Path("deploy"),
    name: Annotated[str, typer.Option(help="Of the cluster, and of a search that brings its own.")] = "tunesmith",
    image: Annotated[
        str, typer.Option(help="Container image of all nodes, built from the Dockerfile that is written, too.")
    ] = "tunesmith:latest",
    workers: Annotated[int, typer.Option(min=1, help="Nodes that train, at most.")] = 2,
    min_workers: Annotated[int, typer.Option(min=0, help="Nodes that stay when nothing runs.")] = 0,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs of each of them.")] = 8,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each of them.")] = 0,
    memory: Annotated[int, typer.Option(min=2, help="GiB of memory of each of them.")] = 32,
    storage: Annotated[str, typer.Option(help="A folder that all nodes see.")] = "/shared",
    spec: Annotated[str, typer.Option(help="kuberay, slurm: the spec, as the nodes see it.")] = "/shared/spec.yaml",
    provider: Annotated[Provider, typer.Option(help="ray-up: whose machines.")] = Provider.AWS,
    region: Annotated[str, typer.Option(help="ray-up: region of the cloud.")] = "",
    zone: Annotated[str, typer.Option(help="ray-up: zone of the cloud.")] = "",
    project: Annotated[str, typer.Option(help="ray-up: project of Google Cloud.")] = "",
    host: Annotated[list[str] | None, typer.Option(help="ray-up, local: a machine; the head first.")] = None,
    user: Annotated[str, typer.Option(help="ray-up: who logs in.")] = "ubuntu",
    nfs: Annotated[str, typer.Option(help="ray-up: HOST:/export, mounted at the storage.")] = "",
    hours: Annotated[int, typer.Option(min=1, help="slurm: how long an allocation lasts.")] = 24,
    partition: Annotated[str, typer.Option(help="slurm: the partition.")] = "",
    environment: Annotated[
        str, typer.Option(help="slurm: virtual environment with tunesmith. Default: STORAGE/venv.")
    ] = "",
    force: Annotated[bool, typer.Option(help="Overwrite files that exist.")] = False,
) -> None:
    """Write manifests for KubeRay, a configuration for `ray up`, or a script for Slurm."""
    from cluster.kuberay import ClusterShape
    from cluster.launchers import CloudPlace, check_shape, slurm_script

    shape = ClusterShape(
        name=name, image=image, workers=workers, min_workers=min_workers, cpus=cpus, gpus=gpus, memory_gib=memory,
        storage=storage.rstrip("/") or "/",
    )  # fmt: skip
    check_shape(shape)
    if target is Target.KUBERAY:
        files = _kuberay(shape, spec)
    elif target is Target.RAY_UP:
        place = CloudPlace(
            provider=provider.value, region=region, zone=zone, project=project, hosts=tuple(host or ()), user=user,
            nfs=nfs,
        )  # fmt: skip
        files = _ray_up(shape, place)
    else:
        script = slurm_script(
            shape, spec_file=spec, hours=hours, partition=partition, environment=environment or f"{shape.storage}/venv"
        )
        files = {f"{name}.sbatch": script}
    _write(folder, files, force=force)
    typer.echo(f"next:  {_NEXT[target].format(folder=folder, name=name)}")


_NEXT = {
    Target.KUBERAY: "kubectl apply -f {folder}/storage.yaml -f {folder}/raycluster.yaml   (docs/deploy.md)",
    Target.RAY_UP: "ray get-auth-token --generate; ray up {folder}/{name}.yaml   (docs/deploy.md)",
    Target.SLURM: "sbatch {folder}/{name}.sbatch   (docs/deploy.md)",
}


def _kuberay(shape: "ClusterShape", spec: str) -> dict[str, str]:
    from cluster.kuberay import ray_cluster, ray_job, volume_claim
    from cluster.launchers import dockerfile

    return {
        "storage.yaml": _yaml(volume_claim(shape)),
        "raycluster.yaml": _yaml(ray_cluster(shape)),
        "rayjob.yaml": _yaml(ray_job(shape, spec_file=spec)),
        "Dockerfile": dockerfile(gpu=shape.gpus > 0),
    }


def _ray_up(shape: "ClusterShape", place: Any) -> dict[str, str]:
    from cluster.launchers import dockerfile, ray_up

    return {f"{shape.name}.yaml": _yaml(ray_up(shape, place)), "Dockerfile": dockerfile(gpu=shape.gpus > 0)}


def _yaml(content: dict[str, Any]) -> str:
    from search.yaml_text import to_yaml

    return to_yaml(content)


def _write(folder: Path, files: dict[str, str], *, force: bool) -> None:
    from spaces.errors import SpecError

    if not force and (there := [name for name in files if (folder / name).exists()]):
        raise SpecError(f"`{folder / there[0]}` exists already; `--force` overwrites it.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
        typer.echo(f"wrote {folder / name}")

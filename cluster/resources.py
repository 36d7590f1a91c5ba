"""How many trials fit at once, and whether one fits at all. Pure arithmetic; knows no ray."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from cluster.capacity import Capacity, Room
from spaces.errors import SpecError


class ResourcesConfig(BaseModel):
    """What one trial takes, and how many run at once."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    workers: PositiveInt = 1
    """Processes that train one trial together, each on its share of every batch. The effective batch is
    `per_device_train_batch_size` x `workers` x `gradient_accumulation_steps`."""
    cpus_per_worker: PositiveInt = 1
    """CPUs, and threads, of a worker. Changing it may change results in the last digits."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of a worker; a fraction shares one GPU between trials of one worker."""
    concurrent_trials: Literal["auto"] | PositiveInt = "auto"
    """Trials at once. `auto`: as many as fit, node by node, on all nodes that the cluster has or may bring."""
    max_restarts: NonNegativeInt = 2
    """How often a trial that lost a process is started again, from its last checkpoint. A lost node is not counted."""
    collective_timeout_seconds: Annotated[float, Field(ge=1)] = 120.0
    """With several workers: how long one may wait for the others within a training step or a save before they count
    as lost. Raise it where saving a large sharded model takes longer."""
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
    """What the CPUs and GPUs of one trial cost for an hour. Default: no cost is recorded."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    """Of `price_per_hour`: three letters, such as `USD` or `EUR`."""

    @model_validator(mode="after")
    def _workers_have_whole_gpus(self) -> "ResourcesConfig":
        if self.workers > 1 and self.gpus_per_worker not in (0, 1):
            raise SpecError(
                f"with several workers each has one whole GPU or none, but got {self.gpus_per_worker:g}.",
                path="gpus_per_worker",
            )
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise SpecError(
                f"a fraction shares one GPU; several are whole, but got {self.gpus_per_worker:g}.",
                path="gpus_per_worker",
            )
        return self


def concurrent_trials(resources: ResourcesConfig, capacity: Capacity) -> int:
    """Trials that run at once, when the cluster has all nodes that it may bring.

    Raises:
        SpecError: not even one fits, now or ever.
    """
    fits = max(_trials_that_fit(resources, capacity.present), _trials_that_fit(resources, capacity.may_bring))
    if fits < 1:
        raise SpecError(f"{_needs(resources)}, but {_has(capacity)}: it can never start.", path="resources")
    return fits if resources.concurrent_trials == "auto" else min(fits, resources.concurrent_trials)


def waits_for(resources: ResourcesConfig, capacity: Capacity) -> str | None:
    """What a person should know while no trial can start yet; None when one can."""
    if _trials_that_fit(resources, capacity.present):
        return None
    return f"waiting for nodes: {_needs(resources)}, and {_has(capacity, now=True)}"


def _trials_that_fit(resources: ResourcesConfig, rooms: Sequence[Room]) -> int:
    # Workers of one trial may be spread over nodes, but a worker is not.
    return sum(_workers_that_fit(resources, room) * room.count for room in rooms) // resources.workers


def _workers_that_fit(resources: ResourcesConfig, room: Room) -> int:
    fits = int(room.cpus // resources.cpus_per_worker)
    if share := resources.gpus_per_worker:
        # Ray takes a fraction from one GPU: what is left of each is of no use together.
        by_gpu = int(room.gpus) * int(1 / share + 1e-9) if share < 1 else int(room.gpus // share)
        fits = min(fits, by_gpu)
    return fits


def _needs(resources: ResourcesConfig) -> str:
    cpus, gpus = (
        resources.workers * each for each in (resources.cpus_per_worker, resources.gpus_per_worker)
    )  # fmt: skip
    workers = f" ({resources.workers} workers)" if resources.workers > 1 else ""
    return f"a trial needs {cpus} CPUs and {gpus:g} GPUs{workers}"


def _has(capacity: Capacity, *, now: bool = False) -> str:
    words = f"there are {capacity.cpus:g} CPUs and {capacity.gpus:g} GPUs in all"
    rooms = capacity.present if now else capacity.may_bring or capacity.present
    if len(rooms) > 1 or rooms[0].count > 1:
        cpus, gpus = max(room.cpus for room in rooms), max(room.gpus for room in rooms)
        words += f", and at most {cpus:g} CPUs and {gpus:g} GPUs on one node"
    return words

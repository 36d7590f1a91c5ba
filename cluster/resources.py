"""How many trials fit at once, and whether one fits at all. Pure arithmetic; knows no ray."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from cluster.connect import Capacity
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
    """Trials at once. `auto`: as many as fit."""
    max_restarts: NonNegativeInt = 2
    """How often a trial that lost a process is started again, from its last checkpoint."""
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
        return self


def concurrent_trials(resources: ResourcesConfig, capacity: Capacity) -> int:
    """Trials that run at once.

    Raises:
        SpecError: not even one fits.
    """
    cpus = resources.workers * resources.cpus_per_worker
    gpus = resources.workers * resources.gpus_per_worker
    fits = int(capacity.cpus // cpus)
    if gpus:
        fits = min(fits, int((capacity.gpus + 1e-9) // gpus))
    if fits < 1:
        workers = f" ({resources.workers} workers)" if resources.workers > 1 else ""
        raise SpecError(
            f"a trial needs {cpus} CPUs and {gpus:g} GPUs{workers}, but there are "
            f"{capacity.cpus:g} CPUs and {capacity.gpus:g} GPUs in all: it can never start.",
            path="resources",
        )
    return fits if resources.concurrent_trials == "auto" else min(fits, resources.concurrent_trials)

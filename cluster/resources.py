"""How many trials fit at once, and whether one fits at all. Pure arithmetic; knows no ray."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from cluster.connect import Capacity
from spaces.errors import SpecError


class ResourcesConfig(BaseModel):
    """What one trial takes, and how many run at once."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    cpus_per_worker: PositiveInt = 1
    """CPUs, and threads, of a trial. Changing it may change results in the last digits."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of a trial; a fraction shares one GPU between trials."""
    concurrent_trials: Literal["auto"] | PositiveInt = "auto"
    """Trials at once. `auto`: as many as fit."""
    max_restarts: NonNegativeInt = 2
    """How often a trial whose process died is started again, from its last checkpoint."""
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
    """What the CPUs and GPUs of one trial cost for an hour. Default: no cost is recorded."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    """Of `price_per_hour`: three letters, such as `USD` or `EUR`."""


def concurrent_trials(resources: ResourcesConfig, capacity: Capacity) -> int:
    """Trials that run at once.

    Raises:
        SpecError: not even one fits.
    """
    fits = int(capacity.cpus // resources.cpus_per_worker)
    if resources.gpus_per_worker:
        fits = min(fits, int((capacity.gpus + 1e-9) // resources.gpus_per_worker))
    if fits < 1:
        raise SpecError(
            f"a trial needs {resources.cpus_per_worker} CPUs and {resources.gpus_per_worker:g} GPUs, but there are "
            f"{capacity.cpus:g} CPUs and {capacity.gpus:g} GPUs in all: it can never start.",
            path="resources",
        )
    return fits if resources.concurrent_trials == "auto" else min(fits, resources.concurrent_trials)

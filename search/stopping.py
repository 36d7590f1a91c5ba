"""What a spec says of stopping trials early: names, arguments, which argument belongs to which. Imports no ray."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from search.sections import refuse_arguments
from spaces.reports import ResourceUnit
from trainables.config import Section

SchedulerName = Literal["asha", "hyperband", "median", "patience", "none"]

_ARGUMENTS = {
    "grace": ("asha", "hyperband", "median", "patience"),
    "reduction_factor": ("asha", "hyperband"),
    "protect": ("asha", "hyperband"),
    "brackets": ("hyperband",),
    "min_trials": ("median",),
    "patience": ("patience",),
    "min_change": ("patience",),
}
"""Argument -> the schedulers that have it."""


class SchedulerConfig(Section):
    """When an unpromising trial is stopped early."""

    name: SchedulerName = "none"
    """`asha`: at each rung only the best share goes on. `hyperband`: several ASHAs with later and later first rungs.
    `median`: a trial goes on while its best value is no worse than the median of the others so far. `patience`: one
    that does not get better any more ends, unless it is the best of all. `none`: every trial trains to its end."""
    unit: ResourceUnit = "epochs"
    """What rungs are counted in."""
    grace: Annotated[float, Field(gt=0)] = 1.0
    """The first rung: no trial is stopped before this much training."""
    reduction_factor: Annotated[float, Field(gt=1)] = 3.0
    """asha, hyperband: at a rung about one in this many goes on; the next rung is this many times further."""
    protect: bool = True
    """asha, hyperband: let a few trials, the first five and every twentieth, train to their end whatever their rank, to
    learn whether early ranks foretell final ones; where they do not, fewer trials are stopped, or none."""
    brackets: Annotated[int, Field(ge=2)] | None = None
    """hyperband: how many; bracket s has its first rung at grace x reduction_factor^s. Default: as many as fit."""
    min_trials: PositiveInt = 3
    """median: other trials that must have come as far before one is stopped."""
    patience: Annotated[float, Field(gt=0)] = 2.0
    """patience: how much training without a better value, in `unit`."""
    min_change: NonNegativeFloat = 0.0
    """patience: how much better a value must be to count."""
    max: Annotated[float, Field(gt=0)] | None = None
    """The most training any trial gets. Default: from `training.num_train_epochs` or `training.max_steps`."""

    @property
    def has_rungs(self) -> bool:
        """Whether it decides at rungs, which need to know the most training."""
        return self.name in ("asha", "hyperband")

    def num_brackets(self, max_resource: float) -> int:
        """How many sequences of rungs there are when a trial gets at most `max_resource`."""
        if self.name != "hyperband":
            return 1
        most = len(self.rungs(max_resource))
        return min(self.brackets or most, most)

    def rungs(self, max_resource: float, *, bracket: int = 0) -> list[float]:
        """Amounts of training after which trials of a bracket may be stopped."""
        found, rung = [], self.grace * self.reduction_factor**bracket
        while rung < max_resource:
            found.append(rung)
            rung *= self.reduction_factor
        return found

    @model_validator(mode="after")
    def _arguments_belong_to_it(self) -> "SchedulerConfig":
        refuse_arguments(self, self.name, _ARGUMENTS)
        return self

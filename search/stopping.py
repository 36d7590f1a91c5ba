"""What a spec says of stopping trials early: names, arguments, which argument belongs to which. Imports no ray."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from search.sections import refuse_arguments
from spaces.reports import ResourceUnit
from trainables.config import Section

SchedulerName = Literal["asha", "hyperband", "pasha", "median", "patience", "pbt", "pb2", "none"]

_ARGUMENTS = {
    "grace": ("asha", "hyperband", "pasha", "median", "patience"),
    "reduction_factor": ("asha", "hyperband", "pasha"),
    "protect": ("asha", "hyperband"),
    "brackets": ("hyperband",),
    "min_trials": ("median",),
    "patience": ("patience",),
    "min_change": ("patience",),
    "interval": ("pbt", "pb2"),
    "quantile": ("pbt", "pb2"),
    "mutate": ("pbt", "pb2"),
    "resample_probability": ("pbt", "pb2"),
    "factors": ("pbt", "pb2"),
}
"""Argument -> the schedulers that have it."""


_ENOUGH_TO_PROTECT = 20
"""In smaller searches most trials would have to be let through for the sake of the rest."""


class SchedulerConfig(Section):
    """When an unpromising trial is stopped early."""

    name: SchedulerName = "none"
    """`asha`: at each rung only the best share goes on. `hyperband`: several ASHAs with later and later first rungs.
    `pasha`: trials wait at rungs, and train further only while the ranking is not settled; in the end the best one
    trains to its planned end.
    `pbt`, `pb2`: all trials train side by side; at each interval the worst go on from the best ones' checkpoints, with
    changed values: by chance, or as a Gaussian process says.
    `median`: a trial goes on while its best value is no worse than the median of the others so far. `patience`: one
    that does not get better any more ends, unless it is the best of all. `none`: every trial trains to its end."""
    unit: ResourceUnit = "epochs"
    """What rungs are counted in."""
    grace: Annotated[float, Field(gt=0)] = 1.0
    """The first rung: no trial is stopped before this much training."""
    reduction_factor: Annotated[float, Field(gt=1)] = 3.0
    """asha, hyperband, pasha: at a rung about one in this many goes on; the next rung is this many times further."""
    protect: bool | None = None
    """asha, hyperband: let a few trials, the first five and every twentieth, train to their end whatever their rank, to
    learn whether early ranks foretell final ones; where they do not, fewer trials are stopped, or none. Default: in
    searches of 20 trials or more."""
    brackets: Annotated[int, Field(ge=2)] | None = None
    """hyperband: how many; bracket s has its first rung at grace x reduction_factor^s. Default: as many as fit."""
    min_trials: PositiveInt = 3
    """median: other trials that must have come as far before one is stopped."""
    patience: Annotated[float, Field(gt=0)] = 2.0
    """patience: how much training without a better value, in `unit`."""
    min_change: NonNegativeFloat = 0.0
    """patience: how much better a value must be to count."""
    interval: Annotated[float, Field(gt=0)] = 1.0
    """pbt, pb2: how much training, in `unit`, between two rounds."""
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """pbt, pb2: this share of the trials, rounded up, gives up its weights for those of as many of the best."""
    mutate: tuple[str, ...] = ()
    """pbt, pb2: the paths of the space that change when a trial goes on from another's checkpoint. Default: all that
    can change in the middle of training. pb2: ranges only, no choices."""
    resample_probability: Annotated[float, Field(ge=0, le=1)] = 0.25
    """pbt: how often a value is drawn anew from its range; otherwise it is multiplied by one of `factors`, or moved to
    its neighbour in a choice. pb2: in the first round, before there is anything to learn from."""
    factors: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.2, 0.8)
    """pbt: see there."""
    max: Annotated[float, Field(gt=0)] | None = None
    """The most training any trial gets. Default: from `training.num_train_epochs` or `training.max_steps`."""

    def settled(self, *, num_trials: int) -> "SchedulerConfig":
        """With what is left open decided by the number of trials."""
        if self.protect is not None or self.name not in _ARGUMENTS["protect"]:
            return self
        return self.model_copy(update={"protect": num_trials >= _ENOUGH_TO_PROTECT})

    @property
    def has_rungs(self) -> bool:
        """Whether it decides at rungs, which need to know the most training."""
        return self.name in ("asha", "hyperband", "pasha")

    @property
    def lets_trials_wait(self) -> bool:
        """Whether trials go on later from their checkpoints."""
        return self.name == "pasha" or self.is_population

    @property
    def is_population(self) -> bool:
        """Whether trials take over each other's weights."""
        return self.name in ("pbt", "pb2")

    @property
    def first_decision(self) -> float:
        """The least training after which something is decided about a trial."""
        return self.interval if self.is_population else self.grace

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

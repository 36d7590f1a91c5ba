"""What a trial document says of folds and seeds: how many trainings there are, and what differs between them."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from spaces.errors import SpecError
from spaces.folds import FoldKind
from trainables.section import Section


class FoldConfig(Section):
    """One fold of a cross-validation. Searches set it: see `search.cross_validation`."""

    index: NonNegativeInt
    """Which fold is held out, from 0."""
    of: Annotated[int, Field(ge=2)]
    """Number of folds."""
    repeat: NonNegativeInt = 0
    """Documents are divided anew in each repeat."""

    @model_validator(mode="after")
    def _is_one_of_them(self) -> "FoldConfig":
        if self.index >= self.of:
            raise SpecError(f"`index < of` must hold, but got fold {self.index} of {self.of}: they count from 0.")
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldRun:
    """One training of several in a trial."""

    index: int
    """Its place among them."""
    fold: FoldConfig | None
    """Which part of the data is held out; None: the same in all."""
    seed: int
    """Added to the trial's seed."""


class FoldsConfig(Section):
    """How often a trial trains: once for each fold and each seed. Its value is the mean of all."""

    folds: Annotated[int, Field(ge=2)] | None = None
    """K-fold cross-validation. Default: the one division of `data.splits`."""
    repeats: PositiveInt = 1
    """So many times, with the documents divided anew."""
    seeds: PositiveInt = 1
    """Trainings of each fold, with `training.seed` and the seeds that follow it."""

    @property
    def kind(self) -> FoldKind:
        """What the trainings are called."""
        return "fold" if self.folds is not None else "seed"

    @property
    def test_share(self) -> float:
        """Held-out documents over documents trained on, in a fold; 0 for seeds, whose draws have nothing in common."""
        return 1 / (self.folds - 1) if self.folds is not None else 0.0

    @property
    def divisions(self) -> int:
        """Divisions of the data that differ; every so many trainings they come again, with another seed. Seeds alone
        count as if each had its own."""
        return self.folds * self.repeats if self.folds is not None else self.seeds

    @property
    def runs(self) -> list[FoldRun]:
        """All trainings, in order: every fold once, before a fold comes again."""
        folds: list[FoldConfig | None] = [None]
        if self.folds is not None:
            places = [(repeat, index) for repeat in range(self.repeats) for index in range(self.folds)]
            folds = [FoldConfig(index=index, of=self.folds, repeat=repeat) for repeat, index in places]
        pairs = [(seed, fold) for seed in range(self.seeds) for fold in folds]
        return [FoldRun(index=index, fold=fold, seed=seed) for index, (seed, fold) in enumerate(pairs)]

    @model_validator(mode="after")
    def _are_several(self) -> "FoldsConfig":
        if self.folds is None and self.repeats > 1:
            raise SpecError("`repeats` divides the documents into folds anew: set `folds` as well.")
        if len(self.runs) < 2:
            raise SpecError("at least two folds, or two seeds, are needed.")
        return self

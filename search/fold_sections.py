"""What a spec says of folds, seeds and races between trials. Imports neither torch nor optuna."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from spaces.errors import SpecError
from trainables.fold_sections import FoldsConfig
from trainables.section import Section


class CrossValidationConfig(Section):
    """Each trial trains once for each fold of the data; its value is the mean."""

    folds: Annotated[int, Field(ge=2, le=100)] = 5
    """How many. Each document that is not in the test split is held out in one of them. `data.splits` says how they are
    divided: stratified by label (classification), at random, by group, by hash, or in order of time."""
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """So many times, with the documents divided anew: `folds` x `repeats` trainings a trial."""
    outer_folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Nested cross-validation: so many searches, each with another part of the data as its test split, to measure how
    good the whole procedure is. Default: one search."""


class RacingConfig(Section):
    """Between its folds a trial is compared with the best finished trial on the same folds; one that is significantly
    worse is stopped."""

    level: Annotated[float, Field(gt=0.0, le=0.5)] = 0.05
    """How often, at most, a trial that is as good may be stopped by one comparison (one-sided)."""
    test: Literal["corrected_t", "wilcoxon"] = "corrected_t"
    """`corrected_t`: the t-test of Nadeau and Bengio, which knows that folds share their training data. `wilcoxon`:
    signed ranks, without any assumption on the size of differences; it needs at least 5 folds at level 0.05."""
    min_folds: PositiveInt = 1
    """No trial is stopped before it has ended so many folds. After its first, a trial has no spread of its own: it is
    judged by the spread between folds that earlier trials had."""


def as_cross_validation(value: Any) -> Any:
    """`5` is short for `{folds: 5}`."""
    return {"folds": value} if isinstance(value, int) and not isinstance(value, bool) else value


def as_racing(value: Any) -> Any:
    """`true` is short for the defaults, `false` for no race."""
    return {} if value is True else None if value is False else value


CrossValidation = Annotated[
    CrossValidationConfig | None,
    BeforeValidator(as_cross_validation, json_schema_input_type=int | CrossValidationConfig | None),
]
Racing = Annotated[RacingConfig | None, BeforeValidator(as_racing, json_schema_input_type=bool | RacingConfig | None)]


class Repetition(Section):
    """How often a trial trains, and what that costs the worse ones."""

    cross_validation: CrossValidation = None
    """Folds: a number, or a mapping. Default: one training on the division of `data.splits`."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    """Trainings of each configuration (and of each fold), with `training.seed` and the seeds that follow it."""
    racing: Racing = None
    """`true`, or a mapping: a trial that is significantly worse on its first folds or seeds is stopped."""

    @model_validator(mode="after")
    def _a_race_needs_rounds(self) -> "Repetition":
        if self.racing is not None and self.folds is None:
            raise SpecError("a race is run between folds or seeds: set `cross_validation` or `seeds` as well.")
        return self

    @property
    def folds(self) -> FoldsConfig | None:
        """What every trial of the search is told; None when it trains once."""
        if (wanted := self.cross_validation) is not None:
            return FoldsConfig(folds=wanted.folds, repeats=wanted.repeats, seeds=self.seeds)
        return FoldsConfig(seeds=self.seeds) if self.seeds > 1 else None

    @property
    def trainings(self) -> int:
        """How many trainings a trial is."""
        return len(self.folds.runs) if self.folds is not None else 1

"""The race between trials: one that is significantly worse than the best on the same folds need not train the rest.

Pure: knows no scheduler. What was decided depends on the trials that had ended until then, as in every race.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.rank_tests import wilcoxon
from analysis.statistics import Spread, by_division, corrected_t, spread_of
from search.fold_sections import RacingConfig
from spaces.folds import fold_values
from spaces.reports import TrialReport
from trainables.fold_sections import FoldsConfig
from trainables.metrics import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Beaten:
    """Why a trial is stopped."""

    by: int
    """The best finished trial."""
    folds: int
    """On how many folds they were compared."""
    difference: float
    """How much worse it is, on average."""
    p: float
    """How likely such a difference, or a larger one, would be if it were as good."""

    def in_words(self, kind: str) -> str:
        """For the record and for a person."""
        folds = f"{self.folds} {kind}s" if self.folds > 1 else f"the first {kind}"
        return f"worse than trial {self.by} by {self.difference:.4g} on {folds} (p = {self.p:.2g})"


class Race:
    """All trials of a search, by their values in each fold."""

    def __init__(self, config: RacingConfig, folds: FoldsConfig, *, metric: str, mode: Mode) -> None:
        """
        Args:
            config: What the spec says.
            folds: What every trial trains.
            metric: The objective.
            mode: Which way it is better.
        """
        self._config = config
        self._metric = metric
        self._sign = 1.0 if mode == "min" else -1.0
        self._kind = folds.kind
        self._trainings = len(folds.runs)
        self._divisions = folds.divisions
        self._test_share = folds.test_share
        self._values: dict[int, list[float]] = {}

    def met_by(self, number: int, report: TrialReport) -> str | None:
        """Note a report. Gives why the trial is out of the race, when this report ends a fold and it is."""
        values = fold_values(report.metrics, self._metric)
        self.note(number, values[: report.folds_ended])
        if len(values) != report.folds_ended:
            return None  # within a fold its value is not final
        beaten = self.judge(number)
        return beaten.in_words(self._kind) if beaten else None

    def note(self, number: int, values: Sequence[float]) -> None:
        """The values of trial `number` in the folds that it has ended."""
        if len(values) > len(self._values.get(number, ())):
            self._values[number] = [self._sign * value for value in values]

    @property
    def leader(self) -> int | None:
        """The best of the trials that have ended all folds; the earlier one of equals."""
        whole = [number for number, values in self._values.items() if len(values) == self._trainings]
        return min(whole, key=lambda number: (sum(self._values[number]), number), default=None)

    def judge(self, number: int) -> Beaten | None:
        """Whether trial `number` is out of the race, after what was noted of it."""
        leader, ended = self.leader, len(self._values.get(number, ()))
        if leader is None or leader == number or not self._config.min_folds <= ended < self._trainings:
            return None
        differences = self._differences(number, leader)
        mean = sum(differences) / len(differences)
        if mean <= 0:
            return None
        if self._config.test == "wilcoxon":
            p = wilcoxon(differences)
        else:
            p = corrected_t(differences, test_share=self._test_share, spread=self._spread(number, leader))
        if p is None or p > self._config.level:
            return None
        return Beaten(by=leader, folds=ended, difference=mean, p=p)

    def _differences(self, number: int, leader: int) -> list[float]:
        """How much worse `number` was than `leader`, fold by fold."""
        pairs = zip(self._values[number], self._values[leader], strict=False)
        return by_division([own - best for own, best in pairs], self._divisions)

    def _spread(self, number: int, leader: int) -> Spread | None:
        """How much such differences vary between folds in the other trials."""
        return spread_of(
            [
                self._differences(other, leader)
                for other, values in self._values.items()
                if other not in (number, leader) and len(values) > 1
            ]
        )

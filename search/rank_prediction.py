"""Do ranks at a rung foretell ranks at the end? Spearman's correlation over a few trials that no rung may stop.

Of the trials that a scheduler lets finish nothing can be learned about that: they are the ones that were ahead early.
So some, the scouts, train to their end whatever their rank. They are chosen by their number alone, so what they show
holds for all, and depends on no order of events. Knows no scheduler.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from search.scouts import is_scout

Trust = Literal["full", "half", "none"]

MIN_SCOUTS = 5
"""So many must have finished before a rung can lose its trust."""
TRUSTED_CORRELATION = 0.5
"""A rung whose interval ends below this does not foretell the end."""
CONFIDENCE = 0.8
"""Of the interval."""
_LARGEST = 0.999
"""Fisher's transformation of 1 is infinite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Foresight:
    """How well a rung foretells the end."""

    rung: float
    """Amount of training."""
    num_scouts: int
    """Finished scouts that this is estimated from."""
    correlation: float | None
    """Spearman's correlation between the values there and at the end; None before there are enough."""
    interval: tuple[float, float] | None
    """Its 80 % interval (Bonett and Wright 2000)."""

    @property
    def trust(self) -> Trust:
        """`full` unless the interval lies below 0.5; then `half`, or `none` when not even the sign is right."""
        if self.correlation is None or self.interval is None or self.interval[1] >= TRUSTED_CORRELATION:
            return "full"
        return "half" if self.correlation > 0 else "none"


class RankPrediction:
    """Collects what scouts report."""

    def __init__(self, rungs: Sequence[float], *, max_resource: float, unit: str) -> None:
        """
        Args:
            rungs: Amounts of training after which trials are compared.
            max_resource: The end.
            unit: What training is counted in.
        """
        self._marks = (*rungs, max_resource)
        self._unit = unit
        self._trust: dict[float, Trust] = {}
        self._values: dict[float, dict[int, float]] = {mark: {} for mark in self._marks}
        self._found: dict[float, Foresight] = {}

    def note(self, number: int, *, resource: float, value: float) -> None:
        """An evaluation of any trial. At each mark the first one that reaches it counts."""
        if not is_scout(number):
            return
        for mark in self._marks:
            if resource >= mark and number not in self._values[mark]:
                self._values[mark][number] = value
                self._found.clear()

    def at(self, rung: float) -> Foresight:
        """What is known of a rung by now."""
        if rung not in self._found:
            self._found[rung] = self._estimate(rung)
        return self._found[rung]

    def changes(self) -> list[str]:
        """A sentence for each rung whose trust has changed since this was last asked."""
        sentences = []
        for rung in self._marks[:-1]:
            foresight = self.at(rung)
            if foresight.trust != self._trust.get(rung, "full"):
                self._trust[rung] = foresight.trust
                sentences.append(sentence_of(foresight, unit=self._unit))
        return sentences

    def _estimate(self, rung: float) -> Foresight:
        here, end = self._values[rung], self._values[self._marks[-1]]
        both = sorted(here.keys() & end.keys())
        if len(both) < MIN_SCOUTS:
            return Foresight(rung=rung, num_scouts=len(both), correlation=None, interval=None)
        correlation = spearman([here[number] for number in both], [end[number] for number in both])
        interval = None if correlation is None else correlation_interval(correlation, len(both))
        return Foresight(rung=rung, num_scouts=len(both), correlation=correlation, interval=interval)


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where one side is all equal."""
    from scipy.stats import rankdata  # takes a while to import

    ranks = np.stack([rankdata(first), rankdata(second)])
    if np.ptp(ranks, axis=1).min() == 0:
        return None
    return float(np.corrcoef(ranks)[0, 1])


def correlation_interval(correlation: float, num: int) -> tuple[float, float]:
    """The interval of Spearman's correlation over `num > 3` pairs, by Fisher's transformation with the standard error
    of Bonett and Wright (2000)."""
    centre = math.atanh(max(-_LARGEST, min(_LARGEST, correlation)))
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt((1 + correlation**2 / 2) / (num - 3))
    return math.tanh(centre - reach), math.tanh(centre + reach)


def sentence_of(foresight: Foresight, *, unit: str) -> str:
    """What is told of a rung whose trust has changed."""
    assert foresight.correlation is not None, "trust changes when there is a correlation"
    assert foresight.interval is not None, "trust changes when there is a correlation"
    low, high = foresight.interval
    figures = (
        f"rank correlation {foresight.correlation:.2f} ({low:.2f} to {high:.2f}) between {foresight.rung:g} {unit} "
        f"and the end, over {foresight.num_scouts} trials"
    )
    if foresight.trust == "none":
        return f"Early ranks do not foretell final ones: {figures}. No trial is stopped there any more."
    if foresight.trust == "half":
        return f"Early ranks hardly foretell final ones: {figures}. Fewer trials are stopped there."
    return f"Early ranks foretell final ones well enough: {figures}. Trials are stopped there again."

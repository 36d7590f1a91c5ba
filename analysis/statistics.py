"""Comparing values that were measured on folds or with seeds. Pure; knows no trial.

Folds of a cross-validation share most of their training data, so that their values vary less than those of independent
experiments would: without a correction far too many differences look significant.
Nadeau and Bengio (2003), Inference for the Generalization Error, Machine Learning 52.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

LEVEL = 0.05
"""How often two things that are equal may be told apart by chance."""

Test = Literal["t", "wilcoxon", "bootstrap"]
"""Student's t with its corrections; ranks, which assume no distribution; resamples, which assume none either but want
more than a handful of values."""
TESTS: tuple[Test, ...] = ("t", "wilcoxon", "bootstrap")
Method = Literal["paired t-test", "Welch's t-test", "signed ranks", "rank sums", "bootstrap"]
_RESAMPLES = 9999
_MOST_DEGREES, _FEWEST_DEGREES = 4.0, 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """What is known of how much differences vary, from others than those at hand."""

    variance: float
    """Their variance."""
    degrees: float
    """How many degrees of freedom stand behind it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """By how much the first of two things has larger values than the second."""

    mean: float
    """The difference of their means."""
    low: float | None
    """Where it begins, with the confidence asked for; None where so few values allow no such interval."""
    high: float | None
    """Where it ends."""
    p_value: float
    """How likely a difference as large, either way, would be if there were none."""
    count: int
    """On how many folds or seeds they were compared; of unlike counts the smaller one."""
    method: Method
    """By which test."""

    def reversed(self) -> "Difference":
        """By how much the second has larger values than the first."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return replace(self, mean=-self.mean, low=low, high=high)


def by_division(values: Sequence[float], divisions: int) -> list[float]:
    """The mean of each division of the data, where value i is of division i modulo `divisions`: trainings of one fold
    with several seeds are no independent measurements of what the data's chance does."""
    grouped = [values[start::divisions] for start in range(min(divisions, len(values)))]
    return [sum(group) / len(group) for group in grouped]


def corrected_interval(values: Sequence[float], *, test_share: float, confidence: float = 0.95) -> tuple[float, float]:
    """Where the mean lies, by Student's t with the correction for shared training data.

    Args:
        values: One a fold or seed; at least two.
        test_share: Held-out documents over documents trained on, in one fold; 0 for seeds, which share no draw.
        confidence: Of the interval.
    """
    from scipy.stats import t

    mean, variance, count = _moments(values)
    half = float(t.ppf(0.5 + confidence / 2, count - 1)) * math.sqrt(variance * (1 / count + test_share))
    return mean - half, mean + half


def corrected_t(differences: Sequence[float], *, test_share: float, spread: Spread | None = None) -> float | None:
    """How likely a mean difference as large as this, or larger, would be if there were none (one-sided).

    With a `spread` from elsewhere the variance is that of both, weighed by their degrees of freedom (the moderated t of
    Smyth, 2004), so that even one difference can be judged. None when nothing is known of the variance.
    """
    from scipy.stats import t

    count = len(differences)
    mean, own, _ = _moments(differences)
    degrees = count - 1 + (spread.degrees if spread else 0.0)
    if count == 0 or degrees <= 0:
        return None
    variance = ((count - 1) * own + (spread.degrees * spread.variance if spread else 0.0)) / degrees
    if variance == 0.0:
        return 0.0 if mean > 0 else 1.0
    statistic = mean / math.sqrt(variance * (1 / count + test_share))
    return float(t.sf(statistic, degrees))


def spread_of(groups: Sequence[Sequence[float]]) -> Spread | None:
    """How much differences vary within these groups, each around its own mean; None where too few are known. It counts
    for no more than a few degrees of freedom: other trials need not vary as the one at hand does."""
    squares = degrees = 0.0
    for differences in groups:
        if len(differences) > 1:
            squares += _moments(differences)[1] * (len(differences) - 1)
            degrees += len(differences) - 1
    if degrees < _FEWEST_DEGREES:
        return None
    return Spread(variance=squares / degrees, degrees=min(degrees, _MOST_DEGREES))


def paired(
    first: Sequence[float], second: Sequence[float], *, test_share: float, confidence: float = 1 - LEVEL
) -> Difference | None:
    """Compare values that were measured on the same folds or with the same seeds, one by one. None for fewer than two.

    Raises:
        ValueError: they are not of one length.
    """
    differences = [one - other for one, other in zip(first, second, strict=True)]
    if len(differences) < 2:
        return None
    mean, _, count = _moments(differences)
    one_sided = corrected_t([math.copysign(1.0, mean) * each for each in differences], test_share=test_share)
    low, high = corrected_interval(differences, test_share=test_share, confidence=confidence)
    p_value = min(1.0, 2 * (one_sided if one_sided is not None else 1.0))
    return Difference(mean=mean, low=low, high=high, p_value=p_value, count=count, method="paired t-test")


def unpaired(
    first: Sequence[float],
    second: Sequence[float],
    *,
    test_shares: tuple[float, float] = (0.0, 0.0),
    confidence: float = 1 - LEVEL,
) -> Difference | None:
    """Compare values that have nothing in common, by Welch's t. None for fewer than two of either.

    Args:
        first: Of one thing.
        second: Of the other.
        test_shares: Of each, as in `corrected_interval`.
        confidence: Of the interval.
    """
    from scipy.stats import t

    if min(len(first), len(second)) < 2:
        return None
    (one, own, count), (other, others, counts) = _moments(first), _moments(second)
    parts = (own * (1 / count + test_shares[0]), others * (1 / counts + test_shares[1]))
    mean, error = one - other, math.sqrt(sum(parts))
    if error == 0.0:
        p_value, half = (1.0 if mean == 0.0 else 0.0), 0.0
    else:
        degrees = sum(parts) ** 2 / (parts[0] ** 2 / (count - 1) + parts[1] ** 2 / (counts - 1))
        p_value = 2 * float(t.sf(abs(mean) / error, degrees))
        half = float(t.ppf(0.5 + confidence / 2, degrees)) * error
    return Difference(
        mean=mean, low=mean - half, high=mean + half, p_value=p_value, count=min(count, counts), method="Welch's t-test"
    )


def by_bootstrap(
    first: Sequence[float], second: Sequence[float], *, are_pairs: bool, confidence: float = 1 - LEVEL
) -> Difference | None:
    """Compare by resampling, of pairs or of each by itself. None for fewer than two of either."""
    import numpy as np

    if min(len(first), len(second)) < 2:
        return None
    generator = np.random.default_rng(0)

    def means(values: Sequence[float]) -> np.ndarray:
        picked = generator.integers(len(values), size=(_RESAMPLES, len(values)))
        drawn: np.ndarray = np.asarray(values, dtype=float)[picked].mean(axis=1)
        return drawn

    if are_pairs:
        draws = means([one - other for one, other in zip(first, second, strict=True)])
    else:
        draws = means(first) - means(second)
    low, high = percentiles(draws.tolist(), confidence=confidence)
    beyond = min(float((draws <= 0).mean()), float((draws >= 0).mean()))
    return Difference(
        mean=_moments(first)[0] - _moments(second)[0], low=low, high=high,
        p_value=min(1.0, max(2 * beyond, 1 / _RESAMPLES)), count=min(len(first), len(second)), method="bootstrap",
    )  # fmt: skip


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value as it counts when all are looked at together: with a bound on these, the chance of even one wrong
    finding is no larger than the bound (Holm, 1979)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def percentiles(draws: Sequence[float], *, confidence: float = 1 - LEVEL) -> tuple[float, float]:
    """Where the middle of bootstrap draws lies."""
    import numpy as np

    ends: list[float] = np.percentile(draws, [50 * (1 - confidence), 50 * (1 + confidence)]).tolist()
    return ends[0], ends[1]


def _moments(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, variance of one value (0 where there is one only) and count."""
    count = len(values)
    mean = sum(values) / count if count else 0.0
    return mean, sum((value - mean) ** 2 for value in values) / (count - 1) if count > 1 else 0.0, count

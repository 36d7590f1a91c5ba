"""Comparing values that were measured on the same folds or seeds. Pure; knows no trial.

Folds of a cross-validation share most of their training data, so that their values vary less than those of independent
experiments would: without a correction far too many differences look significant.
Nadeau and Bengio (2003), Inference for the Generalization Error, Machine Learning 52.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """What is known of how much differences vary, from others than those at hand."""

    variance: float
    """Their variance."""
    degrees: float
    """How many degrees of freedom stand behind it."""


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


def wilcoxon(differences: Sequence[float]) -> float | None:
    """The same by Wilcoxon's signed ranks, exactly. None without differences."""
    from scipy.stats import wilcoxon as signed_ranks

    told = [each for each in differences if each != 0.0]
    if not told:
        return None if not differences else 1.0
    return float(signed_ranks(told, alternative="greater", method="exact").pvalue)


def _moments(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, variance of one value (0 where there is one only) and count."""
    count = len(values)
    mean = sum(values) / count if count else 0.0
    return mean, sum((value - mean) ** 2 for value in values) / (count - 1) if count > 1 else 0.0, count

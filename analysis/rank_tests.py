"""Comparing values by their ranks, exactly: no distribution is assumed. Pure; knows no trial."""

from collections.abc import Sequence
from statistics import fmean

from analysis.statistics import LEVEL, Difference


def wilcoxon(differences: Sequence[float]) -> float | None:
    """How likely differences as large, or larger, would be if there were none, by Wilcoxon's signed ranks, exactly
    (one-sided). None without differences."""
    from scipy.stats import wilcoxon as signed_ranks

    told = [each for each in differences if each != 0.0]
    if not told:
        return None if not differences else 1.0
    return float(signed_ranks(told, alternative="greater", method="exact").pvalue)


def by_ranks(
    first: Sequence[float], second: Sequence[float], *, are_pairs: bool, confidence: float = 1 - LEVEL
) -> Difference | None:
    """Compare by ranks, exactly: signed ranks of pairs (Wilcoxon), else rank sums (Mann and Whitney).

    The interval is that of Hodges and Lehmann: the shifts that the test would not refuse. `mean` stays the difference
    of means. None for fewer than two of either.
    """
    from scipy.stats import mannwhitneyu
    from scipy.stats import wilcoxon as signed_ranks

    if min(len(first), len(second)) < 2:
        return None
    if are_pairs:
        differences = [one - other for one, other in zip(first, second, strict=True)]
        told = [each for each in differences if each != 0.0]
        p_value = float(signed_ranks(told, method="exact").pvalue) if told else 1.0
        shifts = sorted((one + other) / 2 for at, one in enumerate(differences) for other in differences[at:])
    else:
        p_value = float(mannwhitneyu(first, second, method="exact").pvalue)
        shifts = sorted(one - other for one in first for other in second)
    low, high = _ends(shifts, _refused(len(first), len(second), are_pairs=are_pairs, level=1 - confidence))
    return Difference(
        mean=fmean(first) - fmean(second), low=low, high=high, p_value=p_value,
        count=min(len(first), len(second)), method="signed ranks" if are_pairs else "rank sums",
    )  # fmt: skip


def _ends(shifts: Sequence[float], refused: int) -> tuple[float, float] | tuple[None, None]:
    """The interval that leaves out `refused` shifts at either end."""
    if refused < 1:  # even the outermost shift is not refused: the interval is unbounded
        return None, None
    return shifts[refused - 1], shifts[-refused]


def _refused(count: int, counts: int, *, are_pairs: bool, level: float) -> int:
    """Of the sorted shifts the one from which on a two-sided exact test at `level` refuses no more; 0 where it can
    never refuse."""
    chances = _signed_rank_chances(count) if are_pairs else _rank_sum_chances(count, counts)
    below, place = 0.0, 0
    while below + chances[place] <= level / 2 + 1e-12:
        below += chances[place]
        place += 1
    return place


def _signed_rank_chances(count: int) -> list[float]:
    """How likely each sum of positive ranks is, from 0 on, where signs are by chance."""
    ways = [1]
    for rank in range(1, count + 1):
        shifted = [0] * rank + ways
        ways = [(ways[at] if at < len(ways) else 0) + shifted[at] for at in range(len(shifted))]
    return [each / 2**count for each in ways]


def _rank_sum_chances(count: int, counts: int) -> list[float]:
    """How likely each number of pairs is in which the first is larger, from 0 on, where the order is by chance."""
    # The Gaussian binomial coefficient, one factor (1 - q^(counts + i)) / (1 - q^i) at a time.
    ways = [1]
    for step in range(1, count + 1):
        raised = ways + [0] * (counts + step)
        for at in range(len(ways)):
            raised[at + counts + step] -= ways[at]
        for at in range(step, len(raised)):
            raised[at] += raised[at - step]
        ways = raised[: counts * step + 1]
    total = sum(ways)
    return [each / total for each in ways]

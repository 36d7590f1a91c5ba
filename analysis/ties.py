"""Which trials cannot be told apart from the best one. Pure; knows no record.

The test is two-sided: the best one of two equal trials has the better value by chance, in either direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.rank_tests import by_ranks
from analysis.statistics import (
    LEVEL,
    Difference,
    Spread,
    Test,
    by_bootstrap,
    by_division,
    corrected_t,
    holm,
    paired,
    spread_of,
    unpaired,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What is known of how well a trial did."""

    values: Sequence[float]
    """The objective in each fold or with each seed."""
    divisions: int
    """Divisions of the data among them, see `by_division`."""
    test_share: float = 0.0
    """How much folds share, see `corrected_interval`."""
    shares_folds: bool = True
    """Whether its folds, or seeds, are those of the others."""


def difference(first: Measured, second: Measured, *, test: Test = "t") -> Difference | None:
    """By how much the first has larger values, by the strongest test that holds: pairs where both trained the same
    folds or seeds. None where the spread of either is not known."""
    one, other = by_division(first.values, first.divisions), by_division(second.values, second.divisions)
    # One fold of another search is no pair: it held out other documents.
    are_pairs = first.shares_folds and second.shares_folds and len(first.values) == len(second.values)
    if test == "wilcoxon":
        return by_ranks(one, other, are_pairs=are_pairs)
    if test == "bootstrap":
        return by_bootstrap(one, other, are_pairs=are_pairs)
    if are_pairs:
        return paired(one, other, test_share=first.test_share)
    return unpaired(one, other, test_shares=(first.test_share, second.test_share))


def adjusted_p_values(best: Measured, others: Sequence[Measured]) -> list[float | None]:
    """For each other the p-value of its difference to the best, by Holm for all of them together; None where it cannot
    be had.

    Three seeds alone know little of how much values vary: what the other trials show of that counts for some degrees of
    freedom, too (the moderated t, see `corrected_t`). Otherwise a trial of half the value would be a tie.
    """
    pairs = [_pairs(best, other) for other in others]
    found = []
    for place, other in enumerate(others):
        if len(pairs[place]) > 1:
            spread = spread_of([each for at, each in enumerate(pairs) if at != place])
            found.append(_two_sided(pairs[place], test_share=best.test_share, spread=spread))
        else:
            plain = difference(best, other)
            found.append(None if plain is None else plain.p_value)
    adjusted = iter(holm([each for each in found if each is not None]))
    return [None if each is None else next(adjusted) for each in found]


def _pairs(first: Measured, second: Measured) -> list[float]:
    """The differences on the same folds or seeds; empty where they have none in common."""
    if not (first.shares_folds and second.shares_folds and len(first.values) == len(second.values)):
        return []
    return by_division([one - other for one, other in zip(first.values, second.values, strict=True)], first.divisions)


def _two_sided(differences: Sequence[float], *, test_share: float, spread: Spread | None) -> float | None:
    forth, back = (
        corrected_t([sign * each for each in differences], test_share=test_share, spread=spread) for sign in (1.0, -1.0)
    )
    return None if forth is None or back is None else min(1.0, 2 * min(forth, back))


def is_tie(p_value: float) -> bool:
    """Whether a difference of this p-value says nothing."""
    return p_value > LEVEL

"""Which trials cannot be told apart from the best one. Pure; knows no record.

The test is two-sided: the best one of two equal trials has the better value by chance, in either direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.rank_tests import by_ranks
from analysis.statistics import LEVEL, Difference, Test, by_bootstrap, by_division, holm, paired, unpaired


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
    be had."""
    found = [difference(best, other) for other in others]
    adjusted = iter(holm([each.p_value for each in found if each is not None]))
    return [None if each is None else next(adjusted) for each in found]


def is_tie(p_value: float) -> bool:
    """Whether a difference of this p-value says nothing."""
    return p_value > LEVEL

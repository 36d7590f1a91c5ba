"""Comparisons on the same folds, against what is known of them."""

import random
import statistics
from typing import Any

import pytest
import scipy.stats

from analysis.rank_tests import by_ranks, wilcoxon
from analysis.statistics import (
    Spread,
    by_bootstrap,
    by_division,
    corrected_interval,
    corrected_t,
    holm,
    paired,
    unpaired,
)

DIFFERENCES = [0.03, 0.01, 0.05, 0.02, 0.04]


def test_without_shared_training_data_it_is_the_paired_t_test() -> None:
    expected = scipy.stats.ttest_1samp(DIFFERENCES, 0.0, alternative="greater").pvalue
    assert corrected_t(DIFFERENCES, test_share=0.0) == pytest.approx(expected)


def test_shared_training_data_makes_a_difference_less_certain() -> None:
    # Nadeau and Bengio: the variance of the mean is (1/5 + 1/4) of that of a difference, for five folds.
    t = statistics.mean(DIFFERENCES) / (statistics.stdev(DIFFERENCES) * (1 / 5 + 1 / 4) ** 0.5)
    assert corrected_t(DIFFERENCES, test_share=1 / 4) == pytest.approx(scipy.stats.t.sf(t, 4))


def test_one_difference_is_judged_by_the_spread_of_others() -> None:
    assert corrected_t([0.1], test_share=0.25) is None
    spread = Spread(variance=0.01**2, degrees=4)
    assert corrected_t([0.1], test_share=0.25, spread=spread) < 0.001
    assert corrected_t([0.01], test_share=0.25, spread=spread) > 0.1


def test_equal_values_differ_by_nothing() -> None:
    assert corrected_t([0.0, 0.0, 0.0], test_share=0.25) == 1.0
    assert wilcoxon([0.0, 0.0, 0.0]) == 1.0


def test_ranks_need_five_folds_to_be_sure_at_five_percent() -> None:
    assert wilcoxon([0.1, 0.2, 0.3, 0.4]) == pytest.approx(1 / 16)
    assert wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(1 / 32)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = random.Random(1)
    covered = 0
    for _ in range(400):
        low, high = corrected_interval([generator.gauss(5.0, 1.0) for _ in range(5)], test_share=0.0)
        covered += low <= 5.0 <= high
    assert 0.91 <= covered / 400 <= 0.98


def test_seeds_of_one_fold_are_one_measurement() -> None:
    assert by_division([1.0, 2.0, 3.0, 5.0, 6.0], 3) == [3.0, 4.0, 3.0]
    assert by_division([1.0, 2.0], 3) == [1.0, 2.0]


def test_paired_and_unpaired_are_the_tests_of_the_textbook() -> None:
    one, other = [0.9, 0.8, 0.85, 0.95], [0.7, 0.75, 0.8, 0.72]
    pairs, welch = paired(one, other, test_share=0.0), unpaired(one, other)
    assert pairs is not None
    assert welch is not None
    expected = scipy.stats.ttest_rel(one, other)
    assert (pairs.p_value, pairs.low) == pytest.approx((expected.pvalue, expected.confidence_interval().low))
    expected = scipy.stats.ttest_ind(one, other, equal_var=False)
    assert (welch.p_value, welch.low) == pytest.approx((expected.pvalue, expected.confidence_interval().low))


@pytest.mark.parametrize("compare", [paired, unpaired])
def test_a_comparison_the_other_way_round_says_the_opposite(compare: Any) -> None:
    one, other = [0.9, 0.8, 0.85], [0.7, 0.75, 0.8]
    share = {"test_share": 0.5} if compare is paired else {"test_shares": (0.5, 0.5)}
    forth, back = compare(one, other, **share), compare(other, one, **share)
    assert (back.mean, back.low, back.high) == pytest.approx((-forth.mean, -forth.high, -forth.low))
    assert back.p_value == pytest.approx(forth.p_value)


def test_one_value_of_each_is_nothing_to_compare() -> None:
    assert paired([1.0], [2.0], test_share=0.0) is None
    assert unpaired([1.0], [2.0, 3.0]) is None


def test_holm_counts_each_p_value_with_those_above_it() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_ranks_give_the_exact_p_values_of_the_textbook() -> None:
    one, other = [0.9, 0.8, 0.85, 0.95, 0.7, 0.66], [0.71, 0.75, 0.81, 0.72, 0.65, 0.6]
    pairs, sums = by_ranks(one, other, are_pairs=True), by_ranks(one, other, are_pairs=False)
    assert pairs is not None
    assert sums is not None
    assert pairs.p_value == pytest.approx(scipy.stats.wilcoxon(one, other, method="exact").pvalue)
    assert sums.p_value == pytest.approx(scipy.stats.mannwhitneyu(one, other, method="exact").pvalue)


def test_the_interval_of_ranks_holds_the_shifts_that_the_test_does_not_refuse() -> None:
    generator = random.Random(2)
    one, other = ([generator.gauss(mean, 1.0) for _ in range(8)] for mean in (1.0, 0.0))
    for are_pairs in (True, False):
        found = by_ranks(one, other, are_pairs=are_pairs)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        for shift, is_inside in ((found.low + 1e-6, True), (found.low - 1e-6, False), (found.high + 1e-6, False)):
            moved = by_ranks([value - shift for value in one], other, are_pairs=are_pairs)
            assert moved is not None
            assert (moved.p_value > 0.05) == is_inside


def test_five_folds_are_too_few_for_an_interval_by_signed_ranks() -> None:
    found = by_ranks([1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5, are_pairs=True)
    assert found is not None
    assert (found.low, found.high, found.p_value) == (None, None, 1 / 16)


@pytest.mark.parametrize("are_pairs", [True, False])
def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says(are_pairs: bool) -> None:
    generator = random.Random(3)
    covered = 0
    for _ in range(100):
        one, other = ([generator.gauss(mean, 1.0) for _ in range(30)] for mean in (0.5, 0.0))
        found = by_bootstrap(one, other, are_pairs=are_pairs)
        assert found is not None
        covered += (found.low or 0.0) <= 0.5 <= (found.high or 0.0)
    assert 88 <= covered <= 100

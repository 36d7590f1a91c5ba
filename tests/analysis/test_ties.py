"""Ties: what cannot be told apart from the best, in planted cases whose truth is known."""

import random
from dataclasses import replace

import pytest
from records_by_hand import finished, search_of

from analysis.leaderboard import leaderboard
from analysis.statistics import corrected_interval, paired
from analysis.ties import Measured, adjusted_p_values


def test_a_trial_that_the_folds_cannot_tell_from_the_best_is_a_tie() -> None:
    record = search_of(finished(0, 0.90, 0.80, 0.85), finished(1, 0.80, 0.90, 0.84), finished(2, 0.10, 0.09, 0.11))
    best, tied, worse = leaderboard(record)
    assert (best.is_tied, best.p_value) == (False, None)
    assert (tied.trial.number, tied.is_tied) == (1, True)
    assert (worse.trial.number, worse.is_tied) == (2, False)


def test_without_folds_or_seeds_nothing_is_called_a_tie() -> None:
    entries = leaderboard(search_of(finished(0, 0.90), finished(1, 0.8999)))
    assert [(entry.p_value, entry.is_tied) for entry in entries] == [(None, False), (None, False)]


def test_an_early_stopped_trial_is_no_tie() -> None:
    stopped = replace(finished(1, 0.90, 0.80, 0.84), state="PRUNED", value=None)
    entries = leaderboard(search_of(finished(0, 0.90, 0.80, 0.85), stopped))
    assert not entries[1].is_tied


def test_the_more_trials_are_compared_the_more_it_takes_to_call_one_worse() -> None:
    best = Measured(values=(1.0, 1.2, 1.1, 1.3, 1.15), divisions=5)
    other = Measured(values=(0.9, 1.12, 1.02, 1.26, 1.0), divisions=5)
    alone = adjusted_p_values(best, [other])[0]
    noisy = Measured(values=(1.4, 0.9, 1.3, 0.8, 1.2), divisions=5)
    among = adjusted_p_values(best, [other, *[noisy] * 9])[0]
    assert alone is not None
    assert alone < 0.05 < (among or 0.0)


def test_values_of_one_division_with_several_seeds_count_once() -> None:
    # Three seeds of two folds: two measurements of each trial, and never six.
    record = search_of(finished(0, 0.9, 0.8, 0.91, 0.81, 0.92, 0.82), finished(1, 0.8, 0.79, 0.81, 0.8, 0.82, 0.81))
    record = replace(record, divisions=2, test_share=1.0)
    differences = paired([0.91, 0.81], [0.81, 0.80], test_share=1.0)
    assert differences is not None
    assert leaderboard(record)[1].p_value == pytest.approx(differences.p_value)


def test_folds_of_searches_with_other_data_are_no_pairs() -> None:
    one = search_of(finished(0, 0.90, 0.80, 0.85, 0.70), name="a", yardstick={"data": {"max_length": 48}})
    other = search_of(finished(0, 0.89, 0.79, 0.84, 0.69), name="b", yardstick={"data": {"max_length": 96}})
    assert leaderboard(one, replace(other, yardstick=one.yardstick))[1].is_tied is False
    assert leaderboard(one, other)[1].is_tied is True


def _search(generator: random.Random, means: list[float], *, folds: int = 5) -> list[float | None]:
    """One search whose folds have difficulties of their own, which all trials share."""
    difficulty = [generator.gauss(0.0, 0.05) for _ in range(folds)]
    values = [tuple(mean + hard + generator.gauss(0.0, 0.01) for hard in difficulty) for mean in means]
    record = replace(search_of(*(finished(number, *each) for number, each in enumerate(values))), test_share=0.0)
    return [entry.p_value for entry in leaderboard(record)]


def test_two_equal_trials_are_a_tie_about_as_often_as_the_level_says() -> None:
    generator = random.Random(0)
    ties = sum((_search(generator, [0.8, 0.8])[1] or 0.0) > 0.05 for _ in range(200))
    assert 0.90 <= ties / 200 <= 0.99


def test_a_truly_better_trial_is_found() -> None:
    generator = random.Random(0)
    found = sum((_search(generator, [0.8, 0.83])[1] or 1.0) <= 0.05 for _ in range(200))
    assert found / 200 >= 0.9


def test_the_best_of_many_equal_trials_rarely_casts_out_another_given_one() -> None:
    generator = random.Random(0)
    p_values = [p for _ in range(200) for p in _search(generator, [0.8] * 8)[1:]]
    assert sum((p or 0.0) <= 0.05 for p in p_values) / len(p_values) <= 0.05


def test_the_interval_of_a_difference_is_that_of_its_pairs() -> None:
    found = paired([1.0, 2.0, 3.5], [0.5, 1.0, 2.0], test_share=0.5)
    assert found is not None
    assert (found.low, found.high) == corrected_interval([0.5, 1.0, 1.5], test_share=0.5)


def test_three_seeds_are_enough_to_tell_a_trial_of_a_third_of_the_value_when_others_show_how_values_vary() -> None:
    generator = random.Random(4)
    means = [0.70, 0.69, 0.68, 0.66, 0.62, 0.54, 0.49, 0.41, 0.23]
    trials = [
        finished(number, *(mean + generator.gauss(0, 0.04) for _ in range(3))) for number, mean in enumerate(means)
    ]
    entries = leaderboard(replace(search_of(*trials), test_share=0.0))
    assert not entries[-1].is_tied
    assert entries[1].is_tied


def test_trials_that_vary_more_than_others_are_not_cast_out_for_it() -> None:
    generator = random.Random(5)
    cast_out = []
    for _ in range(2000):
        noises = [0.01, 0.01, 0.01, 0.05]
        trials = [finished(at, *(generator.gauss(0.8, noise) for _ in range(5))) for at, noise in enumerate(noises)]
        entries = leaderboard(replace(search_of(*trials), test_share=0.0))
        cast_out += [not entry.is_tied for entry in entries[1:]]
    assert sum(cast_out) / len(cast_out) <= 0.05

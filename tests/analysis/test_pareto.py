"""Fronts of points with several objectives."""

import numpy as np

from analysis.pareto import front_of_each
from spaces.objectives import Objective

LOSS, SPEED = Objective(name="eval/loss", mode="min"), Objective(name="trial/tokens_per_second", mode="max")


def test_what_nothing_is_better_than_in_both_is_on_the_first_front() -> None:
    values = [(0.5, 100), (0.4, 50), (0.6, 90), (0.7, 80), (0.4, 40)]
    assert front_of_each(values, [LOSS, SPEED]) == [1, 1, 2, 3, 2]


def test_equal_points_share_a_front() -> None:
    assert front_of_each([(0.5, 100), (0.5, 100)], [LOSS, SPEED]) == [1, 1]


def test_with_one_objective_fronts_are_ranks() -> None:
    assert front_of_each([(0.3,), (0.1,), (0.2,)], [LOSS]) == [3, 1, 2]


def test_no_points_have_no_fronts() -> None:
    assert front_of_each([], [LOSS, SPEED]) == []


def test_fronts_are_those_of_the_definition() -> None:
    points = np.random.default_rng(0).integers(0, 6, (60, 3)).astype(float)
    objectives = [LOSS, SPEED, Objective(name="trial/cost", mode="min")]
    signed = points * [1, -1, 1]
    fronts = np.array(front_of_each(points.tolist(), objectives))
    for place, own in enumerate(signed):
        better = (signed <= own).all(axis=1) & (signed < own).any(axis=1)
        assert fronts[place] == 1 + max(fronts[better], default=0)

"""Means over boxes are the means of what the forests predict."""

import numpy as np
import pytest

from analysis.surrogate import Surrogate


@pytest.fixture(scope="module")
def model() -> Surrogate:
    rng = np.random.default_rng(0)
    points = rng.random((80, 3))
    values = points[:, 0] ** 2 + points[:, 0] * points[:, 1]
    return Surrogate(points, values, cells=[4, 4, 4], num_forests=2)


def test_marginal_means_are_the_means_of_predictions(model: Surrogate) -> None:
    rng = np.random.default_rng(1)
    points = rng.random((40_000, 3))
    cells = np.minimum((points[:, 0] * 4).astype(int), 3)
    predicted = model.predict(points)
    for forest, marginals in enumerate(model.marginals()):
        by_hand = [predicted[forest][cells == cell].mean() for cell in range(4)]
        assert marginals.means[0] == pytest.approx(by_hand, abs=0.02)


def test_the_means_of_a_pair_average_to_those_of_each(model: Surrogate) -> None:
    for shape, marginals in zip(model.shape(0, 1), model.marginals(), strict=True):
        assert shape.mean(axis=1) == pytest.approx(marginals.means[0])
        assert shape.mean(axis=0) == pytest.approx(marginals.means[1])


def test_equal_arguments_give_equal_forests() -> None:
    rng = np.random.default_rng(0)
    points, values = rng.random((30, 2)), rng.random(30)
    first, second = (Surrogate(points, values, cells=[8, 8], num_forests=2, seed=4) for _ in range(2))
    assert np.array_equal(first.predict(points), second.predict(points))

"""Priors: what they are drawn from, where they are likeliest, and how they are written."""

import math
import statistics
from random import Random
from typing import Any

import pytest

from spaces.errors import SpecError
from spaces.parameters import parse_parameter
from spaces.priors import Prior
from spaces.space import Space


def prior(**entry: Any) -> Prior:
    found = parse_parameter("a.x", entry).prior
    assert found is not None
    return found


@pytest.mark.parametrize(("confidence", "spread"), [("low", 0.5), ("medium", 0.25), ("high", 0.125)])
def test_a_value_one_spread_away_is_believed_as_a_normal_distribution_has_it(confidence: str, spread: float) -> None:
    belief = prior(log_uniform=[1e-4, 1.0], prior=1e-2, confidence=confidence)
    assert belief.log_weight(1e-2) == 0
    assert belief.log_weight(1e-2 * 10 ** (4 * spread)) == pytest.approx(-0.5)


def test_draws_lie_around_the_value_on_the_scale_of_the_range() -> None:
    belief, rng = prior(log_uniform=[1e-6, 1.0], prior=1e-3, confidence="high"), Random(0)
    decades = [math.log10(float(belief.sample(rng))) for _ in range(2000)]  # type: ignore[arg-type]  # numbers
    assert statistics.mean(decades) == pytest.approx(-3, abs=0.06)
    assert statistics.stdev(decades) == pytest.approx(6 * 0.125, rel=0.06)


@pytest.mark.parametrize(
    "entry",
    [
        {"uniform": [0.0, 1.0], "step": 0.1, "prior": 0.33},
        {"log_uniform": [1e-4, 1e-1], "num": 4, "prior": 2e-3},
        {"int": [8, 64], "step": 8, "prior": 60},
        {"log_int": [1, 1000], "prior": 1000},
        {"choice": ["a", "b", {"c": [1]}], "prior": {"c": [1]}},
        {"normal": [0.5, 0.2], "low": 0.0, "high": 1.0, "prior": 0.9},
    ],
)
def test_draws_and_the_centre_are_values_of_the_range(entry: dict[str, Any]) -> None:
    parameter, rng = parse_parameter("a.x", entry), Random(0)
    assert parameter.prior is not None
    drawn = [parameter.prior.sample(rng) for _ in range(100)]
    assert all(parameter.distribution.contains(value) for value in [*drawn, parameter.prior.centre])
    assert all(parameter.prior.log_weight(value) <= 0 for value in drawn)


def test_a_believed_choice_is_drawn_as_many_times_as_its_weight_says() -> None:
    belief, rng = prior(choice=["a", "b", "c"], prior="b", confidence="high"), Random(0)
    drawn = [belief.sample(rng) for _ in range(2000)]
    assert drawn.count("b") / 2000 == pytest.approx(8 / 10, abs=0.03)


def test_a_space_is_drawn_evenly_unless_it_is_asked_to_believe() -> None:
    space = Space.parse(
        {"a.x": {"uniform": [0, 1], "prior": 1.0, "confidence": "high"}, "a.y": {"uniform": [0, 1]}},
        document={"a": {"x": None, "y": None}},
    )
    rng = Random(0)
    evenly = [float(space.sample(rng)["a.x"]) for _ in range(500)]  # type: ignore[arg-type]  # numbers
    believed = [space.sample(rng, believing=True) for _ in range(500)]
    assert statistics.mean(evenly) == pytest.approx(0.5, abs=0.05)
    assert statistics.mean(float(one["a.x"]) for one in believed) > 0.85  # type: ignore[arg-type]  # numbers
    assert statistics.mean(float(one["a.y"]) for one in believed) == pytest.approx(0.5, abs=0.05)  # type: ignore[arg-type]  # numbers


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"uniform": [0, 1], "prior": 2}, "`prior` must lie from 0 to 1, but got 2"),
        ({"uniform": [0, 1], "prior": "x"}, "`prior` must be a number"),
        ({"choice": [1, 2], "prior": 3}, r"one of the choices \[1, 2\], but got 3"),
        ({"uniform": [0, 1], "prior": 0.5, "confidence": "hihg"}, "got 'hihg'. Did you mean `high`"),
        ({"uniform": [0, 1], "confidence": "high"}, "that of a `prior`, which is not given"),
        ({"normal": [0, 1], "prior": 0.5}, "a range with two ends"),
        ({"uniform": [0, 1], "priro": 0.5}, "no option `priro`. Did you mean `prior`"),
    ],
)  # fmt: skip
def test_a_prior_that_cannot_be_is_refused(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        parse_parameter("a.x", entry)
    assert caught.value.path == "space.a.x"

"""Scales and bounds come from the space, or from the values where nobody says them."""

import math

import pytest
from planted_searches import realistic_search, search_of

from analysis.axes import Axis, axes_of
from analysis.records import ParameterRange, SearchRecord, TrialRecord


def _search(*values: object, space: ParameterRange | None = None) -> SearchRecord:
    trials = [
        TrialRecord(number=number, state="COMPLETE", value=1.0, params={"p": value}, intermediate={})
        for number, value in enumerate(values)
    ]
    return search_of(trials, space={"p": space} if space else {})


def _axis(*values: object, space: ParameterRange | None = None) -> Axis:
    return axes_of(_search(*values, space=space))[0]


def test_the_space_says_what_is_on_a_log_scale() -> None:
    axes = {axis.name: axis for axis in axes_of(realistic_search(trials=30))}
    assert axes["learning_rate"].is_log
    assert (axes["learning_rate"].low, axes["learning_rate"].high) == (1e-5, 1e-2)
    assert not axes["weight_decay"].is_log
    assert axes["lr_scheduler_type"].choices == ("constant", "cosine", "linear")


def test_without_a_space_two_decades_of_positive_values_are_a_log_scale() -> None:
    assert _axis(1e-4, 1e-2).is_log
    assert not _axis(1e-3, 5e-3).is_log
    assert not _axis(-1.0, 100.0).is_log
    assert not _axis(0.0, 100.0).is_log


def test_a_point_outside_of_the_space_widens_the_axis() -> None:
    axis = _axis(0.5, 2.0, space=ParameterRange(low=0.0, high=1.0))
    assert (axis.low, axis.high) == (0.0, 2.0)


@pytest.mark.parametrize(
    "values",
    [(1e-4, 3e-3, 1e-2), (0.0, 0.5, 1.0), (1, 2, 6), ("a", "b", "c"), (True, False), (None, 1, "x"), ([1], {"a": 2})],
)
def test_a_place_leads_back_to_the_value(values: tuple[object, ...]) -> None:
    axis = _axis(*values)
    for value in values:
        found = axis.at(axis.unit(value))
        assert math.isclose(found, value) if isinstance(value, float) else found == value


def test_numbers_that_were_listed_are_ordered_by_size() -> None:
    assert _axis(64, 8, 512, space=ParameterRange(is_choice=True)).choices == (8, 64, 512)


def test_true_and_one_are_two_values() -> None:
    assert len(_axis(True, 1, "1").choices) == 3


def test_a_parameter_with_one_value_is_no_axis() -> None:
    assert axes_of(_search(3, 3, 3)) == []

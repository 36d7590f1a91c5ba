"""Dotted paths into nested mappings."""

import pytest

from spaces.documents import get_path, has_path, is_below_null, same_value, set_path, with_paths
from spaces.errors import SpecError


def test_null_value_counts_as_present():
    assert has_path({"model": {"adapter": None}}, "model.adapter")


@pytest.mark.parametrize(("path", "is_there"), [("data.0.weight", True), ("data.1.weight", False), ("data.x", False)])
def test_a_number_names_an_entry_of_a_list(path, is_there):
    assert has_path({"data": [{"weight": 1}]}, path) is is_there


def test_an_entry_of_a_list_is_set_in_a_copy():
    document = {"data": {"source": [{"weight": 1}, {"weight": 2}]}}
    changed = with_paths(document, {"data.source.1.weight": 5, "data.source.0.weight": 4, "data.seed": 0})
    assert changed == {"data": {"source": [{"weight": 4}, {"weight": 5}], "seed": 0}}
    assert document == {"data": {"source": [{"weight": 1}, {"weight": 2}]}}
    set_path(document, "data.source.0.weight", 9)
    assert document["data"]["source"][0] == {"weight": 9}


def test_unknown_path_names_the_nearest():
    with pytest.raises(SpecError, match=r"Did you mean `training\.seed`"):
        get_path({"training": {"seed": 1}}, "training.sed")


@pytest.mark.parametrize("document", [{}, {"model": None}, {"model": {}}, {"model": {"adapter": None}}])
def test_set_path_creates_what_is_missing_or_null(document):
    set_path(document, "model.adapter.r", 8)
    assert document == {"model": {"adapter": {"r": 8}}}


@pytest.mark.parametrize("path", ["data.source.2", "data.source.x", "data.source.-1"])
def test_a_path_makes_no_list_longer(path):
    with pytest.raises(SpecError, match=r"the list `data\.source`, which has 2 entries: name one by its number"):
        set_path({"data": {"source": [1, 2]}}, path, 3)


def test_set_path_below_a_scalar_names_the_scalar():
    with pytest.raises(SpecError, match=r"`model\.adapter` is 'lora'"):
        set_path({"model": {"adapter": "lora"}}, "model.adapter.r", 3)


@pytest.mark.parametrize("path", ["", ".a", "a.", "a..b", "a. b"])
def test_path_with_an_empty_key_is_refused(path):
    with pytest.raises(SpecError, match="keys and single dots"):
        set_path({}, path, 1)


def test_with_paths_leaves_the_document_unchanged():
    document = {"a": {"x": 1, "y": {"z": 1}}, "b": None}
    changed = with_paths(document, {"a.x": 2, "a.y.z": 3, "b.c": 4, "d": 5})
    assert changed == {"a": {"x": 2, "y": {"z": 3}}, "b": {"c": 4}, "d": 5}
    assert document == {"a": {"x": 1, "y": {"z": 1}}, "b": None}


def test_with_paths_shares_what_did_not_change():
    document = {"a": {"x": 1}, "b": {"y": [1, 2]}}
    assert with_paths(document, {"a.x": 2})["b"] is document["b"]


def test_path_below_null_is_told_from_an_unknown_one():
    document = {"model": {"adapter": None}}
    assert is_below_null(document, "model.adapter.r")
    assert not is_below_null(document, "model.adaptor.r")


@pytest.mark.parametrize(
    ("value", "other", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ([1, {"a": None}], [1.0, {"a": None}], True),
        ("1", 1, False),
    ],
)
def test_numbers_equal_numbers_but_not_booleans(value, other, same):
    assert same_value(value, other) is same

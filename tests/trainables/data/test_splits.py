"""Splits: every document in exactly one part, the same one each time."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spaces.errors import SpecError
from trainables.data.splits import draw_indices, split_indices

shares = st.floats(0.0, 0.45)


@settings(max_examples=60, deadline=None)
@given(num=st.integers(5, 300), validation=shares, test=shares, seed=st.integers(0, 1000))
def test_every_document_is_in_exactly_one_part(num: int, validation: float, test: float, seed: int) -> None:
    assume(round(num * validation) + round(num * test) < num)  # else nothing is left to train on, and it is refused
    parts = split_indices(num, validation=validation, test=test, seed=seed)
    assert sorted([*parts.train, *parts.validation, *parts.test]) == list(range(num))


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(20, 60), min_size=2, max_size=5), seed=st.integers(0, 100))
def test_stratified_parts_keep_the_share_of_each_label(counts: list[int], seed: int) -> None:
    labels = [str(index) for index, count in enumerate(counts) for _ in range(count)]
    parts = split_indices(len(labels), validation=0.2, test=0.2, seed=seed, labels=labels)
    in_test = Counter(labels[index] for index in parts.test)
    assert all(abs(in_test[str(index)] - count * 0.2) <= 1 for index, count in enumerate(counts))
    assert sorted([*parts.train, *parts.validation, *parts.test]) == list(range(len(labels)))


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    first, again, other = (split_indices(100, validation=0.1, test=0.1, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)


def test_the_test_part_stays_when_the_validation_share_changes() -> None:
    small, large = (split_indices(100, validation=share, test=0.1, seed=0) for share in (0.1, 0.3))
    assert np.array_equal(small.test, large.test)


def test_a_share_above_zero_holds_out_at_least_one_document() -> None:
    parts = split_indices(3, validation=0.01, test=0.01, seed=0)
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("labels", "validation", "path", "says"),
    [
        (["a"] * 50 + ["b"] * 2, 0.1, "data.splits.stratify", "`b` has 2"),
        ([str(n % 10) for n in range(40)], 0.1, "data.splits.validation", "4 documents for 10 labels"),
        (None, 0.9, "data.splits", "too few"),
    ],
)
def test_too_few_documents_are_refused(labels: list[str] | None, validation: float, path: str, says: str) -> None:
    num = len(labels) if labels else 2
    with pytest.raises(SpecError, match=says) as caught:
        split_indices(num, validation=validation, test=0.3, seed=0, labels=labels)
    assert caught.value.path == path


def test_drawn_documents_are_distinct_and_at_most_the_limit() -> None:
    drawn = draw_indices(100, limit=30, seed=0)
    assert len(set(drawn.tolist())) == 30
    assert len(draw_indices(10, limit=30, seed=0)) == 10

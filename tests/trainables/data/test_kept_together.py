"""Splits by group, by time and by hash: what belongs together stays together, and nothing is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.errors import SpecError
from trainables.data.kept_together import split_by_group, split_by_hash, split_by_time
from trainables.data.splits import SplitIndices


def everything(split: SplitIndices) -> list[int]:
    return sorted(np.concatenate([split.train, split.validation, split.test]).tolist())


def texts(number: int) -> list[str]:
    return [f"document {index}" for index in range(number)]


@given(st.lists(st.integers(0, 9), min_size=20, max_size=60).filter(lambda ids: len(set(ids)) >= 4), st.integers(0, 99))
def test_no_group_is_in_two_parts(ids: list[int], seed: int) -> None:
    groups = np.array(ids)
    split = split_by_group(groups, validation=0.2, test=0.2, seed=seed)
    assert everything(split) == list(range(len(ids)))
    parts = [set(groups[part]) for part in (split.train, split.validation, split.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set(ids))


def test_groups_are_taken_until_a_part_has_its_share() -> None:
    split = split_by_group(np.repeat(np.arange(100), 3), validation=0.1, test=0.2, seed=0)
    assert (len(split.validation), len(split.test)) == (30, 60)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(SpecError, match="3 parts need as many groups, but there are 2"):
        split_by_group(np.array(["a", "b", "a"]), validation=0.3, test=0.3, seed=0)


@given(st.permutations(range(40)))
def test_what_is_held_out_is_later_than_all_of_train(times: list[int]) -> None:
    moments = np.array(times)
    split = split_by_time(moments, validation=0.1, test=0.2)
    assert everything(split) == list(range(40))
    assert (len(split.validation), len(split.test)) == (4, 8)
    assert moments[split.train].max() < moments[split.validation].min()
    assert moments[split.validation].max() < moments[split.test].min()


def test_equal_times_stay_together_in_the_later_part() -> None:
    split = split_by_time(np.array([0, 1, 2, 3, 4, 5, 5, 7, 7, 7]), validation=0.4, test=0.1)
    assert split.test.tolist() == [7, 8, 9]
    assert split.validation.tolist() == [5, 6]


def test_one_moment_for_all_cannot_be_split_by_time() -> None:
    with pytest.raises(SpecError, match="too many documents have the same time"):
        split_by_time(np.zeros(10), validation=0.2, test=0.2)


def test_documents_keep_their_part_when_others_come() -> None:
    before = split_by_hash(texts(500), validation=0.1, test=0.1, seed=0)
    after = split_by_hash(texts(1000), validation=0.1, test=0.1, seed=0)
    assert set(before.test) == {index for index in after.test.tolist() if index < 500}
    assert set(before.validation) == {index for index in after.validation.tolist() if index < 500}
    assert 70 < len(after.test) < 130


def test_copies_are_in_one_part() -> None:
    split = split_by_hash(texts(300) + texts(300), validation=0.2, test=0.2, seed=1)
    for part in (split.train, split.validation, split.test):
        assert sorted(part[part < 300] + 300) == sorted(part[part >= 300])

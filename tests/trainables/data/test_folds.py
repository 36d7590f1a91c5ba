"""Which documents a fold holds out."""

import numpy as np
import pytest

from spaces.errors import SpecError
from trainables.data.folds import group_fold, hash_fold, random_fold, time_fold

LABELS = ["rare"] * 6 + ["common"] * 24


def test_each_document_is_held_out_in_exactly_one_fold() -> None:
    held_out = [random_fold(23, index=index, of=5, seed=1)[1] for index in range(5)]
    assert sorted(np.concatenate(held_out)) == list(range(23))


def test_a_fold_trains_on_all_that_it_does_not_hold_out() -> None:
    train, held_out = random_fold(23, index=2, of=5, seed=1)
    assert sorted([*train, *held_out]) == list(range(23))


def test_another_seed_divides_otherwise() -> None:
    first, second = (random_fold(23, index=0, of=5, seed=seed)[1].tolist() for seed in (1, 2))
    assert first != second


def test_stratified_folds_keep_the_share_of_each_label() -> None:
    for index in range(3):
        _, held_out = random_fold(30, index=index, of=3, seed=0, labels=LABELS)
        assert [LABELS[place] for place in held_out].count("rare") == 2


def test_a_label_with_fewer_documents_than_folds_is_named() -> None:
    with pytest.raises(SpecError, match="`rare` has 6"):
        random_fold(30, index=0, of=7, seed=0, labels=LABELS)


def test_a_group_is_never_divided() -> None:
    groups = np.array([f"author {n % 7}" for n in range(40)])
    for index in range(4):
        train, held_out = group_fold(groups, index=index, of=4, seed=0)
        assert not set(groups[train]) & set(groups[held_out])


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(SpecError, match="5 folds need as many groups, but there are 2"):
        group_fold(np.array(["a", "b"] * 10), index=0, of=5, seed=0)


def test_a_fold_in_time_learns_from_the_past_only() -> None:
    times = np.random.default_rng(0).permutation(60)
    sizes = []
    for index in range(5):
        train, held_out = time_fold(times, index=index, of=5)
        assert times[train].max() < times[held_out].min()
        sizes.append(len(train))
    assert sizes == [10, 20, 30, 40, 50]


def test_documents_of_one_time_stay_together() -> None:
    times = np.repeat(np.arange(12), 5)
    for index in range(3):
        train, held_out = time_fold(times, index=index, of=3)
        assert not set(times[train]) & set(times[held_out])


def test_too_few_times_are_refused() -> None:
    with pytest.raises(SpecError, match="too many documents have the same time"):
        time_fold(np.repeat([1, 2], 20), index=0, of=4)


def test_a_document_keeps_its_fold_by_hash_when_others_come() -> None:
    texts = [f"text {n}" for n in range(200)]
    _, before = hash_fold(texts[:100], index=1, of=4, seed=0)
    _, after = hash_fold(texts, index=1, of=4, seed=0)
    assert before.tolist() == [place for place in after if place < 100]
    assert sum(len(hash_fold(texts, index=index, of=4, seed=0)[1]) for index in range(4)) == 200

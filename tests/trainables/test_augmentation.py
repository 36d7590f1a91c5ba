"""Augmentation: changed copies of training texts only, the same ones each time."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny_trials
from tiny_trials import Document

from spaces.errors import SpecError
from trainables.checks import check_trial
from trainables.config import AugmentConfig
from trainables.data.augmentation import copies
from trainables.preparation import PreparedData, prepare
from trainables.trial import parse_document

TEXT = " ".join(f"word{n}" for n in range(200))


def changed(text: str = TEXT, *, seed: int = 0, **augment: Any) -> list[list[str]]:
    return [copy.split() for copy in copies(text, AugmentConfig(**augment), seed=seed)]


def augmented(folder: Path, augment: Document | None, **data: Any) -> PreparedData:
    document = tiny_trials.labelled(folder)
    document["data"] |= {"augment": augment} | data
    trial = parse_document(document)
    return prepare(trial.task, trial.model, trial.data, cache_directory=folder)


def texts(prepared: PreparedData, part: str) -> list[tuple[str, str]]:
    rows = getattr(prepared, part)
    return [
        (prepared.tokenizer.decode(row["input_ids"], skip_special_tokens=True), prepared.card.labels[row["labels"]])
        for row in rows
    ]


def test_words_are_left_out_with_the_given_probability() -> None:
    (copy,) = changed(delete=0.3, swap=0.0)
    assert 110 < len(copy) < 170
    remaining = iter(TEXT.split())
    assert all(word in remaining for word in copy)  # in their order


def test_swapped_words_are_the_same_words() -> None:
    (copy,) = changed(delete=0.0, swap=0.2)
    assert Counter(copy) == Counter(TEXT.split())
    assert 40 <= sum(a != b for a, b in zip(copy, TEXT.split(), strict=True)) <= 80


def test_copies_follow_from_seed_text_and_number() -> None:
    assert changed(copies=3) == changed(copies=3)
    assert len({" ".join(copy) for copy in changed(copies=3)}) == 3
    assert changed(seed=1) != changed(seed=0)
    assert changed(copies=3)[:2] == changed(copies=2)


def test_a_word_always_stays_and_an_unchanged_copy_is_none() -> None:
    assert changed("one two", delete=0.99, copies=20, swap=0.0).count([]) == 0
    assert changed("one", delete=0.99, copies=20) == []


def test_only_training_texts_get_copies_and_copies_have_their_labels(tmp_path: Path) -> None:
    plain, more = augmented(tmp_path, None), augmented(tmp_path, {"delete": 0.3, "swap": 0.1, "copies": 2})
    assert texts(more, "validation") == texts(plain, "validation")
    label_of = dict(texts(plain, "train"))
    made = texts(more, "train")
    assert set(label_of.items()) <= set(made)
    assert more.card.augmented == len(made) - 72 > 72
    assert more.card.documents == plain.card.documents
    colours = {"red", "green", "blue"}
    for text, label in made:
        assert colours & set(text.split()) <= {label}


def test_the_tokenizer_does_not_depend_on_the_copies(tmp_path: Path) -> None:
    plain, more = augmented(tmp_path, None), augmented(tmp_path, {"delete": 0.3})
    assert plain.tokenizer.get_vocab() == more.tokenizer.get_vocab()


def test_augmentation_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    given = [None, {"delete": 0.2}, {"delete": 0.3}, {"delete": 0.2, "copies": 2}, {"delete": 0.2, "swap": 0.0}]
    assert len({augmented(tmp_path, augment).fingerprint for augment in given}) == len(given)


@pytest.mark.parametrize("kind", ["classes", "number"])
def test_copies_have_labels_of_any_kind(tmp_path: Path, kind: str) -> None:
    document = tiny_trials.of_kind(tmp_path, kind, max_steps=2)
    document["data"]["augment"] = {"delete": 0.3, "swap": 0.0}
    assert tiny_trials.run(document).failure is None


def test_augmentation_is_refused_for_other_tasks(tmp_path: Path) -> None:
    document = tiny_trials.prose(tmp_path)
    document["data"]["augment"] = {"delete": 0.1}
    with pytest.raises(SpecError, match="only sequence_classification") as error:
        check_trial(parse_document(document))
    assert error.value.path == "data.augment"


def test_copies_that_change_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="copies that change nothing"):
        AugmentConfig(delete=0, swap=0)

"""The card: baselines that can be computed by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from trainables.config import DataConfig, TaskName
from trainables.data.card import (
    BaselineFunction,
    DataCard,
    majority_accuracy,
    majority_class,
    make_card,
    unigram_frequencies,
    unigram_loss,
)
from trainables.data.encode import EncodedPart


def part(text_bytes: int = 10, num_tokens: int = 5, **columns: list) -> EncodedPart:
    examples = Dataset.from_dict(columns)
    return EncodedPart(examples=examples, num_documents=3, text_bytes=text_bytes, num_tokens=num_tokens)


def card_of(
    train: EncodedPart,
    validation: EncodedPart,
    *,
    task: TaskName,
    baseline: BaselineFunction,
    labels: tuple[str, ...] = (),
) -> DataCard:
    return make_card(
        {"train": train, "validation": validation},
        task=task, baseline=baseline, labels=labels, fingerprint="f", source="s", vocab_size=4,
        data=DataConfig(source={"builtin": "stdlib-docs"}, max_length=3),
    )  # fmt: skip


def test_majority_answers_the_most_frequent_label_of_train_not_of_validation() -> None:
    assert majority_accuracy(np.array([0] * 6 + [1] * 4), np.array([0, 1, 1, 1])) == 0.25


def test_unigram_loss_is_that_of_counts_plus_one() -> None:
    train = Dataset.from_dict({"input_ids": [[0, 0, 1]]})
    validation = Dataset.from_dict({"input_ids": [[3, 0, 2]]})
    # Train counts plus one: 3, 2, 1, 1 of 7. Predicted are 0 and 2; the first token of a block is not.
    expected = -(math.log(3 / 7) + math.log(1 / 7)) / 2
    assert unigram_loss(train, validation, vocab_size=4) == pytest.approx(expected)


def test_bits_per_byte_use_all_tokens_of_the_validation_documents() -> None:
    train, validation = part(input_ids=[[0, 1, 2]]), part(input_ids=[[0, 1]], text_bytes=8, num_tokens=4)
    card = card_of(train, validation, task="causal_lm", baseline=unigram_frequencies)
    assert card.tokens_per_byte == 0.5
    assert card.baseline["eval/bits_per_byte"] == pytest.approx(card.baseline["eval/loss"] / math.log(2) * 0.5)
    assert card.tokens == {"train": 3, "validation": 2}


def test_label_counts_are_by_name_with_absent_labels_at_zero() -> None:
    card = card_of(
        part(input_ids=[[0], [1], [1]], labels=[1, 1, 0]),
        part(input_ids=[[0]], labels=[1]),
        task="sequence_classification",
        baseline=majority_class,
        labels=("no", "yes"),
    )
    assert card.label_counts == {"train": {"no": 1, "yes": 2}, "validation": {"no": 0, "yes": 1}}
    assert card.baseline == {"eval/accuracy": 1.0}
    assert card.id2label == {0: "no", 1: "yes"}


def test_a_card_reads_back_as_it_was_written(tmp_path: Path) -> None:
    card = card_of(
        part(input_ids=[[0]], labels=[0]),
        part(input_ids=[[0]], labels=[1]),
        task="sequence_classification",
        baseline=majority_class,
        labels=("é", "b"),
    )
    assert DataCard.from_json(card.to_json()) == card

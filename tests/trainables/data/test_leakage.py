"""The leakage check: it finds planted copies with small changes, and nothing in data that has none."""

import random
from pathlib import Path
from typing import Any

import datasets
import pytest

from spaces.errors import SpecError
from trainables.config import DataConfig, ModelConfig
from trainables.data.columns import Column
from trainables.data.leakage import Leakage, find_leakage
from trainables.preparation import PreparedData, prepare

VOCABULARY = [f"word{number}" for number in range(400)]


def text(seed: int, length: int = 60) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=length))


def found_in(validation: list[str], train: list[str]) -> Leakage:
    parts = {"train": datasets.Dataset.from_dict({"text": train})}
    parts["validation"] = datasets.Dataset.from_dict({"text": validation})
    return find_leakage(parts, [Column(role="text", name="text")])["validation"]


def test_a_copy_with_a_changed_word_is_found_and_shown() -> None:
    changed = text(7).split()
    changed[5] = "other"
    found = found_in([text(1000), " ".join(changed).upper()], [text(seed) for seed in range(50)])
    assert (found.found, found.compared, found.train_compared) == (1, 2, 50)
    ((ours, theirs),) = found.examples
    assert theirs == text(7)[:79] + "…"
    assert ours.startswith(theirs[:20].upper())


def test_texts_of_the_same_words_are_no_copies() -> None:
    assert found_in([text(seed) for seed in range(100, 140)], [text(seed) for seed in range(50)]).found == 0


def test_texts_too_short_to_tell_are_left_out() -> None:
    assert found_in(["yes", "no way"], ["yes", "no way"]).found == 0


def test_large_data_is_sampled_and_the_finding_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables.data import leakage

    monkeypatch.setattr(leakage, "_MOST_TRAIN", 10)
    found = found_in([text(0)], [text(seed) for seed in range(100)])
    assert (found.found, found.train_compared) == (1, 10)  # the first document is in every sample


def prepared(folder: Path, check: str, said: list[str] | None = None) -> PreparedData:
    file = folder / "leaky.txt"
    if not file.exists():
        file.write_text("".join(f"{text(seed % 50)}\n" for seed in range(100)))
    data: dict[str, Any] = {"source": {"files": str(file)}, "tokenizer": {"train": "bpe", "vocab_size": 300}}
    config = DataConfig(**data, splits={"leakage_check": check})
    say = None if said is None else said.append
    return prepare("causal_lm", ModelConfig(architecture="gpt2"), config, cache_directory=folder, on_progress=say)


def test_a_search_is_told_also_when_the_data_was_prepared_before(tmp_path: Path) -> None:
    said: list[str] = []
    prepared(tmp_path, "warn")
    prepared(tmp_path, "warn", said)
    assert any("validation documents" in words and "nearly stand in train too: “" in words for words in said)


def test_leaky_data_can_be_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"data\.splits\.leakage_check: .* nearly stand in train too"):
        prepared(tmp_path, "error")


def test_nobody_looks_when_told_not_to(tmp_path: Path) -> None:
    said: list[str] = []
    assert prepared(tmp_path, "off", said).card.leakage == {}
    assert not any("nearly" in words for words in said)

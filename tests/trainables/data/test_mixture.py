"""Mixtures of sources: the shares of their weights, nothing twice, and held-out parts that no weight changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spaces.errors import SpecError
from trainables.config import DataConfig, ModelConfig
from trainables.data.mixture import drawn_to_size, mixture_sizes
from trainables.preparation import PreparedData, prepare

TOKENIZER = {"train": "bpe", "vocab_size": 300}


def test_sizes_have_the_shares_of_the_weights_and_one_source_is_used_up() -> None:
    sizes = mixture_sizes([1000, 4000], [1, 2])
    assert sizes == [1000, 2000]
    assert mixture_sizes([1000, 100], [1, 2]) == [50, 100]


def test_a_weight_of_nothing_gives_nothing_and_limits_nobody() -> None:
    assert mixture_sizes([10, 4000], [0, 1]) == [0, 4000]
    with pytest.raises(SpecError, match="above 0"):
        mixture_sizes([10, 10], [0, 0])


def test_a_larger_share_holds_the_smaller_one() -> None:
    sizes = np.full(100, 10)
    some, more = (set(drawn_to_size(sizes, wanted, seed=3).tolist()) for wanted in (300, 500))
    assert (len(some), len(more)) == (30, 50)
    assert some < more
    assert set(drawn_to_size(sizes, 1000, seed=3).tolist()) == set(range(100))


@pytest.fixture
def two_files(tmp_path: Path) -> tuple[Path, Path]:
    files = (tmp_path / "a.txt", tmp_path / "b.txt")
    for file, word in zip(files, ("alpha", "beta"), strict=True):
        file.write_text("".join(f"{word} number {number:04d}\n" for number in range(400)))
    return files


def mixed(files: tuple[Path, Path], folder: Path, *weights: float, **data: Any) -> PreparedData:
    source = [{"files": str(file), "weight": weight} for file, weight in zip(files, weights, strict=True)]
    config = DataConfig(source=source, tokenizer=TOKENIZER, max_length=32, **data)
    return prepare("causal_lm", ModelConfig(architecture="gpt2"), config, cache_directory=folder)


def words(prepared: PreparedData, part: str) -> tuple[int, int]:
    text = "".join(prepared.tokenizer.decode(row["input_ids"]) for row in getattr(prepared, part))
    return text.count("alpha"), text.count("beta")


def test_weights_change_train_and_leave_what_measures_trials(two_files: tuple[Path, Path], tmp_path: Path) -> None:
    even, uneven, one = (mixed(two_files, tmp_path, 1, weight) for weight in (1, 3, 0))
    alphas, betas = words(uneven, "train")
    assert betas / alphas == pytest.approx(3, rel=0.1)
    assert words(one, "train")[1] == 0
    assert even.card.documents["validation"] == uneven.card.documents["validation"] == one.card.documents["validation"]
    assert min(words(one, "validation")) > 30
    assert [row["input_ids"] for row in even.validation] == [row["input_ids"] for row in one.validation]


def test_only_the_shares_count(two_files: tuple[Path, Path], tmp_path: Path) -> None:
    assert mixed(two_files, tmp_path, 1, 3).fingerprint == mixed(two_files, tmp_path, 2, 6).fingerprint
    assert mixed(two_files, tmp_path, 1, 3).fingerprint != mixed(two_files, tmp_path, 1, 2).fingerprint


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ([], "needs at least one"),
        ([{"builtin": "stdlib-docs", "weight": 0}], "at least one source must have a weight above 0"),
        ([{"builtin": "stdlib-docs"}, {"fils": "x"}], "1: a source has exactly one of"),
        ([{"builtin": "stdlib-docs", "weight": -1}], "greater than or equal to 0"),
        ({"builtin": "stdlib-docs", "weight": 2}, "a weight is for a list of sources"),
    ],
)
def test_what_is_no_mixture_is_refused(source: Any, says: str) -> None:
    with pytest.raises((SpecError, ValueError), match=says):
        DataConfig(source=source)

"""Curricula: easy examples first, the same order after a resume, random order afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_trials
import torch
from tiny_trials import Document

from spaces.errors import SpecError
from trainables.checks import check_trial
from trainables.config import CurriculumConfig
from trainables.curriculum import CurriculumSampler
from trainables.preparation import fingerprint, prepare
from trainables.trainer import TrialTrainer
from trainables.trial import parse_document

NUMBERS = torch.tensor([3.0, 1.0, 2.0, 1.0, 5.0, 1.0])


def order(epoch: int = 0, *, seed: int = 0, **curriculum: Any) -> list[int]:
    sampler = CurriculumSampler(NUMBERS, CurriculumConfig(**curriculum), seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def with_curriculum(folder: Path, curriculum: Document, **training: Any) -> Document:
    document = tiny_trials.labelled(folder, **training)
    document["data"]["curriculum"] = curriculum
    return document


def with_column(folder: Path, curriculum: Document, **training: Any) -> Document:
    """The colours, each with a number that has nothing to do with its length."""
    document = with_curriculum(folder, curriculum, **training)
    rows = tiny_trials.rows_of(document)
    tiny_trials.rewrite(document, [row | {"rank": (7 * n) % 96} for n, row in enumerate(rows)])
    return document


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[list[list[int]]]:
    """The token ids of every training batch, as the Trainer gets them."""
    batches: list[list[list[int]]] = []
    step = TrialTrainer.training_step

    def watched(self: Any, model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        rows = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True)
        batches.append([[token for token, counts in zip(*row, strict=True) if counts] for row in rows])
        return step(self, model, inputs, *arguments, **options)

    monkeypatch.setattr(TrialTrainer, "training_step", watched)
    return batches


def test_small_numbers_come_first_and_equal_ones_in_an_order_by_the_seed() -> None:
    orders = [order(seed=seed) for seed in range(8)]
    assert all([NUMBERS[n] for n in one] == sorted(NUMBERS.tolist()) for one in orders)
    assert len({tuple(one) for one in orders}) > 1


def test_large_numbers_come_first_when_asked_for() -> None:
    assert [float(NUMBERS[n]) for n in order(order="hard_first")] == sorted(NUMBERS.tolist(), reverse=True)


def test_only_so_many_epochs_are_ordered() -> None:
    sorted_epochs = [[NUMBERS[n] for n in order(epoch, epochs=2)] == sorted(NUMBERS.tolist()) for epoch in range(5)]
    assert sorted_epochs == [True, True, False, False, False]
    assert all(sorted(order(epoch, epochs=2)) == list(range(6)) for epoch in range(5))


def test_an_epoch_has_one_order() -> None:
    assert order(3) == order(3)
    assert order(3) != order(4)


def test_a_trial_sees_short_texts_first(tmp_path: Path, seen: list[list[list[int]]]) -> None:
    tiny_trials.run(with_curriculum(tmp_path, {"by": "length"}))
    lengths = [len(row) for batch in seen for row in batch]
    assert lengths[:72] == sorted(lengths[:72])
    assert lengths[72:] != sorted(lengths[72:])
    assert sorted(lengths[72:]) == lengths[:72]


def test_a_trial_sees_texts_in_the_order_of_a_column(tmp_path: Path, seen: list[list[list[int]]]) -> None:
    document = with_column(tmp_path, {"by": "rank", "order": "hard_first"}, num_train_epochs=1)
    tiny_trials.run(document)
    trial = parse_document(document)
    data = prepare(trial.task, trial.model, trial.data)
    rows = tiny_trials.rows_of(document)
    ranks = {row["text"]: row["rank"] for row in rows}
    shown = [ranks[data.tokenizer.decode(ids, skip_special_tokens=True)] for batch in seen for ids in batch]
    assert len(shown) == 72
    assert shown == sorted(shown, reverse=True)
    assert "difficulty" not in data.train.column_names


@pytest.mark.parametrize("stop_after", [2, 3, 4])
def test_a_resumed_trial_gives_the_same_curve(tmp_path: Path, stop_after: int) -> None:
    document = with_curriculum(tmp_path, {"by": "length", "epochs": 2}, num_train_epochs=3, eval_strategy="steps",
                               eval_steps=5)  # fmt: skip
    whole = tiny_trials.run(document, tmp_path / "whole")
    tiny_trials.run(document, tmp_path / "parts", stop_after=stop_after)
    rest = tiny_trials.run(document, tmp_path / "parts")
    assert rest.metrics == whole.metrics[stop_after - 1 :]
    assert tiny_trials.weights(rest) == tiny_trials.weights(whole)


def test_a_curriculum_leaves_nothing_behind_in_a_warm_process(tmp_path: Path) -> None:
    plain = tiny_trials.labelled(tmp_path)
    before = tiny_trials.run(plain).rows
    ordered = tiny_trials.run(with_curriculum(tmp_path, {"by": "length"})).rows
    assert tiny_trials.run(plain).rows == before
    assert tiny_trials.run(with_curriculum(tmp_path, {"by": "length"})).rows == ordered
    assert ordered != before


def test_pieces_of_a_document_have_its_difficulty(tmp_path: Path) -> None:
    file = tmp_path / "prose.jsonl"
    file.write_text("\n".join(json.dumps({"text": f"sail {n} " * (n + 1), "rank": -n}) for n in range(20)))
    document = tiny_trials.prose(tmp_path)
    document["data"] |= {"source": {"files": str(file)}, "packing": "none", "curriculum": {"by": "rank"},
                         "max_length": 8}  # fmt: skip
    trial = parse_document(document)
    data = prepare(trial.task, trial.model, trial.data, cache_directory=tmp_path)
    assert trial.data.curriculum is not None
    ranks = data.difficulties(trial.data.curriculum).tolist()
    assert len(ranks) == len(data.train) > data.card.documents["train"]
    document_text, separator = "", data.tokenizer.eos_token_id
    for rank, ids in zip(ranks, data.train["input_ids"][:], strict=True):
        document_text = ("" if ids[0] == separator else document_text) + data.tokenizer.decode(ids)
        assert ids[-1] != separator or f"sail {int(-rank)} " in document_text


def test_the_order_changes_no_example(tmp_path: Path) -> None:
    first = with_column(tmp_path, {"by": "length"})
    trials = [parse_document({**first, "data": {**first["data"], "curriculum": each}})
              for each in (None, {"by": "length"}, {"by": "length", "epochs": 3}, {"by": "rank"})]  # fmt: skip
    names = [fingerprint(trial.task, trial.model, trial.data) for trial in trials]
    assert names[0] == names[1] == names[2] != names[3]


@pytest.mark.parametrize(
    ("task", "change", "path"),
    [
        ("prose", {}, "data.curriculum"),
        ("masked", {}, "data.curriculum"),
        ("labelled", {"training": {"train_sampling_strategy": "group_by_length"}}, "training.train_sampling_strategy"),
        ("labelled", {"data": {"source": {"builtin": "stdlib-docstrings"}, "curriculum": {"by": "rank"}}},
         "data.curriculum.by"),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_is_refused(tmp_path: Path, task: str, change: Document, path: str) -> None:
    document = getattr(tiny_trials, task)(tmp_path)
    document["data"]["curriculum"] = {"by": "length"}
    with pytest.raises(SpecError) as error:
        check_trial(parse_document(document | change))
    assert error.value.path == path


def test_a_column_without_numbers_is_refused(tmp_path: Path) -> None:
    trial = parse_document(with_curriculum(tmp_path, {"by": "label"}))
    with pytest.raises(SpecError, match="must hold finite numbers") as error:
        prepare(trial.task, trial.model, trial.data, cache_directory=tmp_path)
    assert error.value.path == "data.curriculum.by"

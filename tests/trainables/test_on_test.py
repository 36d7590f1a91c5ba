"""The test split, measured at the end of a trial: as validation would be, and without a trace in the training."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pretrained_trials import pretrained
from tiny_trials import (
    TINY_BERT,
    TINY_LLAMA,
    TINY_RECURRENT,
    Document,
    chats,
    labelled,
    masked,
    of_kind,
    pairs,
    preferences,
    prose,
    run,
    tagged,
)

from trainables.config import TrialConfig
from trainables.preparation import load_test_split, prepare

CASES: dict[str, Callable[..., Document]] = {
    "classifier": partial(labelled, config=TINY_BERT | {"initializer_range": 0.2}),
    "numbers": partial(of_kind, kind="number"),
    "tags": tagged,
    "language model": prose,
    "masked": masked,
    "t5": pairs,
    "chats": chats,
    "preferences": preferences,
    "lstm": partial(prose, architecture="lstm", config=TINY_RECURRENT),
}


def divided(document: Document, folder: Path) -> tuple[Document, Document]:
    """The trial with parts of its own, validation and test of other sizes; and the same with the two exchanged."""
    file = Path(document["data"]["source"]["files"])
    lines = file.read_text().splitlines()
    first, second = len(lines) * 5 // 8, len(lines) * 3 // 4
    parts = {}
    for name, chosen in {"train": lines[:first], "one": lines[first:second], "other": lines[second - 2 :]}.items():
        parts[name] = str(folder / f"{name}{file.suffix}")
        Path(parts[name]).write_text("\n".join(chosen))

    def made(validation: str, test: str) -> Document:
        source = {"files": {"train": parts["train"], "validation": parts[validation], "test": parts[test]}}
        return document | {"data": document["data"] | {"source": source, "splits": {"leakage_check": "off"}}}

    return made("one", "other"), made("other", "one")


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_the_test_split_is_measured_exactly_as_it_would_be_as_validation(
    make: Callable[..., Document], tmp_path: Path
) -> None:
    document, exchanged = divided(make(tmp_path, num_train_epochs=2), tmp_path)
    measured = run(document | {"measure_test": True})
    assert measured.failure is None, measured.outcome
    as_validation = run(exchanged).metrics[-1]
    on_test = {name: value for name, value in measured.metrics[-1].items() if name.startswith("test/")}
    assert on_test == {name.replace("eval/", "test/"): value for name, value in as_validation.items()}
    assert measured.metrics[-1]["eval/loss"] != on_test["test/loss"]


def test_a_model_that_is_only_asked_is_asked_the_test_split_too(tmp_path: Path) -> None:
    model = pretrained(
        prose(tmp_path, architecture="llama", config=TINY_LLAMA | {"initializer_range": 0.3}), tmp_path / "base"
    )
    asked = labelled(tmp_path)
    asked = {
        "task": "few_shot",
        "model": {"pretrained": model["model"]["pretrained"]},
        "data": {"source": asked["data"]["source"], "max_length": 20},
        "prompt": {"shots": 0, "template": "{text} {answer}"},
    }
    document, exchanged = divided(asked, tmp_path)
    measured = run(document | {"measure_test": True})
    assert measured.failure is None, measured.outcome
    on_test = {name: value for name, value in measured.metrics[-1].items() if name.startswith("test/")}
    as_validation = run(exchanged).metrics[-1]
    assert on_test == {name.replace("eval/", "test/"): pytest.approx(value) for name, value in as_validation.items()}
    assert not any(name.startswith("test/") for metrics in measured.metrics[:-1] for name in metrics)


def test_it_is_measured_at_the_end_only_and_changes_nothing_of_the_training(tmp_path: Path) -> None:
    document, _ = divided(labelled(tmp_path), tmp_path)
    plain = run(document)
    measured = run(document | {"measure_test": True})
    *before, last = measured.metrics
    assert not any(name.startswith("test/") for metrics in before for name in metrics)
    assert [{name: row[name] for name in row if not name.startswith("test/")} for row in measured.rows] == plain.rows
    assert {"test/loss", "test/accuracy"} <= last.keys()
    assert {"test/loss", "test/accuracy"} <= measured.rows[-1].keys()


def test_a_trial_that_ends_by_patience_measures_it_too(tmp_path: Path) -> None:
    document, _ = divided(labelled(tmp_path, num_train_epochs=9, learning_rate=1e-9), tmp_path)
    measured = run(document | {"measure_test": True, "stopping": {"patience": 1, "min_delta": 0.1}})
    assert len(measured.reports) < 9
    assert "test/loss" in measured.metrics[-1]


def test_a_confirmed_trial_that_was_killed_ends_with_the_same_values(tmp_path: Path) -> None:
    document, _ = divided(preferences(tmp_path), tmp_path)
    document |= {"measure_test": True}
    whole = run(document, tmp_path / "whole")
    run(document, tmp_path / "killed", stop_after=1)
    assert run(document, tmp_path / "killed").metrics[-1] == whole.metrics[-1]


def texts(document: Document, part: str) -> set[str]:
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)
    rows: Any = load_test_split(data) if part == "test" else getattr(data, part)
    return set(data.tokenizer.batch_decode(rows["input_ids"][:], skip_special_tokens=True))


def test_after_a_cross_validation_all_but_test_is_trained_on(tmp_path: Path) -> None:
    document = labelled(tmp_path)
    document["data"]["splits"] = {"validation": 0.2, "test": 0.2, "leakage_check": "off"}
    whole = json.loads(json.dumps(document))
    whole["data"]["splits"]["train_on_validation"] = True
    assert texts(whole, "test") == texts(document, "test")
    assert texts(whole, "train") == texts(document, "train") | texts(document, "validation")
    last = run(whole | {"measure_test": True}).metrics[-1]
    assert last["eval/loss"] == last["test/loss"]


def test_documents_and_data_of_searches_are_what_they_were_before_there_were_confirmations(tmp_path: Path) -> None:
    trial = TrialConfig.model_validate(labelled(tmp_path))
    assert "train_on_validation" not in trial.data.model_dump(mode="json")["splits"]
    assert "train_on_validation" not in trial.data.splits.model_dump()


def test_data_without_a_test_split_is_no_crash(tmp_path: Path) -> None:
    ran = run(labelled(tmp_path) | {"measure_test": True})
    assert ran.failure == "error"
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert "no test split" in ran.outcome.failure.message

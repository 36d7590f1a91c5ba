"""How documents become examples, as a whole: what is cleaned is what is split, counted and named."""

from pathlib import Path
from typing import Any

import pytest
import tiny_trials
from tiny_trials import Document

from spaces.errors import SpecError
from trainables import data_checks
from trainables.checks import check_trial
from trainables.config import DataConfig
from trainables.data.card import DataCard
from trainables.data.cleaning import Cleaner
from trainables.data.columns import Column
from trainables.data.sources import load_documents
from trainables.preparation import PreparedData, fingerprint, prepare
from trainables.trial import parse_document

OPTIONS: list[Document] = [
    {},
    {"clean": ["lowercase"]},
    {"clean": ["lowercase", "strip_symbols"]},
    {"clean": ["strip_symbols", "lowercase"]},
    {"clean": [{"min_characters": 3}]},
    {"clean": [{"min_characters": 4}]},
    {"augment": {"delete": 0.2}},
    {"curriculum": {"by": "rank"}},
    {"tokenizer": {"train": "wordpiece", "vocab_size": 700}},
    {"tokenizer": {"train": "unigram", "vocab_size": 700}},
    {"tokenizer": {"train": "char", "vocab_size": 700}},
    {"tokenizer": {"train": "char", "vocab_size": 700, "lowercase": True}},
]


def prepared(document: Document, cache: Path) -> PreparedData:
    trial = parse_document(document)
    return prepare(trial.task, trial.model, trial.data, cache_directory=cache)


def name_of(document: Document) -> str:
    trial = parse_document(document)
    return fingerprint(trial.task, trial.model, trial.data)


def test_every_option_that_changes_tokens_changes_the_fingerprint(tmp_path: Path) -> None:
    base = tiny_trials.labelled(tmp_path)
    names = [name_of({**base, "data": base["data"] | option}) for option in OPTIONS]
    assert len(set(names)) == len(OPTIONS)


def test_packing_changes_the_fingerprint_of_causal_models_only(tmp_path: Path) -> None:
    prose, masked = tiny_trials.prose(tmp_path), tiny_trials.masked(tmp_path)
    for document, expected in ((prose, 3), (masked, 1)):
        names = {name_of({**document, "data": document["data"] | {"packing": packing}})
                 for packing in ("stream", "isolated", "none")}  # fmt: skip
        assert len(names) == expected


def test_documents_are_cleaned_before_they_are_split_and_the_card_counts_it(tmp_path: Path) -> None:
    document = tiny_trials.labelled(tmp_path)
    rows = tiny_trials.rows_of(document)
    extra = [{"text": f"<b>{row['text'].upper()}</b>", "label": row["label"]} for row in rows[:30]]
    tiny_trials.rewrite(document, [*rows, *extra, {"text": "x", "label": "red"}])
    steps: list[Any] = ["strip_html", "lowercase", {"min_characters": 3}, "deduplicate"]
    document["data"]["clean"] = steps
    data = prepared(document, tmp_path)
    assert data.card.documents == {"train": 72, "validation": 24}
    assert [(step["step"], step["removed"], step["changed"]) for step in data.card.cleaning] == [
        ("strip_html", 0, 30),
        ("lowercase", 0, 30),
        ("min_characters: 3", 1, 0),
        ("deduplicate", 30, 0),
    ]
    texts = [data.tokenizer.decode(row["input_ids"], skip_special_tokens=True)
             for part in (data.train, data.validation) for row in part]  # fmt: skip
    assert len(set(texts)) == len(texts) == 96
    assert DataCard.from_json(data.card.to_json()) == data.card


def test_held_out_parts_keep_what_stands_in_train_too(tmp_path: Path) -> None:
    for part, texts in {"train": "sea\nsky\nwood", "test": "sea\ntown", "validation": "sky\nhill"}.items():
        (tmp_path / f"{part}.txt").write_text(texts)
    files = {part: str(tmp_path / f"{part}.txt") for part in ("train", "validation", "test")}
    data = DataConfig(source={"files": files}, clean=["deduplicate"])
    columns = [Column(role="text", name="text")]
    cleaner = Cleaner(data.clean, columns)
    documents = load_documents(data.sources[0], data, columns, scratch=tmp_path, cleaner=cleaner)
    found = {part: list(rows["text"]) for part, rows in documents.parts.items()}
    assert found == {"train": ["wood"], "validation": ["sky", "hill"], "test": ["sea", "town"]}
    assert list(documents.parts) == ["train", "validation", "test"]


def test_cleaning_that_leaves_nothing_says_so(tmp_path: Path) -> None:
    document = tiny_trials.labelled(tmp_path)
    document["data"]["clean"] = [{"min_characters": 10_000}]
    with pytest.raises(SpecError, match=r"labelled.jsonl \(cleaned\) has no documents for train"):
        prepared(document, tmp_path)


def test_both_texts_of_a_pair_are_cleaned(tmp_path: Path) -> None:
    document = tiny_trials.pairs(tmp_path)
    document["data"] |= {"clean": ["remove_stop_words"], "splits": {"validation": 0.25, "test": 0.0}}
    data = prepared(document, tmp_path)
    texts = {data.tokenizer.decode(data.train[0][name], skip_special_tokens=True) for name in ("input_ids", "labels")}
    assert all("is" not in text.split() for text in texts)


def test_tagged_words_can_be_cleaned_one_by_one(tmp_path: Path) -> None:
    document = tiny_trials.tagged(tmp_path, max_steps=2)
    document["data"]["clean"] = ["normalize_unicode", "lowercase", "lemmatize", "deduplicate"]
    check_trial(parse_document(document))
    assert tiny_trials.run(document).failure is None


@pytest.mark.parametrize(
    ("task", "clean", "message"),
    [
        ("tagged", ["strip_html"], "may take words away"),
        ("tagged", ["remove_stop_words"], "may take words away"),
        ("labelled", [{"min_characters": 9}, {"max_characters": 3}], "no text has 9 characters or more"),
    ],
)
def test_steps_that_make_no_sense_are_refused(tmp_path: Path, task: str, clean: list[Any], message: str) -> None:
    document = getattr(tiny_trials, task)(tmp_path)
    document["data"]["clean"] = clean
    with pytest.raises(SpecError, match=message) as error:
        check_trial(parse_document(document))
    assert error.value.path == "data.clean"


@pytest.mark.parametrize("step", [{"language": "en"}, "lemmatize"])
def test_a_missing_package_is_named_before_anything_starts(
    tmp_path: Path, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_checks.importlib.util, "find_spec", lambda name: None)
    document = tiny_trials.labelled(tmp_path)
    document["data"]["clean"] = [step]
    with pytest.raises(SpecError, match=r"pip install 'tunesmith\[cleaning\]'"):
        data_checks.check_documents(parse_document(document))


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "char"])
@pytest.mark.parametrize("task", ["prose", "masked", "labelled", "pairs"])
def test_every_task_trains_with_every_kind_of_tokenizer(tmp_path: Path, task: str, kind: str) -> None:
    document = getattr(tiny_trials, task)(tmp_path, max_steps=2)
    document["data"]["tokenizer"] = {"train": kind, "vocab_size": 640, "lowercase": True}
    if kind == "char":
        document["data"]["max_length"] = 48
    ran = tiny_trials.run(document)
    assert ran.failure is None
    assert ran.steps[-1] == 2

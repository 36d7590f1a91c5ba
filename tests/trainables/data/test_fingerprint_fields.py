"""Every field of a `data` section is in the fingerprint, or on a list of those that change no token.

A field in neither fails here: two trials that differ in it would silently share their data.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from trainables.config import (
    BuiltinSource,
    DataConfig,
    FilesSource,
    HubSource,
    ModelConfig,
    SplitFiles,
    SplitsConfig,
    TaskName,
    TrainedTokenizer,
)
from trainables.data_sections import AugmentConfig, CurriculumConfig
from trainables.preparation import fingerprint, prepare

SECTIONS = {
    "": DataConfig, "splits.": SplitsConfig, "tokenizer.": TrainedTokenizer, "augment.": AugmentConfig,
    "curriculum.": CurriculumConfig, "builtin.": BuiltinSource, "hub.": HubSource, "files.": FilesSource,
    "split_files.": SplitFiles,
}  # fmt: skip
FIELDS = {f"{section}{name}" for section, model in SECTIONS.items() for name in model.model_fields}
TRAIN = {"train": "data.csv"}


@dataclass(frozen=True, kw_only=True)
class Change:
    """Two `data` sections that differ in one field."""

    task: TaskName = "causal_lm"
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any]


def _of(task: TaskName, **after: Any) -> Change:
    return Change(task=task, after=after)


def _within(section: str, name: str, *values: Any, task: TaskName = "causal_lm", **shared: Any) -> Change:
    before, after = ({section: shared | {name: value}} for value in values)
    return Change(task=task, before=before, after=after)


def _weights(kind: str, name: Any) -> Change:
    entry = {kind: name}
    return Change(before={"source": [entry, entry]}, after={"source": [entry | {"weight": 2}, entry]})


CLASSIFY: TaskName = "sequence_classification"
CHATS: TaskName = "instruction_tuning"
PAIRS: TaskName = "preference"
CHANGES = {
    "source": _of("causal_lm", source={"files": "other.csv"}),
    "text": _of("causal_lm", text="body"),
    "label": _of(CLASSIFY, label="topic"),
    "label_kind": _of(CLASSIFY, label_kind="number"),
    "target": _of("seq2seq_lm", target="summary"),
    "prompt": _of(CHATS, prompt="question"),
    "response": _of(CHATS, response="reply"),
    "system": _of(CHATS, system="rules"),
    "messages": _of(CHATS, messages="chat"),
    "chosen": _of(PAIRS, chosen="better"),
    "rejected": _of(PAIRS, rejected="worse"),
    "chat_template": _of(PAIRS, chat_template="chatml"),
    "pack": _of(CHATS, pack=True),
    "answer": _of("few_shot", answer="target"),
    "tokenizer": _of("causal_lm", tokenizer={"train": "char"}),
    "clean": _of("causal_lm", clean=["lowercase"]),
    "augment": _of(CLASSIFY, augment={}),
    "packing": _of("causal_lm", packing="isolated"),
    "max_length": _of("causal_lm", max_length=64),
    "max_target_length": _of("seq2seq_lm", max_target_length=16),
    "max_documents": _of("causal_lm", max_documents=10),
    "splits": _of("causal_lm", splits={"validation": 0.2}),
    "splits.validation": _within("splits", "validation", 0.1, 0.2),
    "splits.test": _within("splits", "test", 0.1, 0.2),
    "splits.by": _within("splits", "by", "random", "hash"),
    "splits.group": _within("splits", "group", "author", "site", by="group"),
    "splits.time": _within("splits", "time", "written", "printed", by="time"),
    "splits.stratify": _within("splits", "stratify", True, False, task=CLASSIFY),
    "splits.seed": _within("splits", "seed", 0, 1),
    "splits.train_on_validation": _within("splits", "train_on_validation", False, True),
    "splits.fold": _within("splits", "fold", {"index": 0, "of": 3}, {"index": 1, "of": 3}),
    "splits.test_fold": _within("splits", "test_fold", {"index": 0, "of": 3}, {"index": 1, "of": 3}),
    "tokenizer.train": _within("tokenizer", "train", "bpe", "unigram"),
    "tokenizer.vocab_size": _within("tokenizer", "vocab_size", 400, 500, train="bpe"),
    "tokenizer.lowercase": _within("tokenizer", "lowercase", False, True, train="bpe"),
    "tokenizer.train_on_megabytes": _within("tokenizer", "train_on_megabytes", 1, 2, train="bpe"),
    "augment.delete": _within("augment", "delete", 0.1, 0.2, task=CLASSIFY),
    "augment.swap": _within("augment", "swap", 0.1, 0.2, task=CLASSIFY),
    "augment.copies": _within("augment", "copies", 1, 2, task=CLASSIFY),
    # A column of difficulties is kept beside the examples.
    "curriculum.by": _within("curriculum", "by", "length", "grade", task=CLASSIFY),
    "builtin.builtin": _within("source", "builtin", "stdlib-docs", "stdlib-docstrings"),
    "builtin.weight": _weights("builtin", "stdlib-docs"),
    "hub.hub": _within("source", "hub", "org/name", "org/other"),
    "hub.config": _within("source", "config", "one", "two", hub="org/name"),
    "hub.revision": _within("source", "revision", "abc", "def", hub="org/name"),
    "hub.weight": _weights("hub", "org/name"),
    "files.files": _within("source", "files", "data.csv", "other.csv"),
    "files.weight": _weights("files", "data.csv"),
    "split_files.train": _within("source", "files", TRAIN, {"train": "other.csv"}),
    "split_files.validation": _within("source", "files", TRAIN, TRAIN | {"validation": "other.csv"}),
    "split_files.test": _within("source", "files", TRAIN, TRAIN | {"test": "other.csv"}),
}  # fmt: skip

NO_TOKEN = {
    "mask_probability": _of("masked_lm", mask_probability=0.4),
    "generate": _of("seq2seq_lm", generate=3),
    "curriculum": Change(task=CLASSIFY, after={"curriculum": {}}),
    "curriculum.order": _within("curriculum", "order", "easy_first", "hard_first", task=CLASSIFY),
    "curriculum.epochs": _within("curriculum", "epochs", 1, 2, task=CLASSIFY),
    # Whether what is found is a warning or an error; looking for it at all fills the card.
    "splits.leakage_check": _within("splits", "leakage_check", "warn", "error"),
}
ALSO_CHANGES = {"splits.leakage_check": _within("splits", "leakage_check", "warn", "off")}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["text,label,target"]
    rows += [f"{word} number {number},{word},so it is {word}" for number in range(40) for word in ("ship", "shore")]
    for name in ("data.csv", "other.csv"):
        (tmp_path / name).write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)


def both(change: Change) -> tuple[DataConfig, DataConfig]:
    base = {"source": {"files": "data.csv"}, "tokenizer": {"train": "bpe", "vocab_size": 300}, "max_length": 24}
    before, after = DataConfig(**(base | change.before)), DataConfig(**(base | change.before | change.after))
    assert before != after
    return before, after


def fingerprints(change: Change) -> tuple[str, str]:
    model = ModelConfig(architecture="gpt2")
    before, after = (fingerprint(change.task, model, data) for data in both(change))
    return before, after


def test_every_field_has_a_decision() -> None:
    assert set(CHANGES) | set(NO_TOKEN) == FIELDS, "decide whether this field changes tokens, and list it above"
    assert set(CHANGES) & set(NO_TOKEN) == set()


@pytest.mark.parametrize(
    "change",
    [*CHANGES.values(), *ALSO_CHANGES.values()],
    ids=lambda change: json.dumps(change.after),
)
def test_what_changes_tokens_changes_the_fingerprint(change: Change) -> None:
    before, after = fingerprints(change)
    assert before != after


@pytest.mark.parametrize("change", NO_TOKEN.values(), ids=NO_TOKEN)
def test_what_changes_no_token_shares_its_data(change: Change) -> None:
    before, after = fingerprints(change)
    assert before == after


@pytest.mark.parametrize("change", NO_TOKEN.values(), ids=NO_TOKEN)
def test_what_is_not_in_the_fingerprint_truly_changes_no_example(change: Change, tmp_path: Path) -> None:
    architecture = {"masked_lm": "bert", "seq2seq_lm": "t5"}.get(change.task, "gpt2")
    made = [
        prepare(change.task, ModelConfig(architecture=architecture), data, cache_directory=tmp_path / str(index))
        for index, data in enumerate(both(change))
    ]
    assert made[0].directory != made[1].directory
    for part in ("train", "validation"):
        assert getattr(made[0], part)[:] == getattr(made[1], part)[:]
    assert made[0].card == made[1].card

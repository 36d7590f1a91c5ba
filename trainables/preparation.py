"""Prepares a data configuration once for a task: reads, splits, tokenizes, and keeps the result on disk.

Knows nothing of models, training or trials. A search sees train and validation;
the test split has its own door.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import DataConfig, ModelConfig, TaskName, TrainedTokenizer
from trainables.data.cache import Progress, data_directory, make_once
from trainables.data.card import DataCard, make_card
from trainables.data.columns import Column, class_column
from trainables.data.files import PART_NAMES
from trainables.data.fingerprints import fingerprint as data_fingerprint
from trainables.data.fingerprints import stratified
from trainables.data.sources import Documents, load_documents
from trainables.data.splits import draw_indices, split_indices
from trainables.data.tokenization import (
    load_saved_tokenizer,
    load_tokenizer,
    save_tokenizer,
    tokenizer_config,
    train_bpe,
)
from trainables.tasks.registry import TASKS
from trainables.tasks.task import Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_CARD = "card.json"


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """Tokenized, split examples on disk. Datasets are mapped when first used and hold no test example."""

    directory: Path
    """Where `card.json`, `tokenizer/` and one folder a part lie."""
    card: DataCard
    """What is in it, in numbers."""

    @property
    def fingerprint(self) -> str:
        """Names the data configuration."""
        return self.card.fingerprint

    @cached_property
    def train(self) -> "Dataset":
        """Examples to train on: `input_ids`, and what else the task's collator reads."""
        return _open_part(self.directory, "train")

    @cached_property
    def validation(self) -> "Dataset":
        """Examples that measure trials."""
        return _open_part(self.directory, "validation")

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer that made the examples."""
        return load_saved_tokenizer(self.directory / "tokenizer")


_prepared: dict[Path, PreparedData] = {}


def fingerprint(task: TaskName, model: ModelConfig, data: DataConfig) -> str:
    """Names what `prepare` would make: equal fingerprints are equal examples."""
    described = TASKS[task]
    return data_fingerprint(task, model, data, columns=described.columns(data), options=described.encoding_options)


def prepare(
    task: TaskName,
    model: ModelConfig,
    data: DataConfig,
    *,
    cache_directory: Path | None = None,
    on_progress: Progress | None = None,
) -> PreparedData:
    """The prepared form of `data`, made now or found. Callers that come at the same time wait for the first.

    `cache_directory` defaults to the environment's TUNESMITH_CACHE, else ~/.cache/tunesmith.
    """
    name = fingerprint(task, model, data)
    directory = data_directory(cache_directory) / name
    if not _is_prepared(directory):
        progress = on_progress or logger.info

        def make(folder: Path) -> None:
            _prepare_into(folder, TASKS[task], model, data, name=name, on_progress=progress)

        make_once(directory, make, is_made=_is_prepared, on_progress=progress)
    if directory not in _prepared:
        _prepared[directory] = PreparedData(directory=directory, card=_read_card(directory))
    return _prepared[directory]


def cached_card(
    task: TaskName, model: ModelConfig, data: DataConfig, cache_directory: Path | None = None
) -> DataCard | None:
    """The card of `data` if it is prepared already; reads one small file."""
    directory = data_directory(cache_directory) / fingerprint(task, model, data)
    return _read_card(directory) if _is_prepared(directory) else None


def load_test_split(prepared: PreparedData) -> "Dataset":
    """The examples that no search has seen: for the final confirmation only."""
    if "test" not in prepared.card.examples:
        raise SpecError("this data has no test split: it was prepared with test 0.", path="data.splits.test")
    return _open_part(prepared.directory, "test")


# --- the preparation itself ------------------------------------------------------------------------------


def _prepare_into(
    folder: Path, task: Task, model: ModelConfig, data: DataConfig, *, name: str, on_progress: Progress
) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    on_progress("reading documents")
    documents = load_documents(data, task.columns(data), scratch=scratch)
    parts = _split(documents, task, data)
    tokenizer = _tokenizer(task, model, data, train=parts["train"], on_progress=on_progress)
    task.complete_tokenizer(tokenizer, data)
    on_progress(f"tokenizing {sum(map(len, parts.values())):,} documents")
    encoded = {
        part: task.encode(
            rows,
            scratch / f"{part}.examples.arrow",
            tokenizer=tokenizer,
            data=data,
            labels=documents.label_order,
        )
        for part, rows in parts.items()
    }
    card = make_card(
        encoded,
        fingerprint=name,
        task=task.name,
        source=documents.description,
        vocab_size=len(tokenizer),
        data=data,
        labels=documents.label_order,
        baseline=task.baseline,
    )
    save_tokenizer(tokenizer, folder / "tokenizer")
    with _no_progress_bars():
        for part, made in encoded.items():
            made.examples.save_to_disk(str(folder / part))
    shutil.rmtree(scratch)
    (folder / _CARD).write_text(card.to_json(), encoding="utf-8")


def _split(documents: Documents, task: Task, data: DataConfig) -> "dict[str, Dataset]":
    """Documents of each part: the source's own parts as they are, the missing ones taken from train."""
    given = dict(documents.parts)
    if data.max_documents is not None:
        given = _draw(given, limit=data.max_documents, seed=data.splits.seed)
    train = given.pop("train")
    columns = task.columns(data)
    classes = class_column(columns)
    indices = split_indices(
        len(train),
        validation=0 if "validation" in given else data.splits.validation,
        test=0 if "test" in given else data.splits.test,
        seed=data.splits.seed,
        labels=list(train[classes.role]) if classes is not None and stratified(data, columns) else None,
    )
    drawn = {"train": indices.train, "validation": indices.validation, "test": indices.test}
    taken = {part: train.select(chosen) for part, chosen in drawn.items() if len(chosen)}
    return {part: (taken | given)[part] for part in PART_NAMES if part in taken | given}


def _draw(parts: "dict[str, Dataset]", *, limit: int, seed: int) -> "dict[str, Dataset]":
    """At most about `limit` documents in all, each part keeping its share."""
    total = sum(map(len, parts.values()))
    if total <= limit:
        return parts
    return {
        part: rows.select(draw_indices(len(rows), limit=max(1, round(limit * len(rows) / total)), seed=seed))
        for part, rows in parts.items()
    }


def _tokenizer(
    task: Task, model: ModelConfig, data: DataConfig, *, train: "Dataset", on_progress: Progress
) -> "PreTrainedTokenizerBase":
    config = tokenizer_config(model, data)
    if not isinstance(config, TrainedTokenizer):
        place = "model.pretrained" if data.tokenizer is None else "data.tokenizer.pretrained"
        loaded = load_tokenizer(config.pretrained, path=place)
        if task.needs_mask_token and loaded.mask_token is None:
            raise SpecError(f"this tokenizer has no token that hides another, as {task.name} needs.", path=place)
        return loaded
    on_progress(f"training a tokenizer of {config.vocab_size} tokens")
    texts = (text for batch in train.iter(batch_size=1000) for text in _texts(batch, task.columns(data)))
    return train_bpe(texts, vocab_size=config.vocab_size, marks_ends=task.marks_ends)


def _texts(batch: "dict[str, list[Any]]", columns: Sequence[Column]) -> Iterator[str]:
    """All text of some documents, in every column that has some."""
    for column in columns:
        if column.kind in ("text", "optional text"):
            yield from batch[column.role]
        elif column.kind == "messages":
            yield from (message["content"] for messages in batch[column.role] for message in messages)
        elif column.kind == "words":
            yield from map(" ".join, batch[column.role])


# --- on disk ---------------------------------------------------------------------------------------------


def _is_prepared(directory: Path) -> bool:
    return (directory / _CARD).is_file()


def _read_card(directory: Path) -> DataCard:
    return DataCard.from_json((directory / _CARD).read_text(encoding="utf-8"))


def _open_part(directory: Path, part: str) -> "Dataset":
    from datasets import load_from_disk

    return load_from_disk(str(directory / part))


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """The library draws its own bars over ours."""
    import datasets

    shown = datasets.are_progress_bars_disabled() is False
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()

"""Prepares a data configuration once for a task: reads, splits, tokenizes, and keeps the result on disk.

Knows nothing of models, training or trials. A search sees train and validation;
the test split has its own door.
"""

import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from spaces.errors import SpecError
from trainables.config import DataConfig, ModelConfig, TaskName, TrainedTokenizer
from trainables.data.augmentation import add_copies
from trainables.data.cache import Progress, data_directory, make_once, mark_used
from trainables.data.card import DataCard, make_card
from trainables.data.columns import DIFFICULTY, Column, difficulty_columns
from trainables.data.encode import EncodedPart
from trainables.data.fingerprints import fingerprint as data_fingerprint
from trainables.data.leakage import Leakage
from trainables.data.mapped_pages import mapped_pages_released
from trainables.data.parts import leakage_facts, load_parts
from trainables.data.steps import step
from trainables.data.texts import BATCH_DOCUMENTS, texts_of
from trainables.data.tokenization import (
    load_saved_tokenizer,
    load_tokenizer,
    save_tokenizer,
    tokenizer_config,
)
from trainables.data.tokenizer_training import train_tokenizer
from trainables.data_sections import CurriculumConfig
from trainables.tasks.registry import TASKS
from trainables.tasks.task import Task

if TYPE_CHECKING:
    import torch
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
        return _without_difficulty(_open_part(self.directory, "train"))

    def difficulties(self, curriculum: CurriculumConfig) -> "torch.Tensor":
        """A number for each example of `train`."""
        from trainables.curriculum import difficulties

        return difficulties(_open_part(self.directory, "train"), curriculum)

    @cached_property
    def validation(self) -> "Dataset":
        """Examples that measure trials."""
        return _without_difficulty(_open_part(self.directory, "validation"))

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
            with mapped_pages_released(folder):
                _prepare_into(folder, TASKS[task], model, data, name=name, on_progress=progress)

        make_once(directory, make, is_made=_is_prepared, on_progress=progress)
    mark_used(directory)
    if directory not in _prepared:
        _prepared[directory] = PreparedData(directory=directory, card=_read_card(directory))
    _tell_leakage(_prepared[directory].card, data, on_progress=on_progress)
    return _prepared[directory]


def _tell_leakage(card: DataCard, data: DataConfig, *, on_progress: Progress | None) -> None:
    for part, facts in card.leakage.items():
        words = Leakage(**facts).in_words(part)
        if facts["found"] and data.splits.leakage_check == "error":
            raise SpecError(
                f"{words}. `data.clean: [near_deduplicate]` removes such copies, `by: group` keeps them together.",
                path="data.splits.leakage_check",
            )
        if facts["found"] and on_progress is not None:
            on_progress(f"note: {words}")


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
    return _without_difficulty(_open_part(prepared.directory, "test"))


# --- the preparation itself ------------------------------------------------------------------------------


def _prepare_into(
    folder: Path, task: Task, model: ModelConfig, data: DataConfig, *, name: str, on_progress: Progress
) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    on_progress("reading documents")
    columns = (*task.columns(data), *difficulty_columns(data))
    loaded = load_parts(data, columns, scratch=scratch, on_progress=on_progress)
    for done in loaded.cleaning:
        on_progress(f"cleaning: {done}")
    parts = dict(loaded.documents)
    tokenizer = _tokenizer(task, model, data, trains=loaded.unmixed_train, on_progress=on_progress)
    task.complete_tokenizer(tokenizer, data)
    num_originals = len(parts["train"])
    if data.augment is not None:
        parts["train"] = add_copies(parts["train"], data.augment, scratch / "augmented.arrow", seed=data.splits.seed)
    num_documents = sum(map(len, parts.values()))
    on_progress(f"tokenizing {num_documents:,} documents")
    with step("tokenizing", total=num_documents, on_progress=on_progress):
        encoded = {
            part: _with_difficulty(
                task.encode(
                    rows,
                    scratch / f"{part}.examples.arrow",
                    tokenizer=tokenizer,
                    data=data,
                    labels=loaded.label_order,
                ),
                rows,
            )
            for part, rows in parts.items()
        }
    card = make_card(
        encoded,
        fingerprint=name,
        task=task.name,
        source=loaded.description,
        vocab_size=len(tokenizer),
        data=data,
        labels=loaded.label_order,
        baseline=task.baseline,
    )
    card = replace(
        card,
        documents={**card.documents, "train": num_originals},
        cleaning=tuple(done.as_json() for done in loaded.cleaning),
        leakage=leakage_facts(loaded.leakage),
        augmented=len(parts["train"]) - num_originals,
    )
    save_tokenizer(tokenizer, folder / "tokenizer")
    with _no_progress_bars():
        for part, made in encoded.items():
            made.examples.save_to_disk(str(folder / part))
    shutil.rmtree(scratch)
    (folder / _CARD).write_text(card.to_json(), encoding="utf-8")


def _with_difficulty(encoded: EncodedPart, documents: "Dataset") -> EncodedPart:
    """The examples with the difficulties of their documents beside them, where a curriculum reads some."""
    if DIFFICULTY not in documents.column_names or DIFFICULTY in encoded.examples.column_names:
        return encoded
    from datasets import concatenate_datasets

    numbers = documents.select_columns([DIFFICULTY])
    return replace(encoded, examples=concatenate_datasets([encoded.examples, numbers], axis=1))


def _tokenizer(
    task: Task, model: ModelConfig, data: DataConfig, *, trains: "Sequence[Dataset]", on_progress: Progress
) -> "PreTrainedTokenizerBase":
    config = tokenizer_config(model, data)
    if not isinstance(config, TrainedTokenizer):
        place = "model.pretrained" if data.tokenizer is None else "data.tokenizer.pretrained"
        loaded = load_tokenizer(config.pretrained, path=place)
        if task.needs_mask_token and loaded.mask_token is None:
            raise SpecError(f"this tokenizer has no token that hides another, as {task.name} needs.", path=place)
        return loaded
    on_progress(f"training a {config.train} tokenizer of {config.vocab_size} tokens")
    texts = _sampled_texts(trains, task.columns(data), most_bytes=config.train_on_megabytes * 1e6)
    return train_tokenizer(texts, config, marks_ends=task.marks_ends)


def _sampled_texts(trains: "Sequence[Dataset]", columns: Sequence[Column], *, most_bytes: float) -> Iterator[str]:
    """Texts of documents that are spread evenly over all of `trains`, of about `most_bytes` in all."""
    # All columns counted; exact sizes would cost a pass.
    held = sum(train.data.nbytes * len(train) / max(len(train.data), 1) for train in trains)
    every = max(1, math.ceil(held / most_bytes))
    for train in trains:
        chosen = train if every == 1 else train.select(range(0, len(train), every))
        for batch in chosen.iter(batch_size=BATCH_DOCUMENTS):
            yield from texts_of(batch, columns)


# --- on disk ---------------------------------------------------------------------------------------------


def _is_prepared(directory: Path) -> bool:
    return (directory / _CARD).is_file()


def _read_card(directory: Path) -> DataCard:
    return DataCard.from_json((directory / _CARD).read_text(encoding="utf-8"))


def _open_part(directory: Path, part: str) -> "Dataset":
    from datasets import load_from_disk

    return load_from_disk(str(directory / part))


def _without_difficulty(examples: "Dataset") -> "Dataset":
    return examples.remove_columns(DIFFICULTY) if DIFFICULTY in examples.column_names else examples


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

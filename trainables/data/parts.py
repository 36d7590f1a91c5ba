"""From the sources of a configuration to its train, validation and test documents. Knows no tokens and no task.

Each source is split by itself; held-out parts hold all sources whatever their weights, and the training part is mixed
by them. A source's own parts are kept as they are.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import DataConfig
from trainables.data.cache import Progress
from trainables.data.cleaning import Cleaner, StepCount
from trainables.data.columns import Column, class_column, split_columns
from trainables.data.files import PART_NAMES
from trainables.data.fingerprints import stratified
from trainables.data.folds import group_fold, hash_fold, random_fold, time_fold
from trainables.data.kept_together import split_by_group, split_by_hash, split_by_time
from trainables.data.leakage import Leakage, find_leakage
from trainables.data.mixture import drawn_to_size, mixture_sizes
from trainables.data.several_sources import source_named
from trainables.data.sources import Documents, load_documents, sort_labels
from trainables.data.splits import SplitIndices, draw_indices, split_indices
from trainables.data.steps import step
from trainables.data.texts import whole_texts
from trainables.fold_sections import FoldConfig

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All documents, each in one part."""

    documents: "dict[str, Dataset]"
    """`train`, `validation` and perhaps `test`, memory-mapped."""
    unmixed_train: "list[Dataset]"
    """What train was mixed from. A tokenizer learns of it: else validation would depend on the weights."""
    label_order: tuple[str, ...]
    """Labels in the order of their ids; empty where the task has none."""
    description: str
    """The sources in a few words."""
    cleaning: tuple[StepCount, ...]
    """What each step of `data.clean` did."""
    leakage: dict[str, Leakage]
    """What of the held-out parts nearly stands in train; empty when nobody looked."""


def load_parts(data: DataConfig, columns: Sequence[Column], *, scratch: Path, on_progress: Progress) -> Parts:
    """Read, clean, split and mix. `scratch` must outlive the documents; SpecError carries the key path."""
    wanted = (*columns, *split_columns(data))
    cleaner = Cleaner(data.clean, wanted)
    loaded: list[Documents] = []
    for index, source in enumerate(data.sources):
        place = scratch / f"source-{index}"
        place.mkdir()
        with step("reading documents", on_progress=on_progress), source_named(data, index):
            loaded.append(load_documents(source, data, wanted, scratch=place, cleaner=cleaner))
    total = sum(len(part) for documents in loaded for part in documents.parts.values())
    split = [_split(documents, columns, data, total=total) for documents in loaded]
    unmixed_train = [parts["train"] for parts in split]
    if len(split) > 1:
        weights = [source.weight for source in data.sources]
        mixed = _mixed(unmixed_train, columns, weights=weights, seed=data.splits.seed)
        for parts, train in zip(split, mixed, strict=True):
            parts["train"] = train
    documents = _joined(split)
    leakage = {}
    if data.splits.leakage_check != "off":
        on_progress("looking for held-out documents in train")
        leakage = find_leakage(documents, columns)
    return Parts(
        documents=documents,
        unmixed_train=unmixed_train,
        label_order=_label_order(loaded, columns),
        description=" + ".join(each.description for each in loaded),
        cleaning=tuple(cleaner.counts),
        leakage=leakage,
    )


# --- splits ----------------------------------------------------------------------------------------------


def _split(documents: Documents, columns: Sequence[Column], data: DataConfig, *, total: int) -> "dict[str, Dataset]":
    """Documents of each part: the source's own parts as they are, the missing ones taken from train."""
    given = dict(documents.parts)
    for part, fold in (("validation", data.splits.fold), ("test", data.splits.test_fold)):
        if fold is not None and part in given:
            raise SpecError(
                f"the folds of a cross-validation are made of train, but the source brings its own {part} part: give "
                "those documents to train, or leave the cross-validation out.",
                path="data.source",
            )
    if data.max_documents is not None:
        own = sum(map(len, given.values()))
        given = _draw(given, limit=max(1, round(data.max_documents * own / total)), seed=data.splits.seed)
    train = given.pop("train")
    shares = {part: 0.0 if part in given else getattr(data.splits, part) for part in ("validation", "test")}
    if data.splits.train_on_validation:
        shares["validation"] = 0.0
    indices = _folded(train, columns, data, shares=shares)
    drawn = {"train": indices.train, "validation": indices.validation, "test": indices.test}
    taken = {part: train.select(chosen) for part, chosen in drawn.items() if len(chosen)}
    if data.splits.train_on_validation:
        given["validation"] = (taken | given)["test"]
    return {part: (taken | given)[part] for part in PART_NAMES if part in taken | given}


def _folded(train: "Dataset", columns: Sequence[Column], data: DataConfig, *, shares: dict[str, float]) -> SplitIndices:
    """The parts, where folds of a cross-validation take the place of shares."""
    import numpy as np

    fold, test_fold = data.splits.fold, data.splits.test_fold
    if test_fold is not None:
        rest, test = _halves(train, columns, data, test_fold)
    elif fold is not None:
        drawn = _indices(train, columns, data, shares=shares | {"validation": 0.0})
        rest, test = drawn.train, drawn.test
    else:
        return _indices(train, columns, data, shares=shares)
    left = train.select(rest)
    if fold is not None:
        kept, held_out = _halves(left, columns, data, fold)
    else:
        inner = _indices(left, columns, data, shares=shares | {"test": 0.0})
        kept, held_out = inner.train, inner.validation
    rest = np.asarray(rest)
    return SplitIndices(train=rest[kept], validation=rest[held_out], test=test)


def _halves(
    rows: "Dataset", columns: Sequence[Column], data: DataConfig, fold: FoldConfig
) -> "tuple[np.ndarray, np.ndarray]":
    by, seed = data.splits.by, data.splits.seed + fold.repeat
    if by == "group":
        return group_fold(_column(rows, "splits.group"), index=fold.index, of=fold.of, seed=seed)
    if by == "time":
        return time_fold(_column(rows, "splits.time"), index=fold.index, of=fold.of)
    if by == "hash":
        return hash_fold(whole_texts(rows, columns), index=fold.index, of=fold.of, seed=seed)
    classes = class_column(columns)
    labels = _column(rows, classes.role) if classes is not None and stratified(data, columns) else None
    return random_fold(len(rows), index=fold.index, of=fold.of, seed=seed, labels=labels)


def _indices(
    train: "Dataset", columns: Sequence[Column], data: DataConfig, *, shares: dict[str, float]
) -> SplitIndices:
    if not any(shares.values()):
        return split_indices(len(train), validation=0, test=0, seed=data.splits.seed)
    by = data.splits.by
    if by == "group":
        return split_by_group(_column(train, "splits.group"), **shares, seed=data.splits.seed)
    if by == "time":
        return split_by_time(_column(train, "splits.time"), **shares)
    if by == "hash":
        return split_by_hash(whole_texts(train, columns), **shares, seed=data.splits.seed)
    classes = class_column(columns)
    labels = _column(train, classes.role) if classes is not None and stratified(data, columns) else None
    validation, test = shares["validation"], shares["test"]
    return split_indices(len(train), validation=validation, test=test, seed=data.splits.seed, labels=labels)


def _column(rows: "Dataset", role: str) -> "np.ndarray":
    """One small column as an array; texts stay where they are."""
    import numpy as np

    values: np.ndarray = np.asarray(rows.with_format("arrow")[role][:].to_numpy(zero_copy_only=False))
    return values.astype(str) if values.dtype == object else values


def _draw(parts: "dict[str, Dataset]", *, limit: int, seed: int) -> "dict[str, Dataset]":
    """At most about `limit` documents in all, each part keeping its share."""
    total = sum(map(len, parts.values()))
    if total <= limit:
        return parts
    return {
        part: rows.select(draw_indices(len(rows), limit=max(1, round(limit * len(rows) / total)), seed=seed))
        for part, rows in parts.items()
    }


# --- several sources -------------------------------------------------------------------------------------


def _mixed(
    trains: "list[Dataset]", columns: Sequence[Column], *, weights: Sequence[float], seed: int
) -> "list[Dataset]":
    import numpy as np

    sizes = [_text_bytes(train, columns) for train in trains]
    wanted = mixture_sizes([int(np.sum(size)) for size in sizes], weights)
    return [
        train.select(drawn_to_size(size, limit, seed=seed + index))
        for index, (train, size, limit) in enumerate(zip(trains, sizes, wanted, strict=True))
    ]


def _text_bytes(rows: "Dataset", columns: Sequence[Column]) -> "np.ndarray":
    """UTF-8 bytes of each document."""
    import numpy as np

    lengths = (len(text.encode("utf-8", "surrogatepass")) for text in whole_texts(rows, columns))
    return np.fromiter(lengths, dtype=np.int64, count=len(rows))


def _joined(split: "Sequence[dict[str, Dataset]]") -> "dict[str, Dataset]":
    from datasets import concatenate_datasets

    if len(split) == 1:
        return split[0]
    joined = {}
    for part in PART_NAMES:
        rows = [parts[part] for parts in split if part in parts and len(parts[part])]
        if rows:
            joined[part] = concatenate_datasets(rows)
    if "train" not in joined:
        raise SpecError("the weights leave no document to train on.", path="data.source")
    return joined


def _label_order(loaded: Iterable[Documents], columns: Sequence[Column]) -> tuple[str, ...]:
    if class_column(columns) is None:
        return ()
    orders = [documents.label_order for documents in loaded]
    if all(order == orders[0] for order in orders):
        return orders[0]
    return sort_labels({label for order in orders for label in order})


def leakage_facts(leakage: dict[str, Leakage]) -> dict[str, dict[str, Any]]:
    """As plain values, for the card."""
    return {part: dataclasses.asdict(found) for part, found in leakage.items()}

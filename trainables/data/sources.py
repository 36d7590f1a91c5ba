"""From a source in the spec to checked documents: the columns that the task reads.

Knows no tokens and draws no splits; parts that the source brings itself are kept as they are.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import BuiltinSource, DataConfig, FilesSource, HubSource, Source
from trainables.data.arrow_files import write_columns
from trainables.data.builtin import builtin_rows
from trainables.data.cleaning import Cleaner
from trainables.data.columns import CLASS_KINDS, Column, class_column
from trainables.data.files import PART_NAMES, Columns, Row, match_files, read_rows, require_columns
from trainables.data.steps import count

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)

_BATCH_DOCUMENTS = 1000
_VALIDATION_NAMES = ("validation", "valid", "val", "dev")


@dataclass(frozen=True, kw_only=True)
class Documents:
    """The checked columns of each part that the source brings, memory-mapped."""

    parts: "dict[str, Dataset]"
    """`train`, and `validation` or `test` where the source has them. Columns are named by role."""
    label_order: tuple[str, ...]
    """Labels in the order of their ids where the source fixes one; else in sorted order. Empty: no labels."""
    description: str
    """The source in a few words, for people."""


def load_documents(source: Source, data: DataConfig, columns: Columns, *, scratch: Path, cleaner: Cleaner) -> Documents:
    """Read, check and clean all documents of `source` into Arrow files in `scratch`, which must outlive them.

    A missing value is refused, a document with a blank text left out with a warning. SpecError carries the key path.
    """
    label_order: tuple[str, ...] = ()
    if isinstance(source, BuiltinSource):
        rows: dict[str, Iterable[_Origin]] = {"train": [(source.builtin, builtin_rows(source.builtin, columns))]}
        description = f"{source.builtin} (standard library of this Python)"
    elif isinstance(source, FilesSource):
        matched = match_files(source.files)
        rows = {part: [(str(file), read_rows(file, columns)) for file in files] for part, files in matched.items()}
        description = _describe_files(matched)
    else:
        loaded = _load_hub(source, scratch=scratch)
        rows, label_order = _hub_rows(loaded, columns, name=source.hub)
        description = source.hub + (f" ({source.config})" if source.config else "")
    # Held-out parts first: what stands twice goes from train, and a published test set stays whole.
    written = {
        part: _write_documents(rows[part], scratch / f"{part}.arrow", columns=columns, cleaner=cleaner)
        for part in reversed(rows)
    }
    parts = {part: written[part] for part in rows}
    _check_not_empty(parts, description=f"{description}{' (cleaned)' if data.clean else ''}")
    classes = class_column(columns)
    return Documents(
        parts=parts,
        label_order=_checked_labels(parts, label_order, column=classes) if classes else (),
        description=description,
    )


# --- documents of any source, checked --------------------------------------------------------------------

_Origin = tuple[str, Iterable[Row]]
"""A name for error messages, and its rows."""


def _write_documents(origins: Iterable[_Origin], file: Path, *, columns: Columns, cleaner: Cleaner) -> "Dataset":
    import pyarrow as pa

    schema = pa.schema([(column.role, column.arrow_type) for column in columns])
    rows = cleaner.clean(_checked(origins, columns))

    def batches() -> Iterator[dict[str, list[Any]]]:
        while batch := list(islice(rows, _BATCH_DOCUMENTS)):
            values = zip(*batch, strict=True)
            count(
                documents=len(batch), num_bytes=sum(len(item) for row in batch for item in row if isinstance(item, str))
            )
            yield {column.role: list(given) for column, given in zip(columns, values, strict=True)}

    return write_columns(file, schema=schema, batches=batches())


def _checked(origins: Iterable[_Origin], columns: Columns) -> Iterator[Row]:
    for name, rows in origins:
        num_blank = 0
        for number, row in enumerate(rows, 1):
            where = f"row {number} of {name}"
            checked = tuple(column.checked(value, where=where) for column, value in zip(columns, row, strict=True))
            if any(_is_blank(column, value) for column, value in zip(columns, checked, strict=True)):
                num_blank += 1
                continue
            yield checked
        if num_blank:
            logger.warning("%s: left out %d blank documents", name, num_blank)


def _is_blank(column: Column, value: Any) -> bool:
    return (column.kind == "text" and not value.strip()) or (column.kind == "words" and not value)


def _check_not_empty(parts: "dict[str, Dataset]", *, description: str) -> None:
    for part, documents in parts.items():
        if not len(documents):
            raise SpecError(f"{description} has no documents for {part}.", path="data.source")


def _checked_labels(parts: "dict[str, Dataset]", fixed_order: tuple[str, ...], *, column: Column) -> tuple[str, ...]:
    """All labels of train in the order of their ids; no other part may bring one that train lacks."""
    used = {part: _labels_in(documents, column.role) for part, documents in parts.items()}
    for part, labels in used.items():
        unknown = sorted(labels - used["train"])
        if unknown:
            raise SpecError(f"`{unknown[0]}` is a label in {part} but never in train.", path=column.path)
    fewest = 1 if column.kind == "labels" else 2
    if len(used["train"]) < fewest:
        only = next(iter(used["train"]), None)
        raise SpecError(
            f"classification needs at least {'a label' if fewest == 1 else 'two labels'}, but "
            + (f"all documents have `{only}`." if only else "no document has one."),
            path=column.path,
        )
    return tuple(name for name in fixed_order if name in used["train"]) or sort_labels(used["train"])


def _labels_in(documents: "Dataset", role: str) -> set[str]:
    """All labels in a column of labels or of lists of labels."""
    import pyarrow as pa

    column = documents.data.column(role)
    values = column.chunks if not pa.types.is_list(column.type) else [chunk.flatten() for chunk in column.chunks]
    return {label for chunk in values for label in chunk.unique().to_pylist()}


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """In alphabetical order; in numeric order when all are integers, so that `10` follows `9`."""
    names = list(labels)
    try:
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(names))


# --- files -----------------------------------------------------------------------------------------------


def _describe_files(matched: dict[str, list[Path]]) -> str:
    files = [file for part in matched.values() for file in part]
    return files[0].name if len(files) == 1 else f"{len(files)} {files[0].suffix.removeprefix('.')} files"


# --- hub -------------------------------------------------------------------------------------------------


def _load_hub(source: HubSource, *, scratch: Path) -> "DatasetDict":
    """Every split of the dataset. Its own code is never run: `datasets` no longer can, and we never ask."""
    from datasets import load_dataset, load_from_disk

    folder = Path(source.hub).expanduser()
    try:
        if (folder / "dataset_dict.json").is_file():
            return load_from_disk(str(folder))
        if (folder / "state.json").is_file():
            return {"train": load_from_disk(str(folder))}
        # A local folder needs no lasting second copy of itself in the library's cache.
        cache = str(scratch / "hub") if folder.is_dir() else None
        return load_dataset(
            str(folder) if folder.is_dir() else source.hub,
            name=source.config,
            revision=None if folder.is_dir() else source.revision,
            cache_dir=cache,
        )
    except Exception as error:
        # The library raises a dozen types here: unknown id, no network, unknown configuration, a broken file.
        reason = str(error.__cause__ or error).strip().splitlines()[0].rstrip(".")
        raise SpecError(
            f"cannot load the dataset `{source.hub}`: {reason}. Check the id, the configuration and the "
            "network, or give a local folder.",
            path="data.source.hub",
        ) from error


def _hub_rows(
    loaded: "DatasetDict", columns: Columns, *, name: str
) -> tuple[dict[str, Iterable[_Origin]], tuple[str, ...]]:
    parts = _hub_parts(loaded, name=name)
    require_columns(parts["train"].column_names, columns, where=f"`{name}`")
    label = class_column(columns)
    classes = _class_names(parts["train"].features[label.name]) if label is not None else ()
    if label is not None and classes:
        parts = {
            part: rows for part, rows in parts.items() if part == "train" or not _is_unlabelled(rows, label.name, part)
        }
    rows: dict[str, Iterable[_Origin]] = {
        part: [(f"`{name}` {part}", _dataset_rows(split, columns, classes))] for part, split in parts.items()
    }
    return rows, classes


def _class_names(feature: Any) -> tuple[str, ...]:
    """The names of a ClassLabel, or of a list of them; none for plain strings and numbers."""
    return tuple(getattr(getattr(feature, "feature", feature), "names", ()))


def _hub_parts(loaded: "DatasetDict", *, name: str) -> "dict[str, Dataset]":
    """Splits under our names. Others (imdb's `unsupervised`) are left alone."""
    validation = next((known for known in _VALIDATION_NAMES if known in loaded), None)
    found = {"train": "train", "validation": validation, "test": "test"}
    parts = {part: loaded[split] for part, split in found.items() if split is not None and split in loaded}
    if "train" in parts:
        return {part: parts[part] for part in PART_NAMES if part in parts}
    if len(loaded) == 1:
        (only,) = loaded
        logger.warning("`%s` has only a split `%s`: validation and test are drawn from it", name, only)
        return {"train": loaded[only]}
    raise SpecError(f"`{name}` has no split `train`, only {', '.join(map(str, loaded))}.", path="data.source.hub")


def _is_unlabelled(split: "Dataset", label: str, part: str) -> bool:
    """Benchmarks publish their test split with every label -1: we then hold out our own."""
    is_list = hasattr(split.features[label], "feature")
    hidden = not is_list and set(split.unique(label)) == {-1}
    if hidden:
        logger.warning("the %s split has no labels: it is drawn from train instead", part)
    return hidden


def _dataset_rows(split: "Dataset", columns: Columns, classes: tuple[str, ...]) -> Iterator[Row]:
    names = [column.name for column in columns]
    for batch in split.select_columns(names).iter(batch_size=_BATCH_DOCUMENTS):
        values = [
            [_named(value, classes) for value in batch[column.name]]
            if classes and column.kind in CLASS_KINDS
            else batch[column.name]
            for column in columns
        ]
        yield from zip(*values, strict=True)


def _named(value: Any, classes: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_named(each, classes) for each in value]
    return classes[value] if value is not None and value >= 0 else None

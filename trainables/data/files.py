"""Reads documents out of csv, tsv, json, jsonl, parquet and txt files, one row at a time.

Knows no tokens and no splits, and never unpickles anything. Every error says the file and the row.
"""

import csv
import glob
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from spaces.errors import SpecError, did_you_mean
from trainables.config import SplitFiles
from trainables.data.columns import Column

Row = tuple[Any, ...]
"""The values of the columns that were asked for, in their order, as they stand in the file."""

Columns = Sequence[Column]

PART_NAMES = ("train", "validation", "test")
_PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".npy", ".npz"}


def match_files(files: str | SplitFiles) -> dict[str, list[Path]]:
    """Part -> its files in sorted order, all of one format. A single glob gives only `train`."""
    if isinstance(files, str):
        parts = {"train": _match(files, path="data.source.files")}
    else:
        given = {part: getattr(files, part) for part in PART_NAMES if getattr(files, part) is not None}
        parts = {part: _match(pattern, path=f"data.source.files.{part}") for part, pattern in given.items()}
    _check_formats([file for matched in parts.values() for file in matched])
    _check_disjoint(parts)
    return parts


def read_rows(file: Path, columns: Columns) -> Iterator[Row]:
    """The `columns` of every row of `file`. A txt file has texts only."""
    try:
        yield from _READERS[file.suffix.lower()](file, columns)
    except UnicodeDecodeError as error:
        raise SpecError(f"files must be UTF-8, but {file} is not: {error}.", path="data.source.files") from error
    except OSError as error:
        raise SpecError(f"cannot read {file}: {error.strerror or error}.", path="data.source.files") from error


def require_columns(present: Iterable[str], columns: Columns, *, where: str) -> None:
    """Raise SpecError when one of `columns` is not among those `present`."""
    names = [str(name) for name in present]
    for column in columns:
        if column.name not in names:
            known = ", ".join(f"`{name}`" for name in names) or "none"
            raise SpecError(
                f"{where} has no column `{column.name}`.{did_you_mean(column.name, names)} Its columns: {known}.",
                path=column.path,
            )


# --- which files -----------------------------------------------------------------------------------------


def _match(pattern: str, *, path: str) -> list[Path]:
    place = Path(pattern).expanduser()
    if place.is_dir():
        raise SpecError(f"`{pattern}` is a folder. Name its files with a glob, such as `{pattern}/*.jsonl`.", path=path)
    # A file whose name has brackets is itself before it is a pattern.
    found = [place] if place.is_file() else [Path(name) for name in glob.glob(str(place), recursive=True)]  # noqa: PTH207  # absolute patterns
    files = sorted(file.resolve() for file in found if file.is_file())
    if not files:
        raise SpecError(f"no file matches `{pattern}` (looked from {Path.cwd()}).", path=path)
    return files


def _check_formats(files: list[Path]) -> None:
    suffixes = sorted({file.suffix.lower() for file in files})
    known = ", ".join(suffix.removeprefix(".") for suffix in _READERS)
    for suffix in suffixes:
        if suffix in _PICKLES:
            raise SpecError(
                f"`{suffix}` files can run code when they are read and are refused. Save the data as one of {known}.",
                path="data.source.files",
            )
        if suffix not in _READERS:
            raise SpecError(
                f"cannot read `{suffix or 'no extension'}` files. Known: {known}.", path="data.source.files"
            )
    if len(suffixes) > 1:
        raise SpecError(
            f"all files must have one format, but {', '.join(suffixes)} match. Narrow the glob.",
            path="data.source.files",
        )


def _check_disjoint(parts: dict[str, list[Path]]) -> None:
    owner: dict[Path, str] = {}
    for part, files in parts.items():
        for file in files:
            if file in owner:
                raise SpecError(f"{file} is in both {owner[file]} and {part}.", path=f"data.source.files.{part}")
            owner[file] = part


# --- one reader a format ---------------------------------------------------------------------------------


def _read_csv(file: Path, columns: Columns) -> Iterator[Row]:
    yield from _read_delimited(file, columns, delimiter=",")


def _read_tsv(file: Path, columns: Columns) -> Iterator[Row]:
    yield from _read_delimited(file, columns, delimiter="\t")


def _read_delimited(file: Path, columns: Columns, *, delimiter: str) -> Iterator[Row]:
    """Values stay as they are written (`NA`, `01`, `1e5` are text); an empty cell is a missing value."""
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is shorter than many documents
    with _open(file) as lines:
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = next(rows, [])
            require_columns(header, columns, where=str(file))
            places = [header.index(column.name) for column in columns]
            for row in rows:
                if not row:
                    continue  # a line with nothing on it
                if len(row) != len(header):
                    raise SpecError(
                        f"{file}, line {rows.line_num}: expected {len(header)} cells, but got {len(row)}. "
                        "Texts with a delimiter in them must be quoted.",
                        path="data.source.files",
                    )
                yield tuple(row[place] or None for place in places)
        except csv.Error as error:
            raise SpecError(f"{file}, line {rows.line_num}: {error}.", path="data.source.files") from error


def _read_json(file: Path, columns: Columns) -> Iterator[Row]:
    """Either a list of objects, which is read as a whole, or one object a line."""
    with _open(file) as lines:
        start = lines.read(1)
        while start.isspace():
            start = lines.read(1)
    if start != "[":
        yield from _read_jsonl(file, columns)
        return
    with _open(file) as lines:
        try:
            records = json.load(lines)
        except json.JSONDecodeError as error:
            raise SpecError(f"{file} is not valid JSON: {error}.", path="data.source.files") from error
    yield from _from_records(((f"{file}, item {n}", record) for n, record in enumerate(records, 1)), columns)


def _read_jsonl(file: Path, columns: Columns) -> Iterator[Row]:
    def records() -> Iterator[tuple[str, Any]]:
        with _open(file) as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield f"{file}, line {number}", json.loads(line)
                except json.JSONDecodeError as error:
                    raise SpecError(
                        f"{file}, line {number}: not valid JSON: {error}.", path="data.source.files"
                    ) from error

    yield from _from_records(records(), columns)


def _from_records(records: Iterable[tuple[str, Any]], columns: Columns) -> Iterator[Row]:
    first = True
    for where, record in records:
        if not isinstance(record, dict):
            raise SpecError(
                f"{where}: expected an object with a key `{columns[0].name}`, but got {type(record).__name__}.",
                path="data.source.files",
            )
        if first:
            require_columns(record, columns, where=where)
            first = False
        yield tuple(record.get(column.name) for column in columns)


def _read_parquet(file: Path, columns: Columns) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [column.name for column in columns]
    try:
        with pq.ParquetFile(file) as parquet:
            require_columns(parquet.schema_arrow.names, columns, where=str(file))
            for batch in parquet.iter_batches(columns=names, batch_size=1000):
                yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)
    except pa.ArrowInvalid as error:
        raise SpecError(f"{file} is not a readable parquet file: {error}", path="data.source.files") from error


def _read_txt(file: Path, columns: Columns) -> Iterator[Row]:
    """A document is a group of lines between blank lines; in a file without blank lines, it is a line."""
    missing = next((column.role for column in columns if column.role != "text"), None)
    if missing is not None:
        raise SpecError(
            f"txt files have texts only, and the task needs a {missing} too. Use csv, jsonl or parquet.",
            path="data.source.files",
        )
    with _open(file) as lines:
        one_a_line = not _has_groups(lines)
    with _open(file) as lines:
        group: list[str] = []
        for line in lines:
            if line.strip():
                group.append(line)
            if group and (one_a_line or not line.strip()):
                yield ("".join(group).rstrip("\n"),)
                group = []
        if group:
            yield ("".join(group).rstrip("\n"),)


def _has_groups(lines: Iterable[str]) -> bool:
    """Whether a blank line stands between two lines with text."""
    text_before = gap = False
    for line in lines:
        if not line.strip():
            gap = text_before
        elif gap:
            return True
        else:
            text_before = True
    return False


def _open(file: Path) -> TextIO:
    # newline="" keeps line breaks inside quoted csv cells; utf-8-sig drops the mark that Excel writes first.
    newline = "" if file.suffix.lower() in {".csv", ".tsv"} else None
    return file.open(encoding="utf-8-sig", newline=newline)


_READERS: dict[str, Callable[[Path, Columns], Iterator[Row]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".txt": _read_txt,
}

"""The text of documents, whatever columns it stands in. Knows no source and no split."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trainables.data.columns import Column

if TYPE_CHECKING:
    from datasets import Dataset

BATCH_DOCUMENTS = 1000


def texts_of(batch: "dict[str, list[Any]]", columns: Sequence[Column]) -> Iterator[str]:
    """All text of some documents, column by column, every piece by itself."""
    for column in columns:
        for value in batch[column.role] if _has_text(column) else ():
            yield from _pieces(column, value)


def whole_texts(rows: "Dataset", columns: Sequence[Column]) -> Iterator[str]:
    """Each document as one string."""
    read = [column for column in columns if _has_text(column)]
    for batch in rows.iter(batch_size=BATCH_DOCUMENTS):
        for values in zip(*(batch[column.role] for column in read), strict=True):
            yield "\n".join(
                piece for column, value in zip(read, values, strict=True) for piece in _pieces(column, value)
            )


def _has_text(column: Column) -> bool:
    return column.kind in ("text", "optional text", "words", "messages")


def _pieces(column: Column, value: Any) -> Iterator[str]:
    if column.kind == "words":
        yield " ".join(value)
    elif column.kind == "messages":
        yield from (message["content"] for message in value)
    elif value is not None:
        yield value

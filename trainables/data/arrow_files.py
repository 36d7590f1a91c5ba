"""Streams columns into an Arrow file and opens it memory-mapped, so that data never has to fit in memory."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def write_columns(file: Path, *, schema: "pa.Schema", batches: "Iterable[Mapping[str, Any]]") -> "Dataset":
    """Write `batches` (column name -> values) one after another; the dataset reads them from `file`."""
    import pyarrow as pa
    from datasets import Dataset

    file.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(pa.record_batch(dict(batch), schema=schema))
    return Dataset.from_file(str(file))

"""Recorded results in a csv, tsv, jsonl or parquet file -> a table. Knows no space and no record."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

STEP_NAMES = ("step", "steps", "epoch", "epochs", "tokens", "evaluation", "evaluations")
"""Columns that say after how much training a row was measured."""
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
"""How the names of such files end."""
_READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".csv": ("read_csv", {}),
    ".tsv": ("read_csv", {"sep": "\t"}),
    ".jsonl": ("read_json", {"lines": True}),
    ".parquet": ("read_parquet", {}),
}


def read_table_file(file: Path, *, as_text: bool = False) -> "pd.DataFrame":
    """The rows of `file`.

    Args:
        file: Of a kind that its ending names.
        as_text: Leave the cells of a csv as they stand.

    Raises:
        SpecError: it is of another kind, cannot be read or has no rows.
    """
    import pandas as pd

    if file.suffix not in _READERS:
        raise SpecError(f"a table is a {', '.join(_READERS)} file, but got `{file}`.")
    if not file.is_file():
        near = did_you_mean(file.name, [entry.name for entry in file.parent.glob("*")] if file.parent.is_dir() else [])
        raise SpecError(f"there is no file `{file}`.{near}")
    reader, options = _READERS[file.suffix]
    if as_text and reader == "read_csv":
        options = {**options, "dtype": str, "keep_default_na": False}
    try:
        frame: pd.DataFrame = getattr(pd, reader)(file, **options)
    except (ValueError, OSError, ImportError) as error:
        raise SpecError(f"cannot read the table `{file}`: {error}.") from None
    if frame.empty:
        raise SpecError(f"the table `{file}` has no rows.")
    return frame


def number(cell: Any) -> float:
    """A cell as a number; one that is none is not a number."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan


def is_empty(cell: Any) -> bool:
    """Whether nothing stands in a cell."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))

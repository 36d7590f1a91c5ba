"""The record of a search, wherever it is kept. Knows no kind of source but by its name."""

from pathlib import Path

from analysis.records import SearchRecord
from analysis.study_source import read_search


def read_records(source: Path | str) -> SearchRecord:
    """The record of the search at `source`; one that still runs can be read too.

    Raises:
        SpecError: there is no search at `source`.
    """
    return read_search(Path(source))

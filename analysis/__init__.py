"""What a search showed: records, leaderboards, comparisons, plots. `from analysis import load` in a notebook."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from analysis.notebook import Search


def load(source: "Path | str") -> "Search":
    """A search for a notebook, read from wherever it is kept.

    Raises:
        SpecError: there is no search at `source`.
    """
    from analysis.notebook import Search
    from analysis.sources import read_records

    return Search(read_records(source))

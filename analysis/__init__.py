"""What a search showed: records, leaderboards, comparisons, plots. `from analysis import load` in a notebook."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from analysis.notebook import Search
    from spaces.objectives import Mode


def load(source: "Path | str", *, metric: str | None = None, mode: "Mode | None" = None) -> "Search":
    """A search for a notebook, read from wherever it is kept; `metric` and `mode` are for runs and tables of others,
    which do not say what was optimised.

    Raises:
        SpecError: there is no search at `source`.
    """
    from analysis.notebook import Search
    from analysis.sources import read_records

    return Search(read_records(source, metric=metric, mode=mode))

"""A search as an object for notebooks: tables as data frames, plots as figures. Reads no source itself."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from analysis.comparison import SearchComparison, Side, compare_searches
from analysis.leaderboard import Entry, leaderboard
from analysis.records import SearchRecord, TrialRecord
from analysis.selection import select
from analysis.wording import show_metric
from spaces.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objects import Figure

_PLAIN = (
    "rank", "number", "state", "value", "tied", "p_value", "steps", "epochs", "tokens", "seconds", "gpu_hours",
    "energy_wh", "cost", "peak_memory_bytes", "tokens_per_second", "mfu", "checkpoint", "error", "failure",
    "stopped_because", "superseded_by",
)  # fmt: skip


class Search:
    """A search that was read. It does not change when the search goes on: load it again."""

    def __init__(self, record: SearchRecord) -> None:
        self.record = record
        """All that is known of it."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def best(self) -> TrialRecord | None:
        """The best finished trial: `.params`, `.value`, `.checkpoint`, ...; None while none has finished."""
        return self.record.best

    @cached_property
    def trials(self) -> "DataFrame":
        """All trials by number, a row each: rank, state, value, costs, a column for each parameter and each metric."""
        entries = sorted(leaderboard(self.record), key=lambda entry: entry.trial.number)
        return _frame(entries).set_index("number")

    def leaderboard(
        self, *, top: int | None = None, where: str | Sequence[str] = (), sort: str | None = None
    ) -> "DataFrame":
        """The trials best first; `where` and `sort` as in `tunesmith leaderboard`.

        Raises:
            SpecError: there is no such column or parameter, or `where` is no expression.
        """
        conditions = [where] if isinstance(where, str) else where
        return _frame(select(leaderboard(self.record), where=conditions, sort=sort, top=top))

    def history(self, number: int) -> "DataFrame":
        """The learning curve of a trial, a row each time something was logged.

        Raises:
            SpecError: there is no such trial.
        """
        import pandas as pd

        if number not in {trial.number for trial in self.record.trials}:
            raise SpecError(f"`{self.name}` has no trial {number}: it has {len(self.record.trials)} of them.")
        return pd.DataFrame([dict(row) for row in self.record.history_of(number)])

    def compare(self, *others: "Search") -> SearchComparison:
        """This search and others at equal cost.

        Raises:
            SpecError: they optimise different things, or one has no finished trial.
        """
        return compare_searches([Side(name=each.name, records=[each.record]) for each in (self, *others)])

    @property
    def plot(self) -> "Plots":
        """Figures: `search.plot.importance()`. `dir(search.plot)` lists them."""
        return Plots(self.record)

    def __repr__(self) -> str:
        record, best = self.record, self.record.best
        found = f", best {record.metric} {show_metric(best.value)} (trial {best.number})" if best and best.value else ""
        return f"<Search {record.name!r}: {len(record.trials)} trials{found}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the ten best trials."""
        html: str = self.leaderboard(top=10).to_html(index=False, na_rep="", max_cols=16)
        return html


class Plots:
    """The plots of a search, one method each."""

    def __init__(self, record: SearchRecord) -> None:
        self._record = record

    def __getattr__(self, name: str) -> "Callable[..., Figure]":
        if name.startswith("_"):
            raise AttributeError(name)
        from analysis.plots import PLOTS

        if name not in PLOTS:
            raise AttributeError(f"there is no plot `{name}`.{did_you_mean(name, PLOTS)} Known: {', '.join(PLOTS)}.")
        return lambda: PLOTS[name](self._record)

    def __dir__(self) -> list[str]:
        from analysis.plots import PLOTS

        return list(PLOTS)


def _frame(entries: Sequence[Entry]) -> "DataFrame":
    import pandas as pd

    rows = []
    for entry in entries:
        columns: dict[str, Any] = entry.to_json()
        row = {name: columns[name] for name in _PLAIN}
        row |= dict(zip(entry.objectives[1:], entry.trial.values[1:], strict=False))
        row |= {f"fold_{index}": value for index, value in enumerate(entry.trial.fold_values)}
        rows.append(row | entry.trial.params | entry.trial.metrics)
    return pd.DataFrame(rows, columns=None if rows else list(_PLAIN))

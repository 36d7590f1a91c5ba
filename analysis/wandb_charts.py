"""A search's record as W&B tables and charts: native ones where W&B has them. Knows neither runs nor servers."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.leaderboard import Entry, leaderboard
from analysis.records import SearchRecord, TrialRecord
from spaces.objectives import Objective
from spaces.reports import Scalar

log = logging.getLogger(__name__)

MOST_ROWS = 10_000
"""Of a table: W&B shows no more."""
MOST_CURVES = 50
MOST_POINTS = 200
"""Of one curve."""


def results(record: SearchRecord) -> dict[str, Any]:
    """What a search has shown, by the name under which W&B shows it. Charts that have nothing to show are left out."""
    entries = leaderboard(record)
    shown: dict[str, Any] = {}
    for name, make in CHARTS.items():
        try:
            chart = make(record, entries)
        except Exception as error:  # one chart less is no reason to lose the others
            log.warning("W&B chart `%s` is left out: %s: %s", name, type(error).__name__, error)
            continue
        if chart is not None:
            shown[name] = chart
    return shown


def table_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A W&B table with a column for each name in `rows`."""
    import wandb

    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[row.get(column) for column in columns] for row in rows]
    return wandb.Table(columns=columns, data=cells, allow_mixed_types=True)


def flat(entry: Mapping[str, Any]) -> dict[str, Scalar]:
    """A leaderboard entry as table cells: a column for each parameter, lists as JSON text."""
    cells: dict[str, Scalar] = {}
    for name, value in entry.items():
        if isinstance(value, Mapping):
            cells |= flat(value)
        else:
            cells[name] = json.dumps(value) if isinstance(value, list | tuple) else value
    return cells


# --- the charts ------------------------------------------------------------------------------------------


def _leaderboard(record: SearchRecord, entries: list[Entry]) -> Any:
    return table_of([flat(entry.to_json()) for entry in entries[:MOST_ROWS]]) if entries else None


def _curves(record: SearchRecord, entries: list[Entry]) -> Any:
    """The objective over training of the best trials, whatever became of them."""
    import wandb

    trials = [entry.trial for entry in entries if len(entry.trial.intermediate) > 1][:MOST_CURVES]
    if not trials:
        return None
    curves = [_thinned(sorted(trial.intermediate.items())) for trial in trials]
    return wandb.plot.line_series(
        xs=[[step for step, _ in curve] for curve in curves],
        ys=[[value for _, value in curve] for curve in curves],
        keys=[f"trial {trial.number}" for trial in trials],
        title=f"{record.metric} over training",
        xname="training",
    )


def _incumbent(record: SearchRecord, entries: list[Entry]) -> Any:
    """The best value so far over the hours that all trials together have taken."""
    import wandb

    steps = incumbent(record)
    if not steps:
        return None
    table = table_of([{"hours": hours, record.metric: value, "trial": number} for hours, value, number in steps])
    return wandb.plot.line(table, x="hours", y=record.metric, title=f"best {record.metric} so far")


def _folds(record: SearchRecord, entries: list[Entry]) -> Any:
    """The objective in each fold of the finished trials, best first."""
    import wandb

    rows = [
        {"rank": entry.rank, record.metric: value, record.fold_kind: index, "trial": entry.trial.number}
        for entry in entries
        if entry.rank is not None
        for index, value in enumerate(entry.trial.fold_values)
    ]
    if not rows:
        return None
    return wandb.plot.scatter(
        table_of(rows[:MOST_ROWS]), x="rank", y=record.metric, title=f"{record.metric} in each {record.fold_kind}"
    )


def _front(record: SearchRecord, entries: list[Entry]) -> Any:
    """The first objective against the second."""
    import wandb

    if len(record.objectives) < 2:
        return None
    x, y = (objective.name for objective in record.objectives[:2])
    rows = [
        {x: trial.values[0], y: trial.values[1], "front": entry.rank, "trial": trial.number}
        for entry in entries
        if len((trial := entry.trial).values) > 1
    ]
    return wandb.plot.scatter(table_of(rows[:MOST_ROWS]), x=x, y=y, title=f"{x} against {y}") if rows else None


def _importance(record: SearchRecord, entries: list[Entry]) -> Any:
    """What each parameter had of the variance of the objective."""
    import wandb

    from analysis.importance import importances

    found = sorted(importances(record).parameters, key=lambda each: -each.share)
    if not found:
        return None
    rows = [{"parameter": each.name, "importance": each.share} for each in found]
    return wandb.plot.bar(table_of(rows), "parameter", "importance", title=f"importance for {record.metric}")


def _parallel(record: SearchRecord, entries: list[Entry]) -> Any:
    """Parallel coordinates, of which W&B has a panel but no chart that a run could log."""
    import wandb

    from analysis.plots import PLOTS
    from analysis.plotting.style import NothingToPlot

    try:
        return wandb.Plotly(PLOTS["parallel"](record))
    except NothingToPlot:
        return None


CHARTS: dict[str, Callable[[SearchRecord, list[Entry]], Any]] = {
    "leaderboard": _leaderboard,
    "charts/curves": _curves,
    "charts/incumbent": _incumbent,
    "charts/importance": _importance,
    "charts/parallel": _parallel,
    "charts/folds": _folds,
    "charts/front": _front,
}
"""Name in W&B -> what makes it; None where there is nothing to show."""


# --- details ---------------------------------------------------------------------------------------------


def incumbent(record: SearchRecord) -> list[tuple[float, float, int]]:
    """(hours of all trials so far, best value so far, its trial) at the end of each finished trial."""
    sign = Objective(name=record.metric, mode=record.mode).sign
    hours, best, steps = 0.0, None, []
    for trial in sorted(record.trials, key=_ended_at):
        hours += (trial.seconds or 0.0) * trial.own_share / 3600
        if trial.state == "COMPLETE" and trial.value is not None:
            if best is None or sign * trial.value < sign * best[0]:
                best = (trial.value, trial.number)
            steps.append((hours, *best))
    return _thinned(steps)


def _ended_at(trial: TrialRecord) -> tuple[float, int]:
    return float(trial.clock.get("ended_at", 0.0)), trial.number


def _thinned(points: list[Any]) -> list[Any]:
    """At most `MOST_POINTS` of them, the last included."""
    if len(points) <= MOST_POINTS:
        return points
    last = len(points) - 1
    return [points[round(index * last / (MOST_POINTS - 1))] for index in range(MOST_POINTS)]

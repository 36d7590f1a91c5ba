"""Panels of W&B's own for what a search has shown, by section. The saved workspace and the report show the same ones.

Knows what runs have (metrics, parameters, tables), and no server.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.leaderboard import leaderboard
from analysis.records import SearchRecord
from analysis.wandb_charts import CHARTS
from analysis.wording import short_names

_AXES = {"epochs": "progress/epoch", "steps": "progress/step", "tokens": "progress/tokens"}
_MOST_COLUMNS = 12
"""Of parallel coordinates: more cannot be told apart."""
_MOST_SYSTEM_PANELS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelSection:
    """Panels that belong together."""

    name: str
    """What a person reads above them."""
    words: str
    """What they show, in a sentence."""
    of_search: Sequence[Any] = ()
    """Panels of what the search's own run has: tables and charts."""
    of_trials: Sequence[Any] = ()
    """Panels over the runs of the trials."""

    @property
    def panels(self) -> list[Any]:
        """All of them."""
        return [*self.of_search, *self.of_trials]


def panel_sections(record: SearchRecord) -> list[PanelSection]:
    """All sections that have something to show."""
    sections = [
        _leaderboard(record),
        _curves(record),
        _importance(record),
        _parallel_coordinates(record),
        _folds(record),
        _front(record),
        _system(record),
    ]
    return [section for section in sections if section is not None]


def parameters(record: SearchRecord) -> list[str]:
    """Paths that at least two trials have different values for: what a panel can show."""
    values: dict[str, set[str]] = {}
    for trial in record.trials:
        for path, value in trial.params.items():
            values.setdefault(path, set()).add(repr(value))
    return [path for path, different in values.items() if len(different) > 1]


# --- the sections ----------------------------------------------------------------------------------------


def _leaderboard(record: SearchRecord) -> PanelSection:
    import wandb_workspaces.reports.v2 as wr

    return PanelSection(
        name="Leaderboard",
        words=f"All trials, best {record.metric} first; only those that trained to their end have a rank.",
        of_search=[
            wr.WeavePanelSummaryTable(table_name="leaderboard", layout=wr.Layout(w=24, h=14)),
            *_chart(record, "charts/incumbent", fields={"x": "hours", "y": record.metric}, kind="wandb/line/v0"),
        ],
    )


def _curves(record: SearchRecord) -> PanelSection | None:
    import wandb_workspaces.reports.v2 as wr

    known = _names(record)
    shown = [name for name in (record.metric, "eval/loss", "train/loss", "train/learning_rate") if name in known]
    axis = _AXES[record.unit]
    panels = [wr.LinePlot(x=axis, y=[name], title=name, layout=wr.Layout(w=12, h=8)) for name in dict.fromkeys(shown)]
    return (
        PanelSection(name="Learning curves", words=f"Metrics over {record.unit}.", of_trials=panels) if panels else None
    )


def _importance(record: SearchRecord) -> PanelSection | None:
    import wandb_workspaces.reports.v2 as wr

    if not parameters(record):
        return None
    return PanelSection(
        name="Importance",
        words=f"Which parameters {record.metric} depended on. The panel over the trials is W&B's own estimate.",
        of_search=_chart(
            record, "charts/importance", fields={"label": "parameter", "value": "importance"}, kind="wandb/bar/v0"
        ),
        of_trials=[wr.ParameterImportancePlot(with_respect_to=record.metric, layout=wr.Layout(w=24, h=10))],
    )


def _parallel_coordinates(record: SearchRecord) -> PanelSection | None:
    import wandb_workspaces.reports.v2 as wr

    paths = parameters(record)[:_MOST_COLUMNS]
    if not paths:
        return None
    names = short_names(paths)
    columns = [
        wr.ParallelCoordinatesPlotColumn(wr.Config(path), display_name=names[path], log=_is_log(record, path))
        for path in paths
    ]
    goals = [objective.name for objective in record.objectives] or [record.metric]
    columns += [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(name), display_name=name) for name in goals]
    return PanelSection(
        name="Parallel coordinates",
        words="Each line is a trial, from its parameters to what it reached.",
        of_trials=[wr.ParallelCoordinatesPlot(columns=columns, layout=wr.Layout(w=24, h=12))],
    )


def _folds(record: SearchRecord) -> PanelSection | None:
    panels = _chart(record, "charts/folds", fields={"x": "rank", "y": record.metric}, kind="wandb/scatter/v0")
    if not panels:
        return None
    kind = record.fold_kind
    return PanelSection(name=f"{kind.capitalize()}s", words=f"{record.metric} in each {kind}.", of_search=panels)


def _front(record: SearchRecord) -> PanelSection | None:
    import wandb_workspaces.reports.v2 as wr

    if len(record.objectives) < 2:
        return None
    x, y = (objective.name for objective in record.objectives[:2])
    return PanelSection(
        name="Front",
        words=f"{x} against {y}: trials that no other is better than in every respect have rank 1.",
        of_search=_chart(record, "charts/front", fields={"x": x, "y": y}, kind="wandb/scatter/v0"),
        of_trials=[wr.ScatterPlot(x=wr.SummaryMetric(x), y=wr.SummaryMetric(y), layout=wr.Layout(w=12, h=10))],
    )


def _system(record: SearchRecord) -> PanelSection | None:
    import wandb_workspaces.reports.v2 as wr

    names = sorted(name for name in _names(record) if name.startswith("system/") or name == "train/tokens_per_second")
    panels = [
        wr.LinePlot(x="progress/step", y=[name], title=name, layout=wr.Layout(w=8, h=6))
        for name in names[:_MOST_SYSTEM_PANELS]
    ]
    return PanelSection(name="System", words="Speed, memory and energy.", of_trials=panels) if panels else None


# --- details ---------------------------------------------------------------------------------------------


def _chart(record: SearchRecord, key: str, *, fields: dict[str, str], kind: str) -> list[Any]:
    """A native chart over a table that the search's own run has; none where there was nothing to show."""
    import wandb_workspaces.reports.v2 as wr

    if key not in CHARTS or CHARTS[key](record, leaderboard(record)) is None:
        return []
    panel = wr.CustomChart.from_table(f"{key}_table", chart_fields=fields, chart_strings={"title": key.split("/")[-1]})
    panel.chart_name = kind
    panel.layout = wr.Layout(w=12, h=8)
    return [panel]


def _names(record: SearchRecord) -> set[str]:
    """Metrics that the best trial, or else the first one with a history, has logged."""
    numbers = ([record.best.number] if record.best else []) + [trial.number for trial in record.trials[:5]]
    for number in numbers:
        if found := _names_in(record.history_of(number)):
            return found
    return set(record.best.metrics) | {record.metric} if record.best else {record.metric}


def _names_in(rows: Iterable[Any]) -> set[str]:
    return {name for row in rows for name, value in row.items() if "/" in name and isinstance(value, int | float)}


def _is_log(record: SearchRecord, path: str) -> bool:
    """Whether a log axis shows it better: positive numbers over more than two decades."""
    values = [trial.params.get(path) for trial in record.trials if path in trial.params]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) and min(numbers, default=0) > 0 and max(numbers) > 100 * min(numbers)

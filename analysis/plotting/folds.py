"""How the values of folds, or of seeds, spread within each configuration."""

import plotly.graph_objects as go

from analysis.leaderboard import leaderboard
from analysis.plotting.style import BLUE, GREEN, NothingToPlot, figure, note, value_axis
from analysis.records import SearchRecord

_SHOWN = 20


def folds(record: SearchRecord) -> go.Figure:
    """The folds of the best trials, their means, and where the means lie with 95% confidence."""
    entries = [entry for entry in leaderboard(record) if entry.rank is not None and len(entry.trial.fold_values) > 1]
    if not entries:
        raise NothingToPlot("no finished trial has several folds or seeds.")
    shown = entries[:_SHOWN]
    labels = [f"trial {entry.trial.number}" for entry in shown]
    made = figure(height=400)
    num_folds = max(len(entry.trial.fold_values) for entry in shown)
    x, y, text = [], [], []
    for label, entry in zip(labels, shown, strict=True):
        for index, value in enumerate(entry.trial.fold_values):
            x.append(label)
            y.append(value)
            text.append(f"{record.fold_kind} {index} of {label}: {value:.4g}")
    made.add_scatter(
        x=x, y=y, text=text, mode="markers", name=record.fold_kind, hovertemplate="%{text}<extra></extra>",
        marker={"color": BLUE, "opacity": 0.65, "size": 8},
    )  # fmt: skip
    means = [sum(entry.trial.fold_values) / len(entry.trial.fold_values) for entry in shown]
    halves = [(entry.interval[1] - entry.interval[0]) / 2 if entry.interval else 0.0 for entry in shown]
    made.add_scatter(
        x=labels, y=means, mode="markers", name="mean and 95% interval", hovertemplate="%{x}: %{y:.4g}<extra></extra>",
        marker={"color": GREEN, "symbol": "line-ew-open", "size": 18, "line": {"width": 3}},
        error_y={"type": "data", "array": halves, "thickness": 1.5, "color": GREEN},
    )  # fmt: skip
    made.update_xaxes(title="trials, best first", type="category")
    made.update_yaxes(**value_axis(record, y))
    if len(entries) > len(shown):
        note(made, f"The best {len(shown)} of {len(entries)} finished trials, {num_folds} {record.fold_kind}s each.")
    return made

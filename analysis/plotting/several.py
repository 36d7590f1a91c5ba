"""Several objectives: the front, and how much it covers."""

import itertools
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.importance import finished
from analysis.pareto import front_of_each
from analysis.plotting.style import BLUE, GREEN, NothingToPlot, about, figure, note, styled
from analysis.records import SearchRecord, TrialRecord

_MAX_STEPS = 200


def pareto(record: SearchRecord) -> go.Figure:
    """Finished trials by pairs of objectives; the front is what no trial is better than in every respect."""
    trials = _measured(record)
    objectives = record.objectives
    fronts = front_of_each([trial.values for trial in trials], objectives)
    pairs = list(itertools.combinations(range(len(objectives)), 2))[:3]
    made = make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.1)
    styled(made, height=430)
    for column, (first, second) in enumerate(pairs, start=1):
        for is_front, name, color in ((False, "other trials", BLUE), (True, "front", GREEN)):
            found = [trial for trial, front in zip(trials, fronts, strict=True) if (front == 1) == is_front]
            found.sort(key=lambda trial: trial.values[first])
            if not found:
                continue
            joined = is_front and len(objectives) == 2
            made.add_trace(
                go.Scatter(
                    x=[trial.values[first] for trial in found], y=[trial.values[second] for trial in found],
                    text=[_about(trial, record) for trial in found],
                    name=name, legendgroup=name, showlegend=column == 1,
                    mode="lines+markers" if joined else "markers", hovertemplate="%{text}<extra></extra>",
                    line={"shape": _corner(record, first), "color": color, "width": 1.5, "dash": "dot"},
                    marker={
                        "color": color, "size": 11 if is_front else 7, "symbol": "star" if is_front else "circle",
                        "opacity": 1 if is_front else 0.6,
                    },
                ),
                row=1, col=column,
            )  # fmt: skip
        for update, index in ((made.update_xaxes, first), (made.update_yaxes, second)):
            name = objectives[index].name
            better = "lower" if objectives[index].mode == "min" else "higher"
            update(title=f"{escape(name)} ({better} is better)", row=1, col=column)
    note(made, f"{sum(front == 1 for front in fronts)} of {len(trials)} finished trials are on the front.")
    return made


def hypervolume(record: SearchRecord) -> go.Figure:
    """How much of the space of objectives the front covers, trial by trial; 1 would be the best of each at once."""
    trials = _measured(record)
    covered = hypervolumes([trial.values for trial in trials], [objective.sign for objective in record.objectives])
    made = figure(height=340)
    made.add_scatter(
        x=[trials[index].number for index, _ in covered], y=[volume for _, volume in covered],
        mode="lines", line={"shape": "hv", "color": GREEN, "width": 2.5}, showlegend=False,
        hovertemplate="after trial %{x}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    made.update_xaxes(title="trial")
    made.update_yaxes(title="share covered by the front", rangemode="tozero")
    note(made, "Each objective is scaled from the worst value of all finished trials (0) to the best (1).")
    return made


def hypervolumes(values: Sequence[Sequence[float]], signs: Sequence[float]) -> list[tuple[int, float]]:
    """(index, share of the box between the worst and the best of each objective that is covered by then)."""
    import numpy as np
    from optuna._hypervolume import compute_hypervolume  # Optuna's public form draws, and takes a study

    points = np.asarray(values, dtype=float) * np.asarray(signs)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    corner = np.ones(points.shape[1])
    every = max(1, len(points) // _MAX_STEPS)
    steps = sorted({*range(0, len(points), every), len(points) - 1})
    return [(step, float(compute_hypervolume(scaled[: step + 1], corner))) for step in steps]


def _measured(record: SearchRecord) -> list[TrialRecord]:
    if not record.objectives:
        raise NothingToPlot("this search has one objective only.")
    trials = [trial for trial in finished(record) if len(trial.values) == len(record.objectives)]
    if not trials:
        raise NothingToPlot("no trial has finished.")
    return trials


def _corner(record: SearchRecord, first: int) -> str:
    """How the line between two points of a front bends: what lies between them is not reached."""
    return "hv" if record.objectives[first].mode == "min" else "vh"


def _about(trial: TrialRecord, record: SearchRecord) -> str:
    named = zip(record.objectives, trial.values, strict=True)
    return "<br>".join([about(trial, record), *(f"{escape(each.name)}: {value:.4g}" for each, value in named)])

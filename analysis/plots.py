"""PLOTS: every figure of a search by name. A figure is drawn from its record alone, wherever that was read from."""

from collections.abc import Callable

import plotly.graph_objects as go

from analysis.plotting.costs import costs, timeline
from analysis.plotting.folds import folds
from analysis.plotting.importance import importance, interactions, path_to_best
from analysis.plotting.progress import curves, incumbent, incumbent_over_cost, incumbent_over_time, rungs
from analysis.plotting.several import hypervolume, pareto
from analysis.plotting.shape import contour, parallel, rank, slices
from analysis.plotting.style import NothingToPlot
from analysis.records import SearchRecord

Plot = Callable[[SearchRecord], go.Figure]

PLOTS: dict[str, Plot] = {
    "incumbent": incumbent,
    "incumbent_over_time": incumbent_over_time,
    "incumbent_over_cost": incumbent_over_cost,
    "pareto": pareto,
    "hypervolume": hypervolume,
    "curves": curves,
    "rungs": rungs,
    "folds": folds,
    "importance": importance,
    "interactions": interactions,
    "path_to_best": path_to_best,
    "slices": slices,
    "contour": contour,
    "parallel": parallel,
    "rank": rank,
    "timeline": timeline,
    "costs": costs,
}
"""Each raises NothingToPlot, a SpecError, where a search has nothing that it could show."""


def drawn(record: SearchRecord) -> dict[str, go.Figure]:
    """All figures that have something to show, by name, in order."""
    figures = {}
    for name, plot in PLOTS.items():
        try:
            figures[name] = plot(record)
        except NothingToPlot:
            continue
    return figures

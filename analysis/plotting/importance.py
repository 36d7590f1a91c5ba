"""Which parameters mattered, with intervals; what they do together; the way from a start to the best."""

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from analysis.ablation import ablation
from analysis.importance import compared_trials, importances
from analysis.plotting.style import BLUE, FAINT, GREEN, ORANGE, PURPLE, TEXT, NothingToPlot, clipped, figure, note
from analysis.records import SearchRecord

_MAX_BARS = 15


def importance(record: SearchRecord) -> go.Figure:
    """Shares of the variance, with intervals, beside what a made-up parameter gets."""
    told = importances(record)
    if told.why_not is not None:
        raise NothingToPlot(told.why_not)
    shown = told.parameters[:_MAX_BARS][::-1]
    names = [escape(each.name) for each in shown]
    made = figure(height=130 + 44 * len(shown), barmode="overlay", bargap=0.35)
    for matters, name, color in (
        (True, "share of the variance (fANOVA)", BLUE),
        (False, "no more than a made-up parameter", FAINT),
    ):
        found = [each for each in shown if each.matters == matters]
        if found:
            made.add_bar(
                x=[each.share for each in found], y=[escape(each.name) for each in found], orientation="h", name=name,
                marker={"color": color}, error_x=_bars([(each.share, each.interval) for each in found]),
                hovertemplate="%{y}: %{x:.0%}<extra></extra>",
            )  # fmt: skip
    if any(each.to_be_best is not None for each in shown):
        made.add_scatter(
            x=[each.to_be_best for each in shown], y=names, mode="markers", name="to be among the best (PED-ANOVA)",
            marker={"symbol": "diamond", "size": 10, "color": PURPLE},
            hovertemplate="%{y}: %{x:.0%} of what it takes to be among the best<extra></extra>",
        )  # fmt: skip
    made.add_vline(x=told.made_up, line={"dash": "dot", "color": ORANGE})
    made.update_xaxes(title="share", tickformat=".0%", rangemode="tozero")
    made.update_yaxes(categoryorder="array", categoryarray=names)
    note(
        made,
        f"{compared_trials(record).words(record)}. Bars end in 95% intervals. Dotted: what a made-up parameter gets.",
    )
    return made


def interactions(record: SearchRecord) -> go.Figure:
    """What pairs of parameters do together and neither does alone."""
    told = importances(record)
    if told.why_not is not None or not told.interactions:
        raise NothingToPlot(told.why_not or "only one parameter varies.")
    shown = told.interactions[:_MAX_BARS][::-1]
    made = figure(height=130 + 34 * len(shown))
    made.add_bar(
        x=[pair.share for pair in shown], y=[escape(" × ".join(pair.names)) for pair in shown], orientation="h",
        marker={"color": [BLUE if pair.matters else FAINT for pair in shown]},
        error_x=_bars([(pair.share, pair.interval) for pair in shown]),
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )  # fmt: skip
    digits = 0 if max(pair.interval[1] for pair in shown) > 0.05 else 1
    made.update_xaxes(title="share of the variance", tickformat=f".{digits}%", rangemode="tozero")
    note(made, "Grey: no more than pairs with a made-up parameter get.")
    return made


def path_to_best(record: SearchRecord) -> go.Figure:
    """Which change brought how much, from a start to the best configuration, as the model of the search expects it."""
    found = ablation(record)
    if isinstance(found, str):
        raise NothingToPlot(found)
    labels = [escape(found.start), *(f"{escape(step.name)} → {escape(clipped(step.to, 20))}" for step in found.steps)]
    expected = [found.start_value, *(step.value for step in found.steps)]
    spans = [(found.start_value, (found.start_value, found.start_value))]
    made = figure(height=120 + 46 * len(labels))
    made.add_scatter(
        x=expected, y=labels, mode="lines+markers", line={"color": GREEN, "shape": "vh", "width": 2},
        hovertemplate="%{y}: %{x:.4g} expected<extra></extra>", marker={"size": 9}, showlegend=False,
        error_x=_bars([*spans, *((step.value, step.interval) for step in found.steps)]),
    )  # fmt: skip
    made.update_yaxes(type="category", autorange="reversed")
    made.update_xaxes(title=f"{escape(record.metric)}, expected")
    note(made, "Each step changes one more parameter, the one that helps most. Expected by the model, not trained.")
    return made


def _bars(spans: Sequence[tuple[float, tuple[float, float]]]) -> dict[str, Any]:
    """Error bars for values with their intervals."""
    return {
        "type": "data", "symmetric": False, "thickness": 1.3, "color": TEXT,
        "array": [max(high - value, 0.0) for value, (_, high) in spans],
        "arrayminus": [max(value - low, 0.0) for value, (low, _) in spans],
    }  # fmt: skip

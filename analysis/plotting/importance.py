"""Which parameters mattered, with intervals; what they do together; the way from a start to the best."""

from html import escape

import plotly.graph_objects as go

from analysis.ablation import ablation
from analysis.importance import compared_trials, importances
from analysis.plotting.style import BLUE, FAINT, GREEN, ORANGE, PURPLE, NothingToPlot, figure, note
from analysis.records import SearchRecord
from analysis.wording import show_metric

_MAX_BARS = 15


def importance(record: SearchRecord) -> go.Figure:
    """Shares of the variance, with intervals, beside what a made-up parameter gets."""
    told = importances(record)
    if told.why_not is not None:
        raise NothingToPlot(told.why_not)
    shown = told.parameters[:_MAX_BARS][::-1]
    names = [escape(each.name) for each in shown]
    made = figure(height=130 + 44 * len(shown), barmode="group", bargap=0.35)
    made.add_bar(
        x=[each.share for each in shown], y=names, orientation="h", name="share of the variance (fANOVA)",
        marker={"color": [BLUE if each.matters else FAINT for each in shown]},
        error_x={
            "type": "data", "symmetric": False, "thickness": 1.3,
            "array": [max(each.interval[1] - each.share, 0.0) for each in shown],
            "arrayminus": [max(each.share - each.interval[0], 0.0) for each in shown],
        },
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
        error_x={
            "type": "data", "symmetric": False, "thickness": 1.3,
            "array": [max(pair.interval[1] - pair.share, 0.0) for pair in shown],
            "arrayminus": [max(pair.share - pair.interval[0], 0.0) for pair in shown],
        },
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )  # fmt: skip
    made.update_xaxes(title="share of the variance", tickformat=".0%", rangemode="tozero")
    note(made, "Grey: no more than pairs with a made-up parameter get.")
    return made


def path_to_best(record: SearchRecord) -> go.Figure:
    """Which change brought how much, from a start to the best configuration, as the model of the search expects it."""
    found = ablation(record)
    if isinstance(found, str):
        raise NothingToPlot(found)
    labels = [escape(found.start), *(escape(f"{step.name} → {step.to}") for step in found.steps)]
    expected = [found.start_value, *(step.value for step in found.steps)]
    made = figure(height=400)
    made.add_scatter(
        x=labels, y=expected, mode="lines+markers+text", line={"color": GREEN, "shape": "hv", "width": 2},
        text=[show_metric(value) for value in expected], textposition="top center", cliponaxis=False,
        hovertemplate="%{x}: %{y:.4g} expected<extra></extra>", marker={"size": 9}, showlegend=False,
        error_y={
            "type": "data", "symmetric": False, "thickness": 1.2, "color": FAINT,
            "array": [0.0, *(max(step.interval[1] - step.value, 0.0) for step in found.steps)],
            "arrayminus": [0.0, *(max(step.value - step.interval[0], 0.0) for step in found.steps)],
        },
    )  # fmt: skip
    made.update_xaxes(type="category")
    made.update_yaxes(title=f"{escape(record.metric)}, expected")
    note(made, "Each step changes one more parameter, the one that helps most (ablation). Of the model, not of trials.")
    return made

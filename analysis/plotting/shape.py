"""How the objective depends on the parameters, as trials show it: slices, pairs, all at once."""

import itertools
import math
from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.axes import Axis, axes_of
from analysis.importance import Importances, compared_trials, finished, fit, importances
from analysis.plotting.style import (
    BLUE,
    FAINT,
    ORANGE,
    RED,
    SCALE,
    STATE_SYMBOLS,
    NothingToPlot,
    about,
    along,
    axis_layout,
    mark_best,
    note,
    styled,
    value_axis,
)
from analysis.records import SearchRecord, TrialRecord
from analysis.wording import STATE_WORDS

_MAX_SLICES, _MAX_PAIRS, _MAX_DIMENSIONS = 9, 3, 10
_COLUMNS = 3
_MAX_POINTS = 1000


def slices(record: SearchRecord) -> go.Figure:
    """The objective over each parameter. Stopped trials are open, failed ones crosses at the worse end."""
    axes = _by_importance(record)[:_MAX_SLICES]
    trials, left_out = _newest_and_best(record)
    values = [value for trial in trials if (value := _value(trial)) is not None]
    if not axes or not values:
        raise NothingToPlot("no two trials with values differ in a parameter.")
    rows = math.ceil(len(axes) / _COLUMNS)
    columns = min(len(axes), _COLUMNS)
    made = make_subplots(
        rows=rows, cols=columns, shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.3 / rows
    )
    styled(made, height=max(320, 270 * rows + 60))
    worst = max(values) if record.mode == "min" else min(values)
    best = record.best
    for index, axis in enumerate(axes):
        where = {"row": index // columns + 1, "col": index % columns + 1}
        for state, color in (("PRUNED", ORANGE), ("COMPLETE", BLUE), ("FAIL", RED)):
            found = [trial for trial in trials if trial.state == state and axis.path in trial.params]
            if state != "FAIL":
                found = [trial for trial in found if _value(trial) is not None]
            if found:
                made.add_trace(
                    go.Scatter(
                        x=along(axis, [trial.params[axis.path] for trial in found]),
                        y=[worst if state == "FAIL" else _value(trial) for trial in found],
                        text=[about(trial, record) for trial in found],
                        mode="markers", name=STATE_WORDS[state], legendgroup=state, showlegend=index == 0,
                        hovertemplate="%{text}<extra></extra>",
                        marker={
                            "color": color, "symbol": STATE_SYMBOLS[state], "opacity": 0.75, "size": 7,
                            "line": {"width": 1.5, "color": color},
                        },
                    ),
                    **where,
                )  # fmt: skip
        if best is not None and axis.path in best.params:
            x = along(axis, [best.params[axis.path]])[0]
            mark_best(made, x, best.value, about(best, record), showlegend=index == 0, **where)
        made.update_xaxes(**axis_layout(axis), **where)
        made.update_yaxes(**value_axis(record, values), **where)
        if index % columns:
            made.update_yaxes(title=None, **where)
    for row in range(2, rows + 1):
        made.update_yaxes(title=escape(record.metric), row=row, col=1)
    made.update_yaxes(title=escape(record.metric), row=1, col=1)
    if any(trial.state == "PRUNED" for trial in trials):
        note(made, "Trials that were stopped show their last value, after less training than finished ones.")
    if left_out:
        note(made, f"A sample: {left_out:,} trials are left out.")
    return made


def contour(record: SearchRecord) -> go.Figure:
    """What the model of the search expects over the two parameters that matter most, and where trials were."""
    import numpy as np

    fitted = fit(record)
    if isinstance(fitted, str):
        raise NothingToPlot(fitted)
    told = importances(record)
    if told.why_not is not None or len(fitted.axes) < 2:
        raise NothingToPlot(told.why_not or "only one parameter varies.")
    paths = told.interactions[0].paths if _is_strong(told) else tuple(each.path for each in told.parameters[:2])
    first, second = (next(i for i, axis in enumerate(fitted.axes) if axis.path == path) for path in paths)
    x, y = fitted.axes[first], fitted.axes[second]
    shape = np.mean(fitted.surrogate.shape(first, second), axis=0).T
    made = styled(go.Figure(), height=460)
    is_better_low = record.mode == "min"
    is_smooth = not (x.is_choice or y.is_choice)
    x_text, y_text = ("%{x:.4g}", "%{y:.4g}") if is_smooth else ("%{x}", "%{y}")
    fill: dict[str, Any] = {
        "x": along(x, _middles(x)), "y": along(y, _middles(y)), "z": shape, "colorscale": SCALE,
        "reversescale": is_better_low, "colorbar": {"title": {"text": escape(record.metric), "side": "right"}},
        "hovertemplate": f"{escape(x.name)} {x_text}, {escape(y.name)} {y_text}: %{{z:.4g}} expected<extra></extra>",
    }  # fmt: skip
    if is_smooth:
        made.add_contour(**fill, ncontours=14, line={"width": 0.4, "color": FAINT})
    else:
        made.add_heatmap(**fill)
    shown = [trial for trial in fitted.trials if x.path in trial.params and y.path in trial.params][:_MAX_POINTS]
    made.add_scatter(
        x=along(x, [trial.params[x.path] for trial in shown]), y=along(y, [trial.params[y.path] for trial in shown]),
        text=[about(trial, record) for trial in shown], mode="markers", name="trial",
        hovertemplate="%{text}<extra></extra>",
        marker={"color": "rgba(20,20,20,0.75)", "size": 6, "line": {"width": 1, "color": "white"}},
    )  # fmt: skip
    best = record.best
    if best is not None and x.path in best.params and y.path in best.params:
        where = (along(x, [best.params[x.path]])[0], along(y, [best.params[y.path]])[0])
        mark_best(made, *where, about(best, record))
    made.update_xaxes(**axis_layout(x))
    made.update_yaxes(**axis_layout(y))
    note(made, "Expected by a model of the search, all other parameters averaged; where no dots are it guesses.")
    return made


def parallel(record: SearchRecord) -> go.Figure:
    """Every finished trial as a line through its parameters, the best in blue; stretches of axes can be selected."""
    trials = finished(record)
    axes = [axis for axis in _by_importance(record) if all(axis.path in trial.params for trial in trials)]
    axes = axes[: _MAX_DIMENSIONS - 1]
    if len(trials) < 2 or not axes:
        raise NothingToPlot("it takes two finished trials that differ in a parameter that all have.")
    values = [float(trial.value or 0.0) for trial in trials]
    made = styled(go.Figure(), height=420)
    # By rank: one trial that went astray would leave all others the same colour.
    order = sorted(range(len(values)), key=lambda index: values[index], reverse=record.mode == "min")
    ranks = [0.0] * len(values)
    for rank, index in enumerate(order):
        ranks[index] = rank / max(len(values) - 1, 1)
    made.add_parcoords(
        line={"color": ranks, "colorscale": SCALE, "cmin": 0, "cmax": 1},
        dimensions=[*(_dimension(axis, trials) for axis in axes), {"label": escape(record.metric), "values": values}],
        labelangle=-20 if len(axes) > 4 else 0,
        unselected={"line": {"opacity": 0.06}},
    )
    made.update_layout(margin={"l": 70, "r": 50, "t": 90 if len(axes) > 4 else 60, "b": 20})
    return made


def _dimension(axis: Axis, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    values = [trial.params[axis.path] for trial in trials]
    label = escape(axis.name)
    if axis.is_choice:
        shown = [axis.show(choice) for choice in axis.choices]
        places = [shown.index(axis.show(value)) for value in values]
        return {
            "label": label, "values": places, "tickvals": list(range(len(shown))),
            "ticktext": [escape(text)[:18] for text in shown], "range": [-0.2, len(shown) - 0.8],
        }  # fmt: skip
    if axis.is_log:
        low, high = math.log10(axis.low), math.log10(axis.high)
        marks = range(math.ceil(low), math.floor(high) + 1)
        ticks = [float(mark) for mark in marks] if len(marks) > 1 else [low, (low + high) / 2, high]
        return {
            "label": label, "values": [math.log10(value) for value in values], "range": [low, high],
            "tickvals": ticks, "ticktext": [f"{10**tick:.2g}" for tick in ticks],
        }  # fmt: skip
    return {"label": label, "values": values, "range": [axis.low, axis.high]}


def rank(record: SearchRecord) -> go.Figure:
    """Trials over pairs of parameters, coloured by rank among all that trained as long: where the best ones crowd."""
    compared = compared_trials(record)
    trials = list(zip(compared.values, compared.trials, strict=True))[:_MAX_POINTS]
    axes = _by_importance(record)[:_MAX_PAIRS]
    if len(trials) < 3 or len(axes) < 2:
        raise NothingToPlot("it takes three trials that compare, and two parameters.")
    pairs = list(itertools.combinations(axes, 2))
    made = make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.12)
    styled(made, height=360)
    ordered = [trial for _, trial in sorted(trials, key=lambda each: each[0], reverse=record.mode == "max")]
    place = {trial.number: index / max(len(ordered) - 1, 1) for index, trial in enumerate(ordered)}
    for index, (x, y) in enumerate(pairs):
        # The best on top.
        shown = [trial for trial in reversed(ordered) if x.path in trial.params and y.path in trial.params]
        made.add_trace(
            go.Scatter(
                x=along(x, [trial.params[x.path] for trial in shown]),
                y=along(y, [trial.params[y.path] for trial in shown]),
                text=[about(trial, record) for trial in shown], mode="markers", showlegend=False,
                hovertemplate="%{text}<extra></extra>",
                marker={
                    "color": [1 - place[trial.number] for trial in shown], "cmin": 0, "cmax": 1, "colorscale": SCALE,
                    "size": 9, "line": {"width": 0.5, "color": FAINT}, "showscale": index == len(pairs) - 1,
                    "colorbar": {"tickvals": [0, 1], "ticktext": ["worst", "best"], "thickness": 12},
                },
            ),
            row=1, col=index + 1,
        )  # fmt: skip
        made.update_xaxes(**axis_layout(x), row=1, col=index + 1)
        made.update_yaxes(**axis_layout(y), row=1, col=index + 1)
    note(made, f"{compared.words(record)}.")
    return made


def _by_importance(record: SearchRecord) -> list[Axis]:
    """Parameters that vary, the most important first where that can be said."""
    told = importances(record)
    places = {each.path: place for place, each in enumerate(told.parameters)}
    return sorted(axes_of(record), key=lambda axis: places.get(axis.path, len(places)))


def _is_strong(told: Importances) -> bool:
    return bool(told.interactions) and told.interactions[0].matters and told.interactions[0].share >= 0.05


def _newest_and_best(record: SearchRecord) -> tuple[list[TrialRecord], int]:
    """Trials that a slice shows, and how many are left out."""
    from random import Random

    trials = [trial for trial in record.current if trial.state != "RUNNING"]
    if len(trials) <= _MAX_POINTS:
        return trials, 0
    return Random(0).sample(trials, _MAX_POINTS), len(trials) - _MAX_POINTS


def _value(trial: TrialRecord) -> float | None:
    return trial.value if trial.state == "COMPLETE" else trial.last_value


def _middles(axis: Axis) -> list[Any]:
    return [axis.at((cell + 0.5) / axis.num_cells) for cell in range(axis.num_cells)]

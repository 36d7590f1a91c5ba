"""How all figures look, and what their points say. Readable on a light and on a dark page: no colour of a background.

Colours are those of Okabe and Ito (2008), a little shifted so that each has a contrast of about 3:1 with white and with
near black; a shape says the same as a colour, so that nobody has to tell them apart.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from analysis.axes import Axis
from analysis.records import SearchRecord, TrialRecord
from analysis.wording import STATE_WORDS, short_names, show_metric, show_value
from spaces.errors import SpecError

TEXT = "#757b85"
"""Of all texts in a figure: a grey that both pages leave readable. A report sets the page's own colour."""
GRID = "rgba(128,128,128,0.22)"
FAINT = "rgba(128,128,128,0.45)"
BLUE, ORANGE, RED, GREEN, SKY, PURPLE = "#2b83c6", "#d28a10", "#d0532c", "#0f9a72", "#4aa6dc", "#b0649b"
NOTE_HEIGHT = 20
"""What a sentence above a figure takes, in pixels."""
SCALE = [[0.0, "#d28a10"], [0.5, "#8a8f98"], [1.0, "#2b83c6"]]
"""From bad to good."""
STATE_COLORS = {"COMPLETE": BLUE, "PRUNED": ORANGE, "FAIL": RED, "RUNNING": SKY}
STATE_SYMBOLS = {"COMPLETE": "circle", "PRUNED": "circle-open", "FAIL": "x-thin", "RUNNING": "diamond-open"}
_MAX_IN_HOVER = 12


class NothingToPlot(SpecError):
    """This search has nothing that such a plot could show. The message says what it would need."""


def figure(*, height: int = 380, **layout: Any) -> go.Figure:
    """An empty figure in our style."""
    made = go.Figure()
    styled(made, height=height, **layout)
    return made


def styled(made: go.Figure, *, height: int = 380, **layout: Any) -> go.Figure:
    """Our style put on a figure."""
    made.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": TEXT, "size": 13, "family": "system-ui, -apple-system, 'Segoe UI', sans-serif"},
        margin={"l": 64, "r": 20, "t": 20, "b": 52},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "bgcolor": "rgba(0,0,0,0)"},
        hoverlabel={"align": "left", "font": {"size": 12}},
        uniformtext={"minsize": 10, "mode": "hide"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": FAINT, "activecolor": TEXT},
        colorway=[BLUE, ORANGE, GREEN, PURPLE, SKY, RED],
        **layout,
    )
    made.update_xaxes(
        gridcolor=GRID, zeroline=False, linecolor=FAINT, ticks="outside", tickcolor=FAINT, automargin=True
    )
    made.update_yaxes(
        gridcolor=GRID, zeroline=False, linecolor=FAINT, ticks="outside", tickcolor=FAINT, automargin=True
    )
    return made


def note(made: go.Figure, text: str) -> None:
    """A sentence above the figure, after those that stand there. A report takes them into the caption."""
    before = made.layout.title.text
    lines = [*([before] if before else []), escape(text)]
    made.update_layout(
        title={
            "text": "<br>".join(lines), "font": {"size": 12}, "x": 0.01, "xanchor": "left",
            "yref": "container", "y": 0.985, "yanchor": "top",
        },
        margin={"t": made.layout.margin.t + NOTE_HEIGHT},
    )  # fmt: skip


def along(axis: Axis, values: Sequence[Any]) -> list[Any]:
    """`values` as the coordinates of a figure's axis."""
    return [axis.show(value) for value in values] if axis.is_choice else list(values)


def axis_layout(axis: Axis) -> dict[str, Any]:
    """What a figure's axis needs to show a parameter."""
    title = {"text": escape(axis.name)}
    if axis.is_choice:
        shown = [axis.show(choice) for choice in axis.choices]
        return {"title": title, "type": "category", "categoryorder": "array", "categoryarray": shown}
    if axis.is_log:
        return {"title": title, "type": "log", "exponentformat": "power", "dtick": _log_tick(axis)}
    if axis.is_integer and axis.high - axis.low <= 12:
        return {"title": title, "dtick": 1}
    return {"title": title}


def _log_tick(axis: Axis) -> Any:
    """Powers of ten only where there are enough of them."""
    return 1 if axis.high / axis.low >= 100 else None


def value_axis(record: SearchRecord, values: Sequence[float]) -> dict[str, Any]:
    """The objective's axis: on a log scale where its values are far apart."""
    is_log = bool(values) and min(values) > 0 and max(values) / min(values) > 100
    return {"title": {"text": escape(objective_title(record))}, **({"type": "log"} if is_log else {})}


def objective_title(record: SearchRecord) -> str:
    """The objective, and which way it is better."""
    return f"{record.metric} ({'lower' if record.mode == 'min' else 'higher'} is better)"


def about(trial: TrialRecord, record: SearchRecord) -> str:
    """What a point of `trial` says when it is pointed at."""
    value = trial.value if trial.state == "COMPLETE" else trial.last_value
    lines = [f"<b>trial {trial.number}</b>, {STATE_WORDS[trial.state]}"]
    if value is not None:
        lines.append(f"{escape(record.metric)}: {show_metric(value)}")
    names = short_names(list(trial.params))
    shown = list(trial.params.items())[:_MAX_IN_HOVER]
    lines += [f"{escape(names[path])}: {escape(clipped(show_value(value)))}" for path, value in shown]
    if len(trial.params) > len(shown):
        lines.append(f"and {len(trial.params) - len(shown)} more")
    if trial.error:
        lines.append(escape(clipped(trial.error, 80)))
    return "<br>".join(lines)


def clipped(text: str, most: int = 40) -> str:
    """`text`, cut where it is long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def mark_best(made: go.Figure, x: Any, y: Any, text: str, **where: Any) -> None:
    """A star at the best trial."""
    made.add_trace(
        go.Scatter(
            x=[x], y=[y], text=[text], mode="markers", name="best", hovertemplate="%{text}<extra></extra>",
            marker={"symbol": "star", "size": 15, "color": GREEN, "line": {"width": 1, "color": "white"}},
            showlegend=where.pop("showlegend", True), legendgroup="best",
        ),
        **where,
    )  # fmt: skip


def time_unit(seconds: float) -> tuple[float, str]:
    """What to divide seconds by, and the unit's name, for a span of `seconds`."""
    if seconds < 300:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")

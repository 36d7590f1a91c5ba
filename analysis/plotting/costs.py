"""What a search took, and when its workers waited."""

from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.plotting.style import STATE_COLORS, NothingToPlot, about, figure, note, styled, time_unit
from analysis.records import SearchRecord, TrialRecord
from analysis.wording import STATE_WORDS
from analysis.worker_time import shifts, worker_time

_MAX_LANES = 64
_MAX_NUMBERED = 120
_MAX_TOLD = 1000
"""Trials of which a bar says all; of more, it says only which trial it is."""


def timeline(record: SearchRecord) -> go.Figure:
    """Which worker ran which trial when; gaps are idle time, from the first step of a trial to its last report."""
    found = shifts(record)
    if not found:
        raise NothingToPlot("no trial of this search says when it ran.")
    time = worker_time(record)
    start = found[0].since
    unit, name = time_unit(time.span if time else 0.0)
    workers = list(dict.fromkeys(shift.process for shift in found))[:_MAX_LANES]
    lanes = {process: f"worker {index + 1}" for index, process in enumerate(workers)}
    found = [shift for shift in found if shift.process in lanes]
    is_crowded = len(found) > _MAX_TOLD
    made = figure(height=max(220, 120 + 34 * len(lanes)), barmode="overlay", bargap=0.25)
    for state, color in STATE_COLORS.items():
        of_state = [shift for shift in found if shift.trial.state == state]
        if of_state:
            made.add_bar(
                base=[(shift.since - start) / unit for shift in of_state],
                x=[(shift.until - shift.since) / unit for shift in of_state],
                y=[lanes[shift.process] for shift in of_state], orientation="h", name=STATE_WORDS[state],
                text=[str(shift.trial.number) if len(found) <= _MAX_NUMBERED else "" for shift in of_state],
                textposition="inside", insidetextanchor="middle", textfont={"color": "white"}, constraintext="inside",
                customdata=[
                    f"trial {shift.trial.number}, {STATE_WORDS[state]}" if is_crowded else about(shift.trial, record)
                    for shift in of_state
                ],
                hovertemplate="%{customdata}<br>%{x:.3g} " + name + "<extra></extra>",
                marker={"color": color, "line": {"width": 0 if is_crowded else 1, "color": "rgba(255,255,255,0.6)"}},
            )  # fmt: skip
    made.update_xaxes(title=f"{name} since the first step", rangemode="tozero")
    made.update_yaxes(autorange="reversed")
    if time is not None:
        note(made, f"Workers were idle for {time.idle_share:.0%} of their time; gaps show when.")
    return made


def costs(record: SearchRecord) -> go.Figure:
    """What finished, stopped and failed trials took: time, GPU-hours, energy, money."""
    hours = sum(trial.seconds or 0.0 for trial in record.trials)
    unit, name = time_unit(hours)
    quantities = {
        f"{name} of workers": [(trial, (trial.seconds or 0.0) / unit) for trial in record.trials],
        "GPU-hours": [(trial, trial.gpu_hours or 0.0) for trial in record.trials],
        "energy (Wh)": [(trial, trial.usage.energy_wh or 0.0) for trial in record.trials],
        f"cost ({record.currency})": [(trial, trial.cost or 0.0) for trial in record.trials],
    }
    sums = {title: _by_state(found) for title, found in quantities.items()}
    sums = {title: found for title, found in sums.items() if sum(found.values()) > 0}
    if not sums:
        raise NothingToPlot("no trial of this search says what it took.")
    made = make_subplots(rows=1, cols=len(sums), subplot_titles=[escape(title) for title in sums])
    styled(made, height=320)
    made.update_layout(margin={"t": 50})
    for column, found in enumerate(sums.values(), start=1):
        states = [state for state in STATE_COLORS if found.get(state)]
        made.add_trace(
            go.Bar(
                x=[STATE_WORDS[state] for state in states], y=[found[state] for state in states], showlegend=False,
                marker={"color": [STATE_COLORS[state] for state in states]},
                text=[f"{found[state]:.3g}" for state in states], textposition="auto",
                hovertemplate="%{x}: %{y:.4g}<extra></extra>",
            ),
            row=1, col=column,
        )  # fmt: skip
    made.update_yaxes(rangemode="tozero")
    return made


def _by_state(found: list[tuple[TrialRecord, float]]) -> dict[str, float]:
    sums = dict.fromkeys(STATE_COLORS, 0.0)
    for trial, amount in found:
        sums[trial.state] += amount * trial.own_share
    return sums

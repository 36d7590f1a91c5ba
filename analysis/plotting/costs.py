"""What a search took, and when its workers waited."""

from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.plotting.style import STATE_COLORS, STATE_WORDS, NothingToPlot, about, figure, note, styled, time_unit
from analysis.records import SearchRecord, TrialRecord

_MAX_LANES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerTime:
    """The time of all processes that ran trials, from the first step of the first trial to the last report."""

    span: float
    """Seconds from the first to the last moment."""
    num_workers: int
    """Processes that ran trials."""
    busy: float
    """Seconds in which they trained, all together."""
    idle: float
    """Seconds in which they did not, all together."""

    @property
    def idle_share(self) -> float:
        """Of all the time of workers."""
        return self.idle / (self.busy + self.idle) if self.busy + self.idle > 0 else 0.0


def worker_time(record: SearchRecord) -> WorkerTime | None:
    """How long workers trained and waited; None where no trial says when it ran. Only the last attempt of a trial says
    so: of a search that was interrupted, or whose trials wait at rungs, it is not known."""
    timed = _timed(record)
    if not timed:
        return None
    start, end = min(each[0] for each in timed), max(each[1] for each in timed)
    workers = {process for *_, process, _ in timed}
    busy = sum(until - since for since, until, *_ in timed)
    return WorkerTime(
        span=end - start, num_workers=len(workers), busy=busy, idle=max(len(workers) * (end - start) - busy, 0.0)
    )


def timeline(record: SearchRecord) -> go.Figure:
    """Which worker ran which trial when; gaps are idle time, from the first step of a trial to its last report."""
    timed = _timed(record)
    if not timed:
        raise NothingToPlot("no trial of this search says when it ran.")
    time = worker_time(record)
    start = min(since for since, *_ in timed)
    unit, name = time_unit(time.span if time else 0.0)
    lanes = {process: f"worker {index + 1}" for index, process in enumerate(dict.fromkeys(each[2] for each in timed))}
    shown = [each for each in timed if each[2] in list(lanes)[:_MAX_LANES]]
    made = figure(height=max(220, 120 + 34 * min(len(lanes), _MAX_LANES)), barmode="overlay", bargap=0.25)
    for state, color in STATE_COLORS.items():
        found = [each for each in shown if each[3].state == state]
        if found:
            made.add_bar(
                base=[(since - start) / unit for since, *_ in found],
                x=[(until - since) / unit for since, until, *_ in found],
                y=[lanes[process] for *_, process, _ in found], orientation="h", name=STATE_WORDS[state],
                text=[str(trial.number) if len(shown) <= 120 else "" for *_, trial in found],
                textposition="inside", insidetextanchor="middle", textfont={"color": "white"}, constraintext="inside",
                customdata=[about(trial, record) for *_, trial in found],
                hovertemplate="%{customdata}<br>%{x:.3g} " + name + "<extra></extra>",
                marker={"color": color, "line": {"width": 1, "color": "rgba(255,255,255,0.6)"}},
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


def _timed(record: SearchRecord) -> list[tuple[float, float, str, TrialRecord]]:
    """Since when, until when, where, and which trial, of those that say so."""
    found = [
        (float(trial.clock["began_at"]), float(trial.clock["ended_at"]), str(trial.clock.get("process", "")), trial)
        for trial in record.trials
        if trial.clock.get("began_at") and trial.clock.get("ended_at") and trial.own_share > 0
    ]
    return sorted(found, key=lambda each: each[0])

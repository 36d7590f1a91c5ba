"""How a search went: its best so far, learning curves, and who survived the rungs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from random import Random
from typing import TypeVar

import plotly.graph_objects as go

from analysis.importance import finished
from analysis.leaderboard import leaderboard
from analysis.plotting.style import (
    BLUE,
    FAINT,
    GREEN,
    ORANGE,
    RED,
    STATE_COLORS,
    STATE_SYMBOLS,
    NothingToPlot,
    about,
    figure,
    mark_best,
    note,
    time_unit,
    value_axis,
)
from analysis.records import SearchRecord, TrialRecord
from analysis.wording import STATE_WORDS

T = TypeVar("T")

_BEST_CURVES, _OTHER_CURVES, _CURVE_POINTS = 40, 80, 200
_MAX_POINTS = 2000
_MAX_RUNGS = 16


def incumbent(record: SearchRecord) -> go.Figure:
    """Finished trials by number, and the best so far."""
    return _incumbent(record, finished(record), lambda trial: float(trial.number), "trial")


def incumbent_over_time(record: SearchRecord) -> go.Figure:
    """The same over the time since the first step of the first trial."""
    timed = [trial for trial in finished(record) if "ended_at" in trial.clock and _is_own(trial)]
    if not timed:
        raise NothingToPlot("no finished trial of this search says when it ended.")
    start = min(trial.clock.get("began_at", trial.clock["ended_at"]) for trial in record.trials if trial.clock)
    unit, name = time_unit(max(trial.clock["ended_at"] for trial in timed) - start)
    timed.sort(key=lambda trial: trial.clock["ended_at"])
    return _incumbent(
        record, timed, lambda trial: (trial.clock["ended_at"] - start) / unit, f"{name} since the first step"
    )


def incumbent_over_cost(record: SearchRecord) -> go.Figure:
    """The same over what had been spent until then: GPU-hours, or the time of workers where no GPU was used."""
    spent: dict[int, float] = {}
    total = 0.0
    has_gpus = any(trial.gpu_hours for trial in record.trials)
    unit, name = (1.0, "GPU-hours") if has_gpus else time_unit(sum(trial.seconds or 0.0 for trial in record.trials))
    for trial in sorted(record.trials, key=lambda each: (each.clock.get("ended_at", float("inf")), each.number)):
        own = (trial.gpu_hours if has_gpus else trial.seconds) or 0.0
        total += own * trial.own_share / unit
        spent[trial.number] = total
    if not total:
        raise NothingToPlot("no trial of this search says how long it took.")
    words = "GPU-hours spent on all trials" if has_gpus else f"{name} that workers spent on all trials"
    done = sorted(finished(record), key=lambda trial: spent[trial.number])
    return _incumbent(record, done, lambda trial: spent[trial.number], words)


def _incumbent(
    record: SearchRecord, done: Sequence[TrialRecord], place: Callable[[TrialRecord], float], title: str
) -> go.Figure:
    if not done:
        raise NothingToPlot("no trial has finished.")
    better = min if record.mode == "min" else max
    places = [place(trial) for trial in done]
    best_so_far: list[float] = []
    for trial in done:
        value = trial.value if trial.value is not None else 0.0
        best_so_far.append(better(best_so_far[-1], value) if best_so_far else value)
    made = figure()
    shown = _thinned(list(zip(places, done, strict=True)), _MAX_POINTS)
    made.add_scatter(
        x=[x for x, _ in shown], y=[trial.value for _, trial in shown],
        text=[about(trial, record) for _, trial in shown],
        mode="markers", name="finished trial", hovertemplate="%{text}<extra></extra>",
        marker={"color": BLUE, "opacity": 0.7, "size": 8 if len(shown) < 300 else 5},
    )  # fmt: skip
    steps = [index for index, value in enumerate(best_so_far) if index == 0 or value != best_so_far[index - 1]]
    steps += [len(done) - 1]
    made.add_scatter(
        x=[places[index] for index in steps], y=[best_so_far[index] for index in steps], mode="lines",
        line={"shape": "hv", "color": GREEN, "width": 2.5}, name="best so far", hoverinfo="skip",
    )  # fmt: skip
    best = record.best
    if best is not None and best in done:
        mark_best(made, place(best), best.value, about(best, record))
    if record.metric in record.baseline:
        made.add_hline(y=record.baseline[record.metric], line={"dash": "dot", "color": FAINT})
        made.add_annotation(
            x=1, xref="paper", y=record.baseline[record.metric], text=escape(record.baseline_name or "baseline"),
            showarrow=False, xanchor="right", yanchor="bottom", font={"size": 11},
        )  # fmt: skip
    made.update_xaxes(title=title)
    made.update_yaxes(**value_axis(record, [trial.value for trial in done if trial.value is not None]))
    if len(shown) < len(done):
        note(made, f"A sample of {len(shown):,} of {len(done):,} finished trials; the line is that of all.")
    return made


def curves(record: SearchRecord) -> go.Figure:
    """The objective while trials trained; where trials were stopped, and at which amounts of training."""
    shown, left_out = _chosen([entry.trial for entry in leaderboard(record) if entry.trial.intermediate])
    if not shown:
        raise NothingToPlot("no trial has been evaluated.")
    made = figure(height=440)
    best = record.best
    for state, color in STATE_COLORS.items():
        trials = [trial for trial in shown if trial.state == state and trial is not best]
        if trials:
            _add_lines(made, trials, record, color=color, name=STATE_WORDS[state])
            ends = [(max(trial.intermediate), trial.last_value, about(trial, record)) for trial in trials]
            made.add_scatter(
                x=[end[0] for end in ends], y=[end[1] for end in ends], text=[end[2] for end in ends], mode="markers",
                hovertemplate="%{text}<extra></extra>", showlegend=False, legendgroup=STATE_WORDS[state],
                marker={
                    "color": color, "size": 8, "symbol": "x" if state == "PRUNED" else STATE_SYMBOLS[state],
                    "line": {"width": 1.5, "color": color},
                },
            )  # fmt: skip
    if best is not None and best in shown:
        _add_lines(made, [best], record, color=GREEN, name="best", width=3)
        mark_best(made, max(best.intermediate), best.last_value, about(best, record), showlegend=False)
    found = [rung for rung in rungs_of(record) if rung.stopped]
    for rung in found if len(found) <= _MAX_RUNGS else []:
        made.add_vline(x=rung.at, line={"dash": "dot", "color": FAINT, "width": 1})
    values = [value for trial in shown for value in trial.intermediate.values()]
    made.update_xaxes(title=f"{record.unit} of training")
    made.update_yaxes(**value_axis(record, values))
    if found and len(found) <= _MAX_RUNGS:
        note(made, "Dotted lines: where trials were stopped early (×).")
    if left_out:
        note(made, f"The {_BEST_CURVES} best and a sample of the others; {left_out:,} trials are left out.")
    return made


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """An amount of training at which trials were stopped, or ended."""

    at: int
    """The amount, in the unit of the record."""
    reached: int
    """Trials that came so far."""
    stopped: int
    """Those that were stopped there."""
    failed: int
    """Those that failed after it, before the next one."""


def rungs_of(record: SearchRecord) -> list[Rung]:
    """Where trials were stopped, by amount of training, and the end of those that finished."""
    ends = {
        trial.number: max(trial.intermediate)
        for trial in record.current
        if trial.intermediate and trial.state in ("COMPLETE", "PRUNED", "FAIL")
    }
    by_number = {trial.number: trial for trial in record.current}
    places = sorted({end for number, end in ends.items() if by_number[number].state in ("COMPLETE", "PRUNED")})
    found = []
    for place, following in zip(places, [*places, float("inf")][1:], strict=True):
        at_end = [by_number[number] for number, end in ends.items() if place <= end < following]
        found.append(
            Rung(
                at=place,
                reached=sum(end >= place for end in ends.values()),
                stopped=sum(trial.state == "PRUNED" for trial in at_end),
                failed=sum(trial.state == "FAIL" for trial in at_end),
            )
        )
    return found


def rungs(record: SearchRecord) -> go.Figure:
    """How many trials came to each amount of training at which trials were stopped, and how many went on."""
    found = rungs_of(record)
    if not any(rung.stopped for rung in found):
        raise NothingToPlot("no trial was stopped early.")
    labels = [f"{rung.at:,}" for rung in found]
    made = figure(barmode="stack", height=340)
    went_on = [rung.reached - rung.stopped - rung.failed for rung in found]
    for name, color, counts in (
        ("went on or finished", BLUE, went_on),
        ("stopped here", ORANGE, [rung.stopped for rung in found]),
        ("failed after", RED, [rung.failed for rung in found]),
    ):
        if any(counts):
            made.add_bar(
                x=labels, y=counts, name=name, marker={"color": color},
                text=[count or "" for count in counts] if len(found) <= _MAX_RUNGS else None,
                hovertemplate=f"%{{y}} trials {name} at %{{x}} {record.unit}<extra></extra>",
            )  # fmt: skip
    made.update_xaxes(title=f"{record.unit} of training", type="category")
    made.update_yaxes(title="trials that came so far")
    return made


def _add_lines(
    made: go.Figure, trials: Sequence[TrialRecord], record: SearchRecord, *, color: str, name: str, width: float = 1.3
) -> None:
    """The curves of `trials` in one trace, which is much lighter than one a trial."""
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str | None] = []
    for trial in trials:
        points = _thinned(sorted(trial.intermediate.items()), _CURVE_POINTS)
        x += [*(at for at, _ in points), None]
        y += [*(value for _, value in points), None]
        text += [*(f"trial {trial.number}" for _ in points), None]
    made.add_scatter(
        x=x, y=y, text=text, mode="lines", name=name, legendgroup=name, opacity=0.95 if width > 2 else 0.7,
        line={"color": color, "width": width}, hovertemplate="%{text}: %{y:.4g} at %{x}<extra></extra>",
    )  # fmt: skip


def _chosen(trials: Sequence[TrialRecord]) -> tuple[list[TrialRecord], int]:
    """The best ones and a sample of the others, and how many are left out."""
    others = list(trials[_BEST_CURVES:])
    sample = Random(0).sample(others, min(_OTHER_CURVES, len(others)))
    return [*trials[:_BEST_CURVES], *sample], len(others) - len(sample)


def _thinned(items: list[T], most: int) -> list[T]:
    """At most `most` of `items`, evenly, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def _is_own(trial: TrialRecord) -> bool:
    return trial.origin is None or trial.origin.kind != "inherited"

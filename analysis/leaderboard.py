"""Ranking the trials of a search, and showing the ranking: json, csv, a table in the terminal.

Only trials that trained to their end have a rank. Early-stopped ones follow, those that came furthest first;
they are not comparable with finished ones, nor with each other at different lengths.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from analysis.pareto import front_of_each
from analysis.records import SearchRecord, TrialRecord
from analysis.statistics import by_division, corrected_interval

_STATE_STYLES = {"COMPLETE": "", "PRUNED": "dim", "FAIL": "red", "RUNNING": "cyan"}
_STATE_WORDS = {"COMPLETE": "finished", "PRUNED": "stopped", "FAIL": "failed", "RUNNING": "unfinished"}
_CHANGED = "*"
"""Marks a trial that went on from another one's checkpoint: its parameters are the last ones."""
_MIN_HEADER_WIDTH = 8
_ANY_WIDTH = 10_000
_EXTRA: dict[str, Callable[[TrialRecord], str]] = {
    "epochs": lambda trial: _amount(trial.epochs),
    "steps": lambda trial: _amount(trial.steps),
    "tokens": lambda trial: _amount(trial.tokens),
    "seconds": lambda trial: "" if trial.seconds is None else f"{trial.seconds:.1f}",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the leaderboard."""

    rank: int | None
    """1 for the best finished trial; None for a trial that did not finish. With several objectives the front: 1 for
    trials that no other is better than in every respect."""
    trial: TrialRecord
    """The trial."""
    objectives: tuple[str, ...] = ()
    """Names of all objectives, of a search that has several."""
    interval: tuple[float, float] | None = None
    """Where the objective's mean lies with 95% confidence, of a finished trial of several folds or seeds."""

    def to_json(self) -> dict[str, Any]:
        """The documented form of `leaderboard --json`. Unknown figures are null."""
        trial = self.trial
        return {
            "number": trial.number,
            "rank": self.rank,
            "state": trial.state,
            "value": trial.value if trial.state == "COMPLETE" else trial.last_value,
            "interval": list(self.interval) if self.interval else None,
            "fold_values": list(trial.fold_values) or None,
            "values": dict(zip(self.objectives, trial.values, strict=False)) if self.objectives else None,
            "params": trial.params,
            "steps": trial.steps,
            "epochs": trial.epochs,
            "tokens": trial.tokens,
            "seconds": trial.seconds,
            "gpu_hours": trial.gpu_hours,
            "energy_wh": trial.usage.energy_wh,
            "energy_is_estimate": trial.usage.energy_is_estimate,
            "cost": trial.cost,
            "peak_memory_bytes": trial.usage.peak_memory_bytes,
            "tokens_per_second": trial.usage.tokens_per_second,
            "mfu": trial.usage.mfu,
            "checkpoint": trial.checkpoint,
            "error": trial.error,
            "failure": trial.failure,
            "superseded_by": trial.superseded_by,
            "origin": trial.origin.to_json() if trial.origin else None,
            "stopped_because": trial.stopped_because,
            "lineage": list(trial.lineage),
        }


def leaderboard(record: SearchRecord, *, top: int | None = None) -> list[Entry]:
    """All trials, best first: finished by value, then early-stopped, unfinished, failed; those for which a later trial
    stands come last."""
    sign = 1.0 if record.mode == "min" else -1.0

    def key(trial: TrialRecord) -> tuple[int, float, float, int]:
        states = ["COMPLETE", "PRUNED", "RUNNING", "FAIL"]
        group = states.index(trial.state) + (len(states) if trial.superseded_by is not None else 0)
        value = trial.value if trial.state == "COMPLETE" else trial.last_value
        length = 0.0 if trial.state == "COMPLETE" else -float(trial.last[0] if trial.last else 0)
        return (group, length, sign * value if value is not None else 0.0, trial.number)

    ordered = sorted(record.trials, key=key)
    ranked = [trial for trial in ordered if trial.state == "COMPLETE" and trial.superseded_by is None]
    ranks = {trial.number: rank for rank, trial in enumerate(ranked, start=1)}
    if record.objectives:
        fronts = front_of_each([trial.values for trial in ranked], record.objectives)
        ranks = {trial.number: front for trial, front in zip(ranked, fronts, strict=True)}
        ordered.sort(key=lambda trial: ranks.get(trial.number, len(ordered)))  # stable: by the first objective within
    return [
        Entry(
            rank=ranks.get(trial.number),
            trial=trial,
            interval=_interval(trial, record),
            objectives=tuple(objective.name for objective in record.objectives),
        )
        for trial in ordered[:top]
    ]


def _interval(trial: TrialRecord, record: SearchRecord) -> tuple[float, float] | None:
    values = by_division(trial.fold_values, record.divisions)
    if trial.state != "COMPLETE" or len(values) < 2:
        return None
    return corrected_interval(values, test_share=record.test_share)


def to_csv(entries: Sequence[Entry]) -> str:
    """A table for spreadsheets: the documented columns, one column a parameter."""
    paths = _paths(entries)
    most = max((len(entry.trial.fold_values) for entry in entries), default=0)
    folds = [f"fold_{index}" for index in range(most)]
    others = list(entries[0].objectives[1:]) if entries else []
    columns = [
        "rank",
        "number",
        "state",
        "value",
        *others,
        *(["interval_low", "interval_high", *folds] if folds else []),
        *paths,
        "steps",
        "epochs",
        "tokens",
        "seconds",
        "gpu_hours",
        "energy_wh",
        "cost",
        "peak_memory_bytes",
        "tokens_per_second",
        "checkpoint",
        "error",
        "stopped_because",
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        params = {path: _cell(value) for path, value in entry.trial.params.items()}
        low, high = entry.interval or (None, None)
        own: dict[str, float | None] = dict(zip(others, entry.trial.values[1:], strict=False))
        own |= {"interval_low": low, "interval_high": high, **dict(zip(folds, entry.trial.fold_values, strict=False))}
        cells = entry.to_json() | params | own
        writer.writerow({name: "" if value is None else value for name, value in cells.items()})
    return buffer.getvalue()


def to_table(entries: Sequence[Entry], record: SearchRecord, *, width: int) -> Table:
    """For a terminal of `width` characters: what does not fit is left out from the right, but never a parameter.

    Columns carry the shortest part of a parameter's path that is its own.
    """
    for extra in ((record.unit, "seconds"), (record.unit,)):
        table = _table(entries, record, extra=extra)
        if Console(width=_ANY_WIDTH).measure(table).maximum <= width:
            return table
    return _table(entries, record, extra=())


def _table(entries: Sequence[Entry], record: SearchRecord, *, extra: Sequence[str]) -> Table:
    paths = _paths(entries)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("front" if record.objectives else "rank", "trial", record.metric):
        table.add_column(_folded(name), justify="right", no_wrap=True)
    others = [objective.name for objective in record.objectives[1:]]
    for name in others:
        table.add_column(_folded(name), justify="right", no_wrap=True)
    has_intervals = any(entry.interval for entry in entries)
    if has_intervals:
        table.add_column("± 95%", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in short_names(paths).values():
        table.add_column(_folded(name), justify="right", no_wrap=True)
    for name in extra:
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        trial = entry.trial
        value = trial.value if trial.state == "COMPLETE" else trial.last_value
        table.add_row(
            str(entry.rank or ""),
            f"{trial.number}{_CHANGED if trial.lineage else ''}",
            "" if value is None else show_metric(value),
            *(_other_objectives(trial, len(others))),
            *([_half_width(entry)] if has_intervals else []),
            _state(trial),
            *(_narrow(trial.params.get(path, "")) for path in paths),
            *(_EXTRA[name](trial) for name in extra),
            style="bold green" if entry.rank == 1 else _STATE_STYLES[trial.state],
        )
    return table


def _other_objectives(trial: TrialRecord, count: int) -> list[str]:
    return [show_metric(value) for value in trial.values[1:]] or [""] * count


def _half_width(entry: Entry) -> str:
    return show_metric((entry.interval[1] - entry.interval[0]) / 2) if entry.interval else ""


def _state(trial: TrialRecord) -> str:
    if trial.superseded_by is not None:
        return f"{'retried' if trial.state == 'FAIL' else 'continued'} as {trial.superseded_by}"
    if trial.stopped_by == "user" and trial.state == "PRUNED":  # it may have ended at that very evaluation
        return "stopped by hand"
    if trial.origin is not None and trial.origin.kind == "inherited":
        return f"{_STATE_WORDS[trial.state]} elsewhere"
    return _STATE_WORDS[trial.state]


def _amount(done: float | None) -> str:
    """How much training: whole numbers in full, epochs with their fraction."""
    return "" if done is None else f"{done:,}" if isinstance(done, int) else f"{done:g}"


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Path -> its last parts, as few as keep it distinct from the other paths."""
    names = {}
    for path in paths:
        parts = path.split(".")
        for length in range(1, len(parts) + 1):
            tail = ".".join(parts[-length:])
            if sum(other == tail or other.endswith(f".{tail}") for other in paths) == 1:
                break
        names[path] = tail
    return names


def show_value(value: Any) -> str:
    """A parameter's value for a person: numbers with four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return _cell(value) if isinstance(value, str | int | bool) or value is None else json.dumps(value)


def _narrow(value: Any) -> str:
    """As `show_value`, for a column: three digits, and `8.75e-4` in place of `0.000875`."""
    if not isinstance(value, float) or value == 0:
        return show_value(value)
    if 0.001 <= abs(value) < 100_000:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{digits}e{int(exponent)}"


def _folded(name: str) -> str:
    """A long name on several lines, so that a column is no wider than its values need."""
    lines = [""]
    for part in re.split(r"(?<=[_/.])", name):
        if len(lines[-1]) + len(part) > _MIN_HEADER_WIDTH and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def show_metric(value: float) -> str:
    """A metric's value for a person: four decimals, or four digits where these would say nothing."""
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 10_000 else f"{value:.4g}"


def _paths(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(path for entry in entries for path in entry.trial.params))


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

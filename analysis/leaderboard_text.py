"""A leaderboard for a terminal and for spreadsheets. Ranks nothing."""

import csv
import io
from collections.abc import Callable, Sequence
from textwrap import shorten

from rich.console import Console
from rich.table import Table

from analysis.leaderboard import Entry
from analysis.records import SearchRecord, TrialRecord
from analysis.statistics import LEVEL
from analysis.wording import amount, cell, folded, narrow, short_names, show_metric
from analysis.yardstick import differing
from spaces.errors import SpecError, did_you_mean

_STATE_STYLES = {"COMPLETE": "", "PRUNED": "dim", "FAIL": "red", "RUNNING": "cyan"}
_STATE_WORDS = {"COMPLETE": "finished", "PRUNED": "stopped", "FAIL": "failed", "RUNNING": "unfinished"}
_FAILURE_WORDS = {"out_of_memory": "out of memory", "diverged": "diverged"}
_TIED = "="
"""Marks the rank of a trial that cannot be told apart from the best."""
_CHANGED = "*"
"""Marks a trial that went on from another one's checkpoint: its parameters are the last ones."""
_ANY_WIDTH = 10_000
_REASONS_SHOWN = 3
_REASON_WIDTH = 160
COLUMNS: dict[str, Callable[[Entry], str]] = {
    "epochs": lambda entry: amount(entry.trial.epochs),
    "steps": lambda entry: amount(entry.trial.steps),
    "tokens": lambda entry: amount(entry.trial.tokens),
    "seconds": lambda entry: _decimal(entry.trial.seconds, 1),
    "gpu_hours": lambda entry: _decimal(entry.trial.gpu_hours, 3),
    "cost": lambda entry: _decimal(entry.trial.cost, 2),
    "energy_wh": lambda entry: _decimal(entry.trial.usage.energy_wh, 2),
    "peak_memory_bytes": lambda entry: amount(entry.trial.usage.peak_memory_bytes),
    "tokens_per_second": lambda entry: _decimal(entry.trial.usage.tokens_per_second, 0),
    "mfu": lambda entry: _decimal(entry.trial.usage.mfu, 3),
    "p_value": lambda entry: _decimal(entry.p_value, 3),
    "checkpoint": lambda entry: entry.trial.checkpoint or "",
    "stopped_because": lambda entry: entry.trial.stopped_because or "",
    "error": lambda entry: entry.trial.error or "",
}
"""What a table can show besides rank, value and parameters."""


def to_csv(entries: Sequence[Entry]) -> str:
    """A table for spreadsheets: the documented columns, one column a parameter."""
    paths = _paths(entries)
    most = max((len(entry.trial.fold_values) for entry in entries), default=0)
    folds = [f"fold_{index}" for index in range(most)]
    others = list(entries[0].objectives[1:]) if entries else []
    columns = [
        *(["search"] if any(entry.search is not None for entry in entries) else []),
        "rank",
        "number",
        "state",
        "value",
        *others,
        *(["interval_low", "interval_high", "tied", "p_value", *folds] if folds else []),
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
        params = {path: cell(value) for path, value in entry.trial.params.items()}
        low, high = entry.interval or (None, None)
        own: dict[str, float | None] = dict(zip(others, entry.trial.values[1:], strict=False))
        own |= {"interval_low": low, "interval_high": high, **dict(zip(folds, entry.trial.fold_values, strict=False))}
        cells = entry.to_json() | params | own
        cells["tied"] = cell(entry.is_tied) if entry.rank is not None else None
        writer.writerow({name: "" if value is None else value for name, value in cells.items()})
    return buffer.getvalue()


def to_table(
    entries: Sequence[Entry], record: SearchRecord, *, width: int, columns: Sequence[str] | None = None
) -> Table:
    """For a terminal of `width` characters: what does not fit is left out from the right, but never a parameter, and
    nothing that was asked for.

    Parameters carry the shortest part of their path that is their own.

    Args:
        entries: Of `leaderboard`.
        record: The search, or one of several.
        width: Of the terminal.
        columns: Of COLUMNS, or names of metrics, instead of those that are chosen by what was recorded.

    Raises:
        SpecError: there is no such column.
    """
    if columns is not None:
        known = [*COLUMNS, *dict.fromkeys(name for entry in entries for name in entry.trial.metrics)]
        for name in columns:
            if name not in known:
                raise SpecError(f"there is no column `{name}`.{did_you_mean(name, known)} Known: {', '.join(known)}.")
        return _table(entries, record, extra=columns)
    extra = [record.unit, "seconds", *_spent(entries)]
    while extra:
        table = _table(entries, record, extra=extra)
        if Console(width=_ANY_WIDTH).measure(table).maximum <= width:
            return table
        extra.pop()
    return _table(entries, record, extra=())


def remarks(entries: Sequence[Entry], records: Sequence[SearchRecord]) -> list[str]:
    """What a reader of the table must know: what its marks mean, how sure its order is, why trials failed."""
    lines = marks(entries, records)
    if len(records) > 1 and (differences := differing(records)):
        lines.append(f"these searches do not measure the same ({'; '.join(differences[:3])}): read ranks with care")
    failed = [entry for entry in entries if entry.trial.state == "FAIL" and entry.trial.superseded_by is None]
    for entry in failed[:_REASONS_SHOWN]:
        name = f"{entry.search} trial" if entry.search else "trial"
        reason = shorten(entry.trial.error or "no reason recorded", _REASON_WIDTH, placeholder=" ...")
        lines.append(f"{name} {entry.trial.number} failed: {reason}")
    if len(failed) > _REASONS_SHOWN:
        lines.append(f"... and {len(failed) - _REASONS_SHOWN} more failed")
    return lines


def marks(entries: Sequence[Entry], records: Sequence[SearchRecord]) -> list[str]:
    """What the marks in the table mean, and how sure its order is."""
    lines = _certainty(entries, records)
    if any(entry.trial.lineage for entry in entries):
        lines.append(f"{_CHANGED} went on from another trial's checkpoint; shown are its last values")
    return lines


def _certainty(entries: Sequence[Entry], records: Sequence[SearchRecord]) -> list[str]:
    compared = [entry for entry in entries if entry.p_value is not None]
    if compared:
        kind = f"{records[0].fold_kind}s"
        tied = sum(entry.is_tied for entry in compared)
        return [
            f"{_TIED} cannot be told apart from the best at the {1 - LEVEL:.0%} level: {tied} of {len(compared)} "
            f"(t-test on {records[0].trainings} {kind}{', corrected for shared data' if kind == 'folds' else ''}, Holm)"
        ]
    if not records[0].objectives and sum(entry.rank is not None for entry in entries) > 1:
        return ["one training each: whether the first is truly better than the second is not known from this table"]
    return []


def _spent(entries: Sequence[Entry]) -> list[str]:
    """Which costs there are to show."""
    trials = [entry.trial for entry in entries]
    return [
        *(["gpu_hours"] if any(trial.gpu_hours for trial in trials) else []),
        *(["cost"] if any(trial.cost is not None for trial in trials) else []),
    ]


def _table(entries: Sequence[Entry], record: SearchRecord, *, extra: Sequence[str]) -> Table:
    paths = _paths(entries)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    is_joint = any(entry.search is not None for entry in entries)
    if is_joint:
        table.add_column("search", no_wrap=True)
    for name in ("front" if record.objectives else "rank", "trial", record.metric):
        table.add_column(folded(name), justify="right", no_wrap=True)
    others = [objective.name for objective in record.objectives[1:]]
    for name in others:
        table.add_column(folded(name), justify="right", no_wrap=True)
    has_intervals = any(entry.interval for entry in entries)
    if has_intervals:
        table.add_column("± 95%", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in short_names(paths).values():
        table.add_column(folded(name), justify="right", no_wrap=True)
    for name in extra:
        table.add_column(folded(name), justify="right", no_wrap=True)
    for entry in entries:
        trial = entry.trial
        value = trial.value if trial.state == "COMPLETE" else trial.last_value
        table.add_row(
            *([entry.search or ""] if is_joint else []),
            f"{entry.rank or ''}{_TIED if entry.is_tied else ''}",
            f"{trial.number}{_CHANGED if trial.lineage else ''}",
            "" if value is None else show_metric(value),
            *(_other_objectives(trial, len(others))),
            *([_half_width(entry)] if has_intervals else []),
            state_in_words(trial),
            *(narrow(trial.params.get(path, "")) for path in paths),
            *(_shown(entry, name) for name in extra),
            style="bold green" if entry.rank == 1 else _STATE_STYLES[trial.state],
        )
    return table


def _shown(entry: Entry, name: str) -> str:
    if name in COLUMNS:
        return COLUMNS[name](entry)
    value = entry.trial.metrics.get(name)
    return "" if value is None else show_metric(value)


def _decimal(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _other_objectives(trial: TrialRecord, count: int) -> list[str]:
    return [show_metric(value) for value in trial.values[1:]] or [""] * count


def _half_width(entry: Entry) -> str:
    return show_metric((entry.interval[1] - entry.interval[0]) / 2) if entry.interval else ""


def state_in_words(trial: TrialRecord) -> str:
    """How it ended, in a word or two."""
    if trial.superseded_by is not None:
        return f"{'retried' if trial.state == 'FAIL' else 'continued'} as {trial.superseded_by}"
    if trial.stopped_by == "user" and trial.state == "PRUNED":  # it may have ended at that very evaluation
        return "stopped by hand"
    if trial.origin is not None and trial.origin.kind == "inherited":
        return f"{_STATE_WORDS[trial.state]} elsewhere"
    if trial.state == "FAIL" and trial.failure in _FAILURE_WORDS:
        return _FAILURE_WORDS[trial.failure]
    return _STATE_WORDS[trial.state]


def _paths(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(path for entry in entries for path in entry.trial.params))

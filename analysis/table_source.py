"""A csv, tsv, jsonl or parquet file -> the record of a search: our own leaderboard.csv, or a table of others.

Of others: a column is the metric; `state`, `seconds`, `cost`, `error` and amounts of training are what they are
called; columns with a slash (`eval/f1`) are metrics; the rest are parameters, as far as they vary. With a column for
the amount of training the rows of one trial are its curve.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.metric_modes import mode_of
from analysis.records import SearchRecord, TrialRecord, TrialState
from analysis.table_files import STEP_NAMES, is_empty, number, read_table_file
from spaces.errors import SpecError, did_you_mean
from spaces.objectives import Mode
from spaces.usage import TrialUsage

_OWN = ("rank", "number", "state", "value", "stopped_because")
"""Columns by which our own leaderboard.csv is known."""
_UNNAMED = "value"
_IDS = ("number", "trial", "trial_id", "trial_number", "id", "run", "run_id")
"""Columns that may say which trial a row is of."""
_FACTS = ("state", "status", "seconds", "cost", "error", "rank", "name", "checkpoint", *_IDS, *STEP_NAMES)
"""Columns of a table of others that are no parameters."""
_STATES: dict[str, TrialState] = {
    "complete": "COMPLETE", "completed": "COMPLETE", "finished": "COMPLETE", "done": "COMPLETE", "success": "COMPLETE",
    "terminated": "COMPLETE", "pruned": "PRUNED", "stopped": "PRUNED", "killed": "PRUNED", "early_stopped": "PRUNED",
    "fail": "FAIL", "failed": "FAIL", "error": "FAIL", "crashed": "FAIL", "diverged": "FAIL",
    "running": "RUNNING", "pending": "RUNNING", "paused": "RUNNING",
}  # fmt: skip
"""What others call states -> ours."""


def read_table_record(file: Path, *, metric: str | None, mode: Mode | None) -> SearchRecord:
    """The record in `file`.

    Raises:
        SpecError: it cannot be read, or it is not known which column is the metric or which way it is better.
    """
    if file.suffix == ".csv" and file.is_file() and set(_OWN) <= set(_header(file)):
        return _own_record(file, metric=metric, mode=mode)
    frame = read_table_file(file)
    rows = [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]
    columns = [str(name) for name in frame.columns]
    numeric = [name for name in columns if any(math.isfinite(number(row[name])) for row in rows)]
    if metric is None:
        raise SpecError(f"`{file}` does not say what was optimised: `--metric COLUMN`. It has {', '.join(numeric)}.")
    if metric not in numeric:
        near = did_you_mean(metric, numeric)
        raise SpecError(f"`{file}` has no column `{metric}` with numbers.{near} It has {', '.join(numeric)}.")
    trials = _trials(rows, columns, metric)
    return _record(file, trials, metric=metric, mode=mode or mode_of(metric))


def _record(file: Path, trials: list[TrialRecord], *, metric: str, mode: Mode) -> SearchRecord:
    return SearchRecord(
        name=file.stem, directory=None, metric=metric, mode=mode, trials=trials, num_planned=None, unit="steps"
    )


# --- tables of others ------------------------------------------------------------------------------------


def _trials(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], metric: str) -> list[TrialRecord]:
    steps = next((name for name in STEP_NAMES if name in columns), None)
    possible = [name for name in columns if name not in _FACTS and name != metric and "/" not in name]
    varying = [name for name in possible if len({repr(row[name]) for row in rows if not is_empty(row[name])}) > 1]
    identity = next((name for name in _IDS if name in columns), None)
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for index, row in enumerate(rows):
        if steps is None:
            key = str(index)
        else:
            key = str(row[identity]) if identity else repr([row[name] for name in possible])
        grouped.setdefault(key, []).append(row)
    return [
        _trial(index, group, columns, varying=varying, metric=metric, steps=steps)
        for index, group in enumerate(grouped.values())
    ]


def _trial(
    index: int,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    varying: Sequence[str],
    metric: str,
    steps: str | None,
) -> TrialRecord:
    if steps is not None:
        measured = [row for row in rows if not math.isnan(number(row[metric]))] or rows
        rows = sorted(measured, key=lambda row: number(row[steps]))
    last = rows[-1]
    value = number(last[metric])
    state = _state(last, value)
    curve = {
        int(number(row[steps])): number(row[metric])
        for row in rows
        if steps is not None and math.isfinite(number(row[steps])) and math.isfinite(number(row[metric]))
    }
    if not curve and math.isfinite(value):
        curve = {1: value}
    numbers = {name: number(last[name]) for name in columns if "/" in name or name == metric}
    amount = number(last[steps]) if steps is not None else math.nan
    error = last.get("error")
    return TrialRecord(
        number=index,
        state=state,
        value=value if state == "COMPLETE" else None,
        params={name: _plain(last[name]) for name in varying if not is_empty(last[name])},
        intermediate=curve,
        steps=int(amount) if steps in ("step", "steps") and math.isfinite(amount) else None,
        epochs=amount if steps in ("epoch", "epochs") and math.isfinite(amount) else None,
        tokens=int(amount) if steps == "tokens" and math.isfinite(amount) else None,
        seconds=_known(number(last.get("seconds"))),
        cost=_known(number(last.get("cost"))),
        metrics={name: each for name, each in numbers.items() if math.isfinite(each)},
        error=None if is_empty(error) or state != "FAIL" else str(error),
        failure="error" if state == "FAIL" else None,
    )


def _state(row: Mapping[str, Any], value: float) -> TrialState:
    said = row.get("state", row.get("status"))
    state = "COMPLETE" if is_empty(said) else _STATES.get(str(said).rpartition(".")[2].lower())
    if state is None:
        raise SpecError(
            f"`{said}` is no state of a trial that is known.{did_you_mean(str(said).lower(), _STATES)} "
            f"States are {', '.join(sorted(_STATES))}."
        )
    return "FAIL" if state == "COMPLETE" and not math.isfinite(value) else state


def _plain(cell: Any) -> Any:
    """A cell without numpy; a whole number that pandas has made a float, for the holes in its column, is one again."""
    plain = cell.item() if hasattr(cell, "item") else cell
    return int(plain) if isinstance(plain, float) and plain.is_integer() and abs(plain) < 2**53 else plain


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


# --- our own leaderboard.csv -----------------------------------------------------------------------------

_COUNTS = ("steps", "tokens")
_AMOUNTS = ("epochs", "seconds", "gpu_hours", "cost")
_TEXTS = ("checkpoint", "error", "stopped_because")
_USAGE = ("energy_wh", "peak_memory_bytes", "tokens_per_second")
_INTERVAL = ("interval_low", "interval_high", "tied", "p_value")


def _own_record(file: Path, *, metric: str | None, mode: Mode | None) -> SearchRecord:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if len({row.get("search") for row in rows}) > 1:
        raise SpecError(f"`{file}` is a leaderboard of several searches: give their folders instead.")
    known = {*_OWN, *_COUNTS, *_AMOUNTS, *_TEXTS, *_USAGE, *_INTERVAL, "search"}
    others = [name for name in (rows[0] if rows else []) if name not in known and not name.startswith("fold_")]
    if "/" in "".join(name for name in others if "." not in name):
        raise SpecError(
            f"`{file}` has several objectives, of which it does not say which way they are better: give the folder."
        )
    trials = sorted((_own_trial(row, others) for row in rows), key=lambda trial: trial.number)
    name = metric or _UNNAMED
    return _record(file, trials, metric=name, mode=mode or _mode_by_ranks(rows))


def _own_trial(row: Mapping[str, str], paths: Sequence[str]) -> TrialRecord:
    value = float(row["value"]) if row["value"] else None
    is_done = row["state"] == "COMPLETE"
    epochs, steps = _float(row["epochs"]), _float(row["steps"])
    return TrialRecord(
        number=int(row["number"]),
        state=row["state"],  # type: ignore[arg-type]  # the file is ours
        value=value if is_done else None,
        params={path: _parsed(row[path]) for path in paths if row[path] != ""},
        intermediate={} if value is None else {int(steps or 1): value},
        steps=None if steps is None else int(steps),
        epochs=epochs,
        tokens=int(row["tokens"]) if row["tokens"] else None,
        seconds=_float(row["seconds"]),
        gpu_hours=_float(row["gpu_hours"]),
        usage=TrialUsage(
            energy_wh=_float(row["energy_wh"]),
            peak_memory_bytes=int(row["peak_memory_bytes"]) if row["peak_memory_bytes"] else None,
            tokens_per_second=_float(row["tokens_per_second"]),
        ),
        cost=_float(row["cost"]),
        fold_values=tuple(float(row[name]) for name in row if name.startswith("fold_") and row[name]),
        checkpoint=row["checkpoint"] if row["checkpoint"] and Path(row["checkpoint"]).is_dir() else None,
        error=row["error"] or None,
        failure="error" if row["state"] == "FAIL" else None,
        stopped_because=row["stopped_because"] or None,
    )


def _mode_by_ranks(rows: Sequence[Mapping[str, str]]) -> Mode:
    ranked = sorted((int(row["rank"]), float(row["value"])) for row in rows if row["rank"] and row["value"])
    return "max" if ranked and ranked[0][1] > ranked[-1][1] else "min"


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _float(cell: str) -> float | None:
    return float(cell) if cell else None


def _header(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return next(csv.reader(lines), [])
    except (UnicodeDecodeError, csv.Error):
        return []

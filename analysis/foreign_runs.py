"""W&B runs that are not ours -> the record of a search: what varies in their configs, and a metric of their summaries.

Knows no W&B: runs come from a server as well as from files.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.lazy_curve import LazyCurve
from analysis.metric_modes import mode_of
from analysis.records import SearchRecord, TrialRecord, TrialState
from analysis.runs import Run
from spaces.errors import SpecError, did_you_mean
from spaces.objectives import Mode
from spaces.reports import Row

_STATES: dict[str, TrialState] = {
    "finished": "COMPLETE",
    "failed": "FAIL",
    "crashed": "FAIL",
    "killed": "PRUNED",  # by the early stopping of a sweep, or by a person
    "preempted": "PRUNED",
}
"""What W&B says of a run -> what it is as a trial; all else still runs."""
_OWN_PLACES = ("output_dir", "logging_dir", "run_name", "_name_or_path")
"""Keys that Hugging Face's Trainer writes and that differ from run to run without being choices."""
_NOT_CHOSEN = ("_wandb", "wandb_version", "tunesmith")
"""Keys that W&B, or a search of ours, adds to a config by itself."""
_SHOWN = 12


def record_of_foreign_runs(runs: Sequence[Run], *, source: str, metric: str | None, mode: Mode | None) -> SearchRecord:
    """The record of `runs`, numbered in their order.

    Raises:
        SpecError: no metric is given, no run has it, or it is not known which way it is better.
    """
    known = sorted({name for run in runs for name in _numbers(run.summary)})
    if metric is None:
        raise SpecError(
            f"the runs of `{source}` are not of tunesmith: say by which of their metrics they are ranked, "
            f"`--metric NAME`. {_listed(known)}"
        )
    if metric not in known:
        raise SpecError(
            f"no run of `{source}` has the metric `{metric}`.{did_you_mean(metric, known)} {_listed(known)}"
        )
    configs = [_flat(run.config) for run in runs]
    varying = _varying(configs)
    trials = [
        _trial(number, run, config, varying=varying, metric=metric)
        for number, (run, config) in enumerate(zip(runs, configs, strict=True))
    ]

    def history_of(number: int) -> list[Row]:
        return [{"step": row.get("_step"), **_scalars(row)} for row in runs[number].rows()]

    return SearchRecord(
        name=source,
        directory=None,
        metric=metric,
        mode=mode or mode_of(metric),
        trials=trials,
        num_planned=None,
        unit="steps",
        document_of=lambda number: runs[number].config,
        history_of=history_of,
    )


def _trial(number: int, run: Run, config: Mapping[str, Any], *, varying: Sequence[str], metric: str) -> TrialRecord:
    numbers = _numbers(run.summary)
    value = numbers.get(metric)
    state = _STATES.get(run.state, "RUNNING")
    error = None
    if state == "COMPLETE" and value is None:
        state, error = "FAIL", f"its summary has no finite number `{metric}`"
    elif state == "FAIL":
        error = f"W&B says that it {run.state}"
    step = run.summary.get("_step")
    last = (int(step), value) if isinstance(step, int | float) and value is not None else None
    seconds = _seconds(run.summary)
    return TrialRecord(
        number=number,
        state=state,
        value=value if state == "COMPLETE" else None,
        params={path: config[path] for path in varying if path in config},
        intermediate=LazyCurve(lambda: _curve(run, metric), last=last),
        steps=int(numbers.get("train/global_step", step if isinstance(step, int | float) else 0)) or None,
        epochs=numbers.get("train/epoch", numbers.get("epoch")),
        seconds=seconds,
        metrics={name: each for name, each in numbers.items() if not name.startswith("_")},
        error=error,
        failure="error" if state == "FAIL" else None,
        stopped_because=f"W&B says that it was {run.state}" if state == "PRUNED" else None,
    )


def _curve(run: Run, metric: str) -> dict[int, float]:
    return {int(row["_step"]): float(row[metric]) for row in run.values(metric) if _is_finite(row.get(metric))}


def _varying(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Paths of which there are two values or more."""
    texts: dict[str, set[str]] = {}
    for config in configs:
        for path, value in config.items():
            texts.setdefault(path, set()).add(json.dumps(value, sort_keys=True, default=str))
    return [path for path, seen in texts.items() if len(seen) > 1 and path.rpartition(".")[2] not in _OWN_PLACES]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and key in _NOT_CHOSEN:
            continue
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a summary, those within mappings by their path. Where W&B keeps several of a metric (`last`, `min`),
    its name alone is the last one."""
    numbers: dict[str, float] = {}
    for key, value in summary.items():
        if _is_finite(value):
            numbers[key] = float(value)
        elif isinstance(value, Mapping):
            inner = _numbers(value)
            numbers |= {f"{key}.{name}": each for name, each in inner.items()}
            for kind in ("last", "best", "min", "max", "mean"):
                if kind in inner:
                    numbers[key] = inner[kind]
                    break
    return numbers


def _seconds(summary: Mapping[str, Any]) -> float | None:
    found = summary.get("_runtime", (summary.get("_wandb") or {}).get("runtime"))
    return float(found) if isinstance(found, int | float) else None


def _scalars(row: Mapping[str, Any]) -> Row:
    return {name: value for name, value in row.items() if isinstance(value, int | float | str) and name[:1] != "_"}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _listed(names: Sequence[str]) -> str:
    told = [name for name in names if not name.startswith("_")]
    if not told:
        return "None of them has a number in its summary."
    more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return f"They have {', '.join(told[:_SHOWN])}{more}."

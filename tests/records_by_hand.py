"""Records made by hand: no study, no training."""

from typing import Any

from analysis.records import SearchRecord, TrialRecord


def finished(number: int, *folds: float, params: dict[str, Any] | None = None, **more: Any) -> TrialRecord:
    """A finished trial whose value is the mean of its folds, or its only one."""
    value = sum(folds) / len(folds)
    return TrialRecord(
        number=number,
        state="COMPLETE",
        value=value,
        params=params or {},
        intermediate={1: value},
        fold_values=folds if len(folds) > 1 else (),
        **more,
    )


def search_of(*trials: TrialRecord, **more: Any) -> SearchRecord:
    """A search with these trials, larger being better."""
    facts: dict[str, Any] = {
        "name": "search", "directory": None, "metric": "eval/accuracy", "mode": "max", "num_planned": len(trials)
    }  # fmt: skip
    folds = max((len(trial.fold_values) for trial in trials), default=0)
    if folds:
        facts |= {"trainings": folds, "divisions": folds, "test_share": 1 / (folds - 1)}
    return SearchRecord(trials=list(trials), **(facts | more))

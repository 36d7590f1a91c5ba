"""From a start to the best configuration, one parameter at a time: which change brings how much.

Fawcett and Hoos (2016), Analysing differences between algorithm configurations through ablation: at each step the
change that helps most. They run each configuration; here the model of the search answers, so figures are expectations.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.axes import Axis
from analysis.importance import FittedSearch, between, fit, importances
from analysis.records import SearchRecord, TrialRecord

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One parameter changed."""

    path: str
    """Which one."""
    name: str
    """The shortest part of its path that is its own."""
    to: str
    """What it became, for a person."""
    value: float
    """The objective that the model expects then."""
    interval: tuple[float, float]
    """Where that lies, as the forests of the model differ (95%)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ablation:
    """The way to the best."""

    start: str
    """Where it begins, in words."""
    start_value: float
    """What the model expects there."""
    steps: tuple[Step, ...]
    """The changes, the one that helps most first."""
    is_of_default: bool
    """Whether it begins at the spec's own values, and not at a trial."""


def ablation(record: SearchRecord) -> Ablation | str:
    """The way to the best trial of `record`, or why there is none, in a sentence. It begins at the values that the spec
    had before the search varied them, where it has all of them, else at the trial in the middle of the ranking.
    """
    import numpy as np

    fitted = fit(record)
    if isinstance(fitted, str):
        return fitted
    if (why_not := importances(record).why_not) is not None:
        return why_not
    best = record.best
    if best is None or best.value is None:
        return "No trial has finished."
    start, words, is_default = _start(record, fitted)
    ends = fitted.points[fitted.trials.index(best), :-1] if best in fitted.trials else _place(best, fitted)
    current: np.ndarray = np.append(start, 0.5)
    goal: np.ndarray = np.append(ends, 0.5)
    sign = 1.0 if fitted.mode == "min" else -1.0
    left = [column for column in range(len(fitted.axes)) if current[column] != goal[column]]
    steps = []
    start_value = float(fitted.surrogate.predict(current[None]).mean())
    while left:
        tried = np.repeat(current[None], len(left), axis=0)
        for row, column in enumerate(left):
            tried[row, column] = goal[column]
        expected = fitted.surrogate.predict(tried)
        row = int(np.argmin(sign * expected.mean(axis=0)))
        column, current = left[row], tried[row]
        axis = fitted.axes[column]
        to = axis.show(best.params[axis.path]) if axis.path in best.params else "none"
        steps.append(
            Step(
                path=axis.path,
                name=axis.name,
                to=to,
                value=float(expected[:, row].mean()),
                interval=between(expected[:, row].tolist()),
            )
        )
        left.remove(column)
    if not steps:
        return "The start is the best configuration already."
    return Ablation(start=words, start_value=start_value, steps=tuple(steps), is_of_default=is_default)


def _start(record: SearchRecord, fitted: FittedSearch) -> "tuple[np.ndarray, str, bool]":
    import numpy as np

    default = record.default
    if default and all(axis.path in default and _fits(axis, default[axis.path]) for axis in fitted.axes):
        return np.asarray([axis.unit(default[axis.path]) for axis in fitted.axes]), "the spec's own values", True
    middle = fitted.trials[int(np.argsort(fitted.values, kind="stable")[len(fitted.values) // 2])]
    return _place(middle, fitted), f"trial {middle.number}, in the middle", False


def _fits(axis: Axis, value: object) -> bool:
    try:
        axis.unit(value)
    except (TypeError, ValueError):
        return False
    return True


def _place(trial: TrialRecord, fitted: FittedSearch) -> "np.ndarray":
    import numpy as np

    return np.asarray(
        [axis.unit(trial.params[axis.path]) if axis.path in trial.params else 0.5 for axis in fitted.axes]
    )

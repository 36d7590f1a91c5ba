"""`stop_trial_when`: conditions over what a trial reports that end it. Knows no ray, no scheduler and no study.

`eval/loss > 10 and epochs >= 2` is arithmetic as in `constraints`, over metrics by name and how far the trial has come.
A name holds its slash; a division has spaces around it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from spaces.errors import SpecError, did_you_mean
from spaces.expressions import Expression
from spaces.reports import TrialReport

PROGRESS_NAMES = ("epochs", "steps", "tokens", "evaluations", "seconds")
"""How far a trial has come."""
TRAINING_NAMES = ("train/loss", "train/grad_norm", "train/learning_rate")
"""What a task reports between its evaluations."""
_METRIC = re.compile(r"[A-Za-z_]\w*(?:/[A-Za-z_]\w*)+")
_SLASH = "__"
_COLUMNS = {"epoch": "epochs", "step": "steps", "tokens": "tokens"}
"""Columns of history rows that say how far a trial has come."""


class StopCondition:
    """One condition."""

    def __init__(self, text: str) -> None:
        """Read `text`. Raises SpecError when it is no expression."""
        self.text = text
        try:
            self._expression = Expression(_METRIC.sub(lambda found: found[0].replace("/", _SLASH), text))
        except SpecError as error:
            raise SpecError(error.message.replace(_SLASH, "/")) from None
        self.names = tuple(name.replace(_SLASH, "/") for name in self._expression.names)
        """The metrics and amounts that it speaks of."""

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is true. What it cannot tell, for a value that is missing or a division by zero, is not."""
        if any(name not in values for name in self.names):
            return False
        try:
            return bool(self._expression.evaluate({name.replace("/", _SLASH): values[name] for name in self.names}))
        except SpecError:
            return False


class StopConditions:
    """All conditions of a search."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._conditions = [StopCondition(text) for text in texts]

    def met_by(self, report: TrialReport) -> str | None:
        """The first condition that held at any time since the report before, with its figures; None when none did."""
        for values in _moments(report) if self._conditions else ():
            for condition in self._conditions:
                if condition.holds(values):
                    figures = ", ".join(f"{name} {values[name]:.4g}" for name in condition.names)
                    return f"{condition.text} ({figures})"
        return None


def check_conditions(texts: Sequence[str], known_metrics: Iterable[str] | None) -> None:
    """Raise SpecError for what is no condition, or speaks of a metric that there is not.

    Args:
        texts: The conditions.
        known_metrics: What a trial reports; None where only the user knows.
    """
    for index, text in enumerate(texts):
        try:
            condition = StopCondition(text)
        except SpecError as error:
            raise error.at(f"search.stop_trial_when.{index}") from None
        if not condition.names:
            raise SpecError(
                f"`{text}` speaks of no metric, so it holds always or never. Write one as in `eval/loss > 10`.",
                path=f"search.stop_trial_when.{index}",
            )
        if known_metrics is None:
            continue
        known = [*known_metrics, *TRAINING_NAMES, *PROGRESS_NAMES]
        for name in condition.names:
            if name not in known:
                raise SpecError(
                    f"`{text}` speaks of `{name}`, which no trial reports.{did_you_mean(name, known)} Known here: "
                    f"{', '.join(known)}. A division has spaces around it.",
                    path=f"search.stop_trial_when.{index}",
                )


def _moments(report: TrialReport) -> Iterator[dict[str, Any]]:
    """What was known of a trial, row by row, and at last at the evaluation itself."""
    progress = report.progress
    values: dict[str, Any] = {}
    for row in report.rows:
        numbers = {name: value for name, value in row.items() if _is_number(value)}
        values |= {_COLUMNS.get(name, name): value for name, value in numbers.items()}
        yield values | {"evaluations": progress.evaluation - ("evaluation" not in row), "seconds": report.seconds}
    yield values | report.metrics | {
        "epochs": progress.epoch, "steps": progress.step, "tokens": progress.tokens,
        "evaluations": progress.evaluation, "seconds": report.seconds,
    }  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

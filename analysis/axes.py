"""The parameters of a search as axes: their scale, their bounds, and each value's place between 0 and 1.

Where the record does not say what a parameter could be (runs of W&B, a table), it is judged by its values. Knows no
plot and no model.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records import ParameterRange, SearchRecord, TrialRecord
from analysis.wording import short_names, show_value

_LOG_FROM = 100.0
"""Positive values this many times apart, or more, were drawn on a log scale, where nobody says so."""
_MAX_CELLS = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One parameter that varied."""

    path: str
    """Where its value goes in the trial document."""
    name: str
    """The shortest part of the path that is its own."""
    choices: tuple[Any, ...] = ()
    """Of a choice: all values that were tried, in order. Empty for a number."""
    low: float = 0.0
    """Of a number: the lower bound."""
    high: float = 1.0
    """Of a number: the upper bound."""
    is_log: bool = False
    """Of a number: whether equal ratios are equal distances."""
    is_integer: bool = False
    """Of a number: whether all its values are whole."""
    has_known_bounds: bool = False
    """Whether the bounds are those of the space, and not just those of the values."""

    @property
    def is_choice(self) -> bool:
        """Whether it is one of listed values."""
        return bool(self.choices)

    @property
    def num_cells(self) -> int:
        """Into how many cells the unit interval is cut: one a value where there are few, which are equally wide."""
        if self.is_choice:
            return len(self.choices)
        if self.is_integer and not self.is_log and self.high - self.low < _MAX_CELLS:
            return int(self.high - self.low) + 1
        return _MAX_CELLS

    def unit(self, value: Any) -> float:
        """The place of `value` between 0 and 1; that of a listed or whole one is the middle of its cell."""
        if self.is_choice:
            return (_position(value, self.choices) + 0.5) / len(self.choices)
        if self.is_integer and not self.is_log and self.num_cells < _MAX_CELLS:
            return (float(value) - self.low + 0.5) / self.num_cells
        low, high, at = (self._scaled(each) for each in (self.low, self.high, float(value)))
        return min(max((at - low) / (high - low), 0.0), 1.0) if high > low else 0.5

    def at(self, place: float) -> Any:
        """The value at `place` between 0 and 1."""
        if self.is_choice:
            return self.choices[min(int(place * len(self.choices)), len(self.choices) - 1)]
        if self.is_integer and not self.is_log and self.num_cells < _MAX_CELLS:
            return int(self.low) + min(int(place * self.num_cells), self.num_cells - 1)
        low, high = self._scaled(self.low), self._scaled(self.high)
        value = low + place * (high - low)
        value = math.exp(value) if self.is_log else value
        return round(value) if self.is_integer else value

    def show(self, value: Any) -> str:
        """`value` for a person."""
        return show_value(value)

    def _scaled(self, value: float) -> float:
        return math.log(max(value, 1e-300)) if self.is_log else value


def axes_of(record: SearchRecord, trials: Sequence[TrialRecord] | None = None) -> list[Axis]:
    """The parameters that have more than one value among `trials` (all of `record` without), in their order."""
    trials = record.trials if trials is None else trials
    values: dict[str, list[Any]] = {}
    for trial in trials:
        for path, value in trial.params.items():
            values.setdefault(path, []).append(value)
    varied = {path: found for path, found in values.items() if len({_key(value) for value in found}) > 1}
    names = short_names(list(values))
    return [_axis(path, names[path], found, record.space.get(path)) for path, found in varied.items()]


def _axis(path: str, name: str, values: Sequence[Any], known: ParameterRange | None) -> Axis:
    if not all(_is_number(value) for value in values) or (known is not None and known.is_choice):
        return Axis(path=path, name=name, choices=_in_order(values))
    low, high = float(min(values)), float(max(values))
    is_integer = all(isinstance(value, int) for value in values)
    if known is None or known.low is None or known.high is None:
        return Axis(
            path=path, name=name, low=low, high=high, is_log=low > 0 and high / low >= _LOG_FROM, is_integer=is_integer
        )
    # Points of `start_from` and of other searches may lie outside.
    return Axis(
        path=path,
        name=name,
        low=min(low, known.low),
        high=max(high, known.high),
        is_log=known.is_log and min(low, known.low) > 0,
        is_integer=is_integer,
        has_known_bounds=True,
    )


def _in_order(values: Sequence[Any]) -> tuple[Any, ...]:
    """Each value once; numbers by size, all else by what it looks like."""
    distinct = {_key(value): value for value in values}
    numbers = sorted(value for value in distinct.values() if _is_number(value))
    others = sorted((value for value in distinct.values() if not _is_number(value)), key=_key)
    return (*numbers, *others)


def _position(value: Any, choices: Sequence[Any]) -> int:
    keys = [_key(choice) for choice in choices]
    return keys.index(_key(value))


def _key(value: Any) -> str:
    # JSON tells 1 from true and "1", which are equal or look alike elsewhere; lists and mappings cannot be hashed.
    return json.dumps(value, sort_keys=True, default=str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

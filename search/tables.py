"""Recorded results -> a table that answers what a trial would have reported. Knows no algorithm and no clock."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from analysis.table_files import STEP_NAMES, is_empty, number, read_table_file
from search.drafts import key_of
from spaces.distributions import Choice
from spaces.documents import get_path, has_path, same_value
from spaces.errors import SpecError, did_you_mean
from spaces.space import Assignment, Space

Lookup = Literal["auto", "exact", "nearest"]
LOOKUPS: tuple[str, ...] = get_args(Lookup)
SECONDS = "seconds"


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """What one configuration reported."""

    steps: tuple[float, ...]
    """Amounts of training, rising; the last one is its end."""
    values: tuple[float, ...]
    """The objective after each; one that is not finite means that the trial diverged there."""
    seconds: tuple[float, ...]
    """Time from the start of the trial to each."""


MISSING = Curve(steps=(1.0,), values=(math.nan,), seconds=(0.0,))
"""What a configuration that is not in the table reports: it diverges at once."""


class Table:
    """Curves by configuration."""

    def __init__(self, space: Space, points: Sequence[Assignment], curves: Sequence[Curve], *, is_exact: bool) -> None:
        """
        Args:
            space: What varies.
            points: The configurations, none twice.
            curves: What each reported.
            is_exact: Whether only recorded configurations have results; else the nearest one answers.
        """
        self.points = tuple(points)
        self.curves = tuple(curves)
        self.is_exact = is_exact
        self._space = space
        self._by_key = {key_of(point): curve for point, curve in zip(points, curves, strict=True)}
        self._scales = [_Scale(parameter.path, parameter.distribution, points) for parameter in space.parameters]
        self._tree: Any = None

    def curve(self, assignment: Assignment) -> Curve:
        """What `assignment` would have reported."""
        found = self._by_key.get(key_of(assignment))
        if found is not None:
            return found
        return MISSING if self.is_exact else self._nearest(assignment)

    def best(self, mode: str) -> float:
        """The best final objective of all configurations.

        Raises:
            SpecError: all diverged.
        """
        finals = [curve.values[-1] for curve in self.curves if all(map(math.isfinite, curve.values))]
        if not finals:
            raise SpecError("no configuration of the table has a finite objective.")
        return min(finals) if mode == "min" else max(finals)

    def _nearest(self, assignment: Assignment) -> Curve:
        from scipy.spatial import cKDTree  # KDTree wraps it, and the wrapping costs as much as the search

        if self._tree is None:
            self._tree = cKDTree(np.array([self._place(point) for point in self.points]))
        # A number counts from 0 to 1 over its range, on its own scale; another choice counts as far as the whole range.
        _, index = self._tree.query(self._place(assignment))
        return self.curves[int(index)]

    def _place(self, assignment: Assignment) -> list[float]:
        return [part for scale in self._scales for part in scale.place(assignment)]


class _Scale:
    """Where the values of one parameter lie."""

    def __init__(self, path: str, distribution: Any, points: Sequence[Assignment]) -> None:
        self._path = path
        self._values: list[Any] = list(distribution.values) if isinstance(distribution, Choice) else []
        self._is_conditional = any(path not in point for point in points)
        if not self._values:
            stored = distribution.to_optuna()
            self._log = bool(stored.log)
            self._low, self._high = self._bent(stored.low), self._bent(stored.high)
            self._to_stored = distribution.to_optuna_value

    def place(self, assignment: Assignment) -> list[float]:
        """Coordinates that lie 1 apart for values that are as different as can be."""
        is_there = self._path in assignment
        presence = [float(is_there)] if self._is_conditional else []
        if self._values:
            place = [
                math.sqrt(0.5) * (is_there and same_value(assignment[self._path], value)) for value in self._values
            ]
            return place + presence
        if not is_there:
            return [0.5, *presence]
        value = self._bent(self._to_stored(assignment[self._path]))
        return [(value - self._low) / ((self._high - self._low) or 1.0), *presence]

    def _bent(self, value: float) -> float:
        return math.log(value) if self._log else float(value)


def read_table(file: Path, space: Space, *, metric: str, document: Mapping[str, Any], lookup: Lookup = "auto") -> Table:
    """The table in a csv, jsonl or parquet file.

    Columns are parameters, by dotted path or the end of one; the metric; and maybe the amount of training and seconds.
    Rows with the same configuration and amount of training are averaged.

    Raises:
        SpecError: the file cannot be read, lacks a column, or has no row for this document.
    """
    frame = read_table_file(file)
    columns = list(frame.columns)
    objective = _column(metric, columns, separators="./", what="the objective", file=file)
    paths = {
        path: _column(path, columns, separators=".", what="a searched parameter", file=file) for path in space.paths
    }
    steps = [name for name in columns if name in STEP_NAMES and name not in paths.values()]
    if len(steps) > 1:
        raise SpecError(f"`{file}` has several columns for the amount of training: {', '.join(steps)}. Leave one.")
    frame = _of_this_document(frame, document, {*paths.values(), objective, SECONDS, *steps}, file)
    grouped: dict[str, tuple[Assignment, list[tuple[float, float, float]]]] = {}
    seconds = frame[SECONDS] if SECONDS in columns else [math.nan] * len(frame)
    amounts = frame[steps[0]] if steps else [1.0] * len(frame)
    parameters = {path: list(frame[name]) for path, name in paths.items()}
    readers = {parameter.path: _value_reader(parameter.distribution) for parameter in space.parameters}
    for row, (amount, value, clock) in enumerate(zip(amounts, frame[objective], seconds, strict=True)):
        point = {path: readers[path](cells[row]) for path, cells in parameters.items() if not is_empty(cells[row])}
        _, rows = grouped.setdefault(key_of(point), (point, []))
        rows.append((float(amount), number(value), float(clock)))
    points = [point for point, _ in grouped.values()]
    curves = [_curve(rows) for _, rows in grouped.values()]
    is_exact = lookup == "exact" or (lookup == "auto" and _covers(space, points))
    if is_exact and not any(space.contains(point) for point in points):
        raise SpecError(f"no row of `{file}` is a configuration of the space: use `--lookup nearest`.")
    return Table(space, points, curves, is_exact=is_exact)


def _column(name: str, columns: Sequence[str], *, separators: str, what: str, file: Path) -> str:
    """The column that stands for `name`: itself, or the only one that is the end of it."""
    if name in columns:
        return name
    ends = [column for column in columns if any(name.endswith(separator + column) for separator in separators)]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise SpecError(f"`{file}` has several columns that may mean `{name}`: {', '.join(ends)}.")
    raise SpecError(
        f"`{file}` has no column for `{name}`, {what}.{did_you_mean(name, columns)} It has {', '.join(columns)}."
    )


def _of_this_document(frame: pd.DataFrame, document: Mapping[str, Any], known: set[str], file: Path) -> pd.DataFrame:
    """Rows that were recorded with what the document has where it does not vary."""
    for column in frame.columns:
        if column in known or not has_path(document, column):
            continue
        wanted = get_path(document, column)
        frame = frame[[same_value(wanted, value) for value in frame[column]]]
        if frame.empty:
            raise SpecError(f"no row of `{file}` has `{column}` = {wanted!r}, which the spec has.")
    return frame


def _value_reader(distribution: Any) -> Any:
    """Cell -> value as the space has it: csv knows no types, and 16 may have become 16.0."""
    if isinstance(distribution, Choice):
        by_text = {str(value): value for value in distribution.values}
        by_number = {float(value): value for value in distribution.values if _is_real(value)}  # type: ignore[arg-type]  # a number

        def read(cell: Any) -> Any:
            if str(cell) in by_text:
                return by_text[str(cell)]
            return by_number.get(float(cell), cell) if _is_real(cell) else cell

        return read

    def nearest(cell: Any) -> Any:
        value = float(cell)
        stored = distribution.from_optuna_value(distribution.to_optuna_value(value))
        # What the file rounded is still meant; what lies between the points of the space is not.
        return stored if math.isclose(stored, value, rel_tol=1e-4) else value

    return nearest


def _covers(space: Space, points: Sequence[Assignment]) -> bool:
    """Whether every value of a finite space stands somewhere in the table."""
    if not space.is_finite or space.grid_size(constrained=False) > 1_000_000:
        return False
    for parameter in space.parameters:
        recorded = {repr(point.get(parameter.path)) for point in points}
        if not {repr(value) for value in parameter.distribution.grid()} <= recorded:
            return False
    return True


def _curve(rows: Sequence[tuple[float, float, float]]) -> Curve:
    by_step: dict[float, list[tuple[float, float]]] = {}
    for step, value, clock in rows:
        by_step.setdefault(step, []).append((value, clock))
    steps, values, seconds = [], [], []
    for step in sorted(by_step):
        measured = by_step[step]
        value = sum(one for one, _ in measured) / len(measured)
        clock = sum(other for _, other in measured) / len(measured)
        steps.append(step)
        values.append(value)
        seconds.append(step if math.isnan(clock) else clock)
        if not math.isfinite(value):
            break
    return Curve(steps=tuple(steps), values=tuple(values), seconds=tuple(seconds))


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)

"""Arithmetic of numeric ranges: checks of bounds and steps, and which values they reach. Knows no trials, no Optuna."""

import math
from bisect import bisect_left
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol

from spaces.errors import SpecError

MAX_GRID = 1_000_000
"""Most values that one parameter may have on a grid."""
TOLERANCE = 1e-9
"""Relative difference up to which two floats count as the same."""


class FloatRange(Protocol):
    """Bounds of a number, with at most one of `step` and `num`."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def step(self) -> float | None: ...
    @property
    def num(self) -> int | None: ...
    def from_optuna_value(self, stored: Any) -> float: ...


class IntRange(Protocol):
    """Bounds of a whole number, with at most one of `step` and `num`."""

    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int: ...
    @property
    def step(self) -> int | None: ...
    @property
    def num(self) -> int | None: ...
    def from_optuna_value(self, stored: Any) -> int: ...


# --- checks ----------------------------------------------------------------------------------------------


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number, and not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(name: str, value: Any) -> float:
    """A finite float. Accepts `"1e-4"`, which is a text in YAML 1.1."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise SpecError(f"`{name}` must be a number, but got the text {value!r}.") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SpecError(f"`{name}` must be a number, but got {value!r}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SpecError(f"`{name}` must be a finite number, but got {value!r}.")
    return number


def whole_number(name: str, value: Any) -> int:
    """An int that Optuna can store. Accepts `"4"` and 4.0."""
    whole = value
    if isinstance(value, bool) or not isinstance(value, int):
        as_float = number(name, value)
        if not as_float.is_integer():
            raise SpecError(f"`{name}` must be a whole number, but got {value!r}. Fractions need `uniform`.")
        whole = int(as_float)
    # Optuna's databases hold every number as a float.
    if abs(whole) > 2**53:
        raise SpecError(f"`{name}` must be at most 2^53 = {2**53}, but got {whole}. Use `uniform` or `log_uniform`.")
    return whole


def check_float_range(given: FloatRange) -> None:
    """Make bounds and step finite floats that fit each other, in place: the checked class calls this as it is built."""
    for name in ("low", "high"):
        object.__setattr__(given, name, number(name, getattr(given, name)))
    _check_order(given.low, given.high)
    if not math.isfinite(given.high - given.low):
        raise SpecError(f"`high - low` must be finite, but got low={given.low}, high={given.high}.")
    if given.step is not None:
        object.__setattr__(given, "step", number("step", given.step))
        check_step(given.step, given.low, given.high)
    _check_num(given)


def check_int_range(given: IntRange) -> None:
    """As `check_float_range`, for whole numbers."""
    for name in ("low", "high"):
        object.__setattr__(given, name, whole_number(name, getattr(given, name)))
    _check_order(given.low, given.high)
    if given.step is not None:
        object.__setattr__(given, "step", whole_number("step", given.step))
        check_step(given.step, given.low, given.high)
    _check_num(given)
    if given.num is not None and given.num > given.high - given.low + 1:
        raise SpecError(
            f"`num` must be at most the {given.high - given.low + 1} whole numbers from {given.low} to {given.high}, "
            f"but got {given.num}."
        )


def _check_order(low: float, high: float) -> None:
    if low == high:
        raise SpecError(f"`low < high` must hold, but both are {low}. A fixed value belongs into its section.")
    if low > high:
        raise SpecError(f"`low < high` must hold, but got low={low}, high={high}. Exchange them.")


def check_above_zero(given: FloatRange | IntRange, plain_kind: str) -> None:
    """Refuse a log scale that touches zero; `plain_kind` can do that."""
    if given.low <= 0:
        raise SpecError(
            f"`0 < low < high` must hold on a log scale, but got low={given.low}, high={given.high}. A range that "
            f"starts at zero needs `{plain_kind}`."
        )


def check_step(step: float, low: float, high: float) -> None:
    """Refuse a step that is not positive or leaves the range at once."""
    if step <= 0:
        raise SpecError(f"`step > 0` must hold, but got step={step}.")
    # A third of the range thrice is the range, up to rounding.
    if step > (high - low) * (1 + TOLERANCE):
        raise SpecError(
            f"`step <= high - low` must hold, but got step={step} for a range of {high - low}. Give a smaller `step`."
        )


def _check_num(given: FloatRange | IntRange) -> None:
    if given.num is None:
        return
    object.__setattr__(given, "num", whole_number("num", given.num))
    if given.step is not None:
        raise SpecError(f"give either `step` or `num`, but got step={given.step} and num={given.num}.")
    if not 2 <= given.num <= MAX_GRID:
        raise SpecError(f"`2 <= num <= {MAX_GRID}` must hold, but got num={given.num}. One value needs `choice`.")


def check_grid_size(num_values: int) -> None:
    """Refuse a grid that no one could go through."""
    if num_values > MAX_GRID:
        raise SpecError(
            f"a grid may have {MAX_GRID} values per parameter, but this one has {num_values}. Give a larger `step`, or "
            "`num`."
        )


# --- steps and points ------------------------------------------------------------------------------------


def count(given: FloatRange) -> int | None:
    """How many values the range has; None when it is continuous."""
    if given.num is not None:
        return given.num
    return None if given.step is None else last_step(given.low, given.high, given.step) + 1


def stepped_grid(given: FloatRange) -> tuple[float, ...]:
    """All values of a range with a step."""
    if given.step is None:
        raise SpecError(
            "a grid needs finitely many values, but this range is continuous. Give `step` or `num`, or use `choice`."
        )
    last = last_step(given.low, given.high, given.step)
    check_grid_size(last + 1)
    return tuple(on_step(given.low, given.step, index) for index in range(last + 1))


@lru_cache(maxsize=1024)
def last_step(low: float, high: float, step: float) -> int:
    """How many steps fit between the bounds."""
    # In decimals, as Optuna counts: (0.3 - 0) / 0.1 is 2.9999999999999996 in floats.
    steps = (Decimal(str(high)) - Decimal(str(low))) / Decimal(str(step))
    nearest = round(steps)
    return nearest if abs(steps - nearest) < Decimal("1e-9") else int(steps)


def last_value(low: float, high: float, step: float) -> float:
    """The largest value that the steps reach."""
    return on_step(low, step, last_step(low, high, step))


@lru_cache(maxsize=1024)
def is_short_decimal(low: float, high: float, step: float) -> bool:
    """Whether the largest value that the steps reach is, written in digits, just that many steps above `low`.

    With 0.1 it is, with 1/3 it is not: there Optuna, which counts in these digits, would lose the largest value.
    """
    exact = Decimal(str(low)) + last_step(low, high, step) * Decimal(str(step))
    return Decimal(str(float(exact))) == exact


@lru_cache(maxsize=4096)
def on_step(start: float, step: float, index: int) -> float:
    """`start` after `index` steps."""
    # In decimals: three steps of 0.1 are to be 0.3, not 0.30000000000000004.
    return float(Decimal(str(start)) + index * Decimal(str(step)))


def nearest_step(low: float, high: float, step: float, value: float) -> float:
    """The step nearest to `value`."""
    index = round((value - low) / step)
    return on_step(low, step, min(max(index, 0), last_step(low, high, step)))


def cell(position: float, num: int) -> int:
    """Which of `num` values the position, from 0 to 1, stands for."""
    # Cut [0, 1] into `num` equal cells, so that each value is as likely as the others; index/(num - 1), the position
    # of the value itself, lies in its own cell.
    return min(max(int(position * num), 0), num - 1)


def spaced_point(low: float, high: float, num: int, index: int) -> float:
    """Value `index` of `num` evenly spaced ones."""
    return high if index == num - 1 else low + (high - low) * index / (num - 1)


def log_spaced_point(low: float, high: float, num: int, index: int) -> float:
    """Value `index` of `num` ones that are evenly spaced on a log scale."""
    if index in (0, num - 1):
        return high if index else low
    start, end = math.log10(low), math.log10(high)
    # Twelve digits are plenty, and 1e-5 to 1e-2 gives 1e-4 and not 9.999999999999999e-05.
    return min(max(float(f"{10 ** (start + (end - start) * index / (num - 1)):.12g}"), low), high)


@lru_cache(maxsize=256)
def int_points(low: int, high: int, num: int, on_log_scale: bool) -> tuple[int, ...]:
    """The different whole numbers nearest to `num` evenly spaced points, rising."""
    point = log_spaced_point if on_log_scale else spaced_point
    points = {min(max(round(point(low, high, num, index)), low), high) for index in range(num)}
    return tuple(sorted(points))


def nearest_int_step(low: int, high: int, step: int, value: int) -> int:
    """The one of low, low + step, ... up to high that is nearest to `value`."""
    index = round((value - low) / step)
    return low + min(max(index, 0), (high - low) // step) * step


def nearest_point(points: tuple[int, ...], value: int, *, on_log_scale: bool) -> int:
    """The one of the rising `points` that is nearest to `value`; the lower of two."""
    after = min(bisect_left(points, value), len(points) - 1)
    candidates = points[max(after - 1, 0) : after + 1]
    if on_log_scale:
        return min(candidates, key=lambda point: abs(math.log(point / value)))
    return min(candidates, key=lambda point: abs(point - value))


def is_float_within(given: FloatRange, value: Any) -> bool:
    """Whether a range reaches `value`, up to rounding."""
    if not is_number(value) or not given.low <= value <= given.high * (1 + math.copysign(TOLERANCE, given.high)):
        return False
    if given.step is None and given.num is None:
        return bool(value <= given.high)
    nearest = given.from_optuna_value(value)
    spacing = given.step if given.step is not None else 0.0
    return math.isclose(value, nearest, rel_tol=TOLERANCE, abs_tol=TOLERANCE * spacing)


def is_int_within(given: IntRange, value: Any) -> bool:
    """Whether a range reaches `value`."""
    if not is_number(value) or value != int(value) or not given.low <= value <= given.high:
        return False
    return given.from_optuna_value(value) == value

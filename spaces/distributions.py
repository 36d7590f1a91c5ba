"""Distributions: what one parameter may be, and how it is drawn. Each checks itself. Knows no paths.

One meaning for every algorithm: `grid`, `sample` and `suggest` reach the same values, with the same probabilities
where they draw. Optuna stores numbers and texts only, and has no steps on a log scale and no normal distribution; so
what it stores may differ from the value, and `to_optuna_value`/`from_optuna_value` lead from one to the other.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Any

from spaces.documents import Value, same_value
from spaces.errors import SpecError
from spaces.ranges import (
    TOLERANCE,
    cell,
    check_above_zero,
    check_float_range,
    check_grid_size,
    check_int_range,
    check_step,
    count,
    int_points,
    is_float_within,
    is_int_within,
    is_number,
    is_short_decimal,
    last_step,
    last_value,
    log_spaced_point,
    nearest_int_step,
    nearest_point,
    nearest_step,
    number,
    on_step,
    spaced_point,
    stepped_grid,
)
from spaces.reports import Scalar

_NORMAL_TAILS = 6.0
"""A normal distribution ends this many standard deviations from its mean: 2 values in 10^9 lie beyond."""


class Distribution(ABC):
    """What one parameter may be."""

    __slots__ = ()

    @abstractmethod
    def sample(self, rng: Random) -> Value:
        """A value drawn at random. A list or mapping is shared: copy before changing it."""

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Whether `value` can be drawn (floats: up to rounding)."""

    @property
    @abstractmethod
    def num_values(self) -> int | None:
        """How many values there are; None when a continuous range cannot be counted."""

    @abstractmethod
    def grid(self) -> tuple[Value, ...]:
        """All values, numbers in rising order.

        Raises:
            SpecError: there are infinitely or far too many.
        """

    @abstractmethod
    def suggest(self, trial: Any, name: str) -> Value:
        """Ask an Optuna trial for a value."""

    @abstractmethod
    def to_optuna(self) -> Any:
        """Optuna's distribution of what `suggest` stores."""

    @abstractmethod
    def to_optuna_value(self, value: Any) -> Scalar:
        """What Optuna stores for `value`, which must be contained."""

    @abstractmethod
    def from_optuna_value(self, stored: Any) -> Value:
        """The value for what Optuna stored."""


# --- floats ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Uniform(Distribution):
    """A number drawn evenly between two bounds."""

    low: float
    """Smallest value, included."""
    high: float
    """Largest value, included unless `step` does not lead there."""
    step: float | None = None
    """Only low, low + step, low + 2 step and so on."""
    num: int | None = None
    """Only this many values, evenly spaced from low to high, each as likely as the others."""

    def __post_init__(self) -> None:
        check_float_range(self)

    @property
    def num_values(self) -> int | None:
        return count(self)

    def grid(self) -> tuple[float, ...]:
        if self.num is not None:
            return tuple(self._point(index) for index in range(self.num))
        return stepped_grid(self)

    def sample(self, rng: Random) -> float:
        if self.step is not None:
            return on_step(self.low, self.step, rng.randint(0, last_step(self.low, self.high, self.step)))
        return self.from_optuna_value(rng.uniform(self.low, self.high))

    def contains(self, value: Any) -> bool:
        return is_float_within(self, value)

    def suggest(self, trial: Any, name: str) -> float:
        low, high, step = self._in_optuna()
        return self.from_optuna_value(trial.suggest_float(name, low, high, step=step))

    def to_optuna(self) -> Any:
        from optuna.distributions import FloatDistribution

        low, high, step = self._in_optuna()
        return FloatDistribution(low, high, step=step)

    def to_optuna_value(self, value: Any) -> float:
        return self.from_optuna_value(value)

    def from_optuna_value(self, stored: Any) -> float:
        low, high, step = self._in_optuna()
        value = min(max(float(stored), low), high)
        if self.num is not None:
            return self._point(cell((value - low) / (high - low), self.num))
        if self.step is None:
            return value
        if step is None:
            return on_step(low, self.step, cell((value - low) / (high - low), last_step(low, high, self.step) + 1))
        return nearest_step(low, high, step, value)

    def _in_optuna(self) -> tuple[float, float, float | None]:
        if self.step is None:
            return self.low, self.high, None
        # Optuna warns, on every draw, of a range that the step does not divide.
        high = last_value(self.low, self.high, self.step)
        return self.low, high, self.step if is_short_decimal(self.low, self.high, self.step) else None

    def _point(self, index: int) -> float:
        return spaced_point(self.low, self.high, self.num or 2, index)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogUniform(Distribution):
    """A positive number drawn evenly on a log scale."""

    low: float
    """Smallest value, included. Must be above zero."""
    high: float
    """Largest value, included unless `step` does not lead there."""
    step: float | None = None
    """What is drawn on the log scale is rounded to the nearest of low, low + step, low + 2 step and so on."""
    num: int | None = None
    """Only this many values, evenly spaced on the log scale, each as likely as the others."""

    def __post_init__(self) -> None:
        check_float_range(self)
        check_above_zero(self, "uniform")

    @property
    def num_values(self) -> int | None:
        return count(self)

    def grid(self) -> tuple[float, ...]:
        if self.num is not None:
            return tuple(self._point(index) for index in range(self.num))
        return stepped_grid(self)

    def sample(self, rng: Random) -> float:
        return self.from_optuna_value(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))

    def contains(self, value: Any) -> bool:
        return is_float_within(self, value)

    def suggest(self, trial: Any, name: str) -> float:
        return self.from_optuna_value(trial.suggest_float(name, self.low, self.high, log=True))

    def to_optuna(self) -> Any:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=True)

    def to_optuna_value(self, value: Any) -> float:
        return self.from_optuna_value(value)

    def from_optuna_value(self, stored: Any) -> float:
        value = min(max(float(stored), self.low), self.high)
        if self.step is not None:
            return nearest_step(self.low, self.high, self.step, value)
        if self.num is not None:
            start, end = math.log(self.low), math.log(self.high)
            return self._point(cell((math.log(value) - start) / (end - start), self.num))
        return value

    def _point(self, index: int) -> float:
        return log_spaced_point(self.low, self.high, self.num or 2, index)


# --- whole numbers ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Int(Distribution):
    """A whole number drawn evenly between two bounds."""

    low: int
    """Smallest value, included."""
    high: int
    """Largest value, included unless `step` does not lead there."""
    step: int | None = None
    """Only low, low + step, low + 2 step and so on. Default: every whole number."""
    num: int | None = None
    """Only this many values, as evenly spaced as whole numbers can be; what is drawn is rounded to the nearest."""

    def __post_init__(self) -> None:
        check_int_range(self)

    @property
    def num_values(self) -> int:
        return self.num if self.num is not None else (self.high - self.low) // (self.step or 1) + 1

    def grid(self) -> tuple[int, ...]:
        if self.num is not None:
            return int_points(self.low, self.high, self.num, False)
        check_grid_size(self.num_values)
        return tuple(range(self.low, self.high + 1, self.step or 1))

    def sample(self, rng: Random) -> int:
        return self.from_optuna_value(rng.randrange(self.low, self.high + 1, self.step or 1))

    def contains(self, value: Any) -> bool:
        return is_int_within(self, value)

    def suggest(self, trial: Any, name: str) -> int:
        return self.from_optuna_value(trial.suggest_int(name, self.low, self._last(), step=self.step or 1))

    def to_optuna(self) -> Any:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self._last(), step=self.step or 1)

    def to_optuna_value(self, value: Any) -> int:
        return self.from_optuna_value(value)

    def from_optuna_value(self, stored: Any) -> int:
        value = min(max(int(stored), self.low), self.high)
        if self.num is not None:
            return nearest_point(self.grid(), value, on_log_scale=False)
        return nearest_int_step(self.low, self.high, self.step or 1, value)

    def _last(self) -> int:
        # Optuna warns, on every draw, of a range that the step does not divide.
        return self.high - (self.high - self.low) % (self.step or 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogInt(Distribution):
    """A positive whole number drawn evenly on a log scale."""

    low: int
    """Smallest value, included. Must be above zero."""
    high: int
    """Largest value, included unless `step` does not lead there."""
    step: int | None = None
    """What is drawn on the log scale is rounded to the nearest of low, low + step, low + 2 step and so on."""
    num: int | None = None
    """Only this many values, evenly spaced on the log scale; what is drawn is rounded to the nearest."""

    def __post_init__(self) -> None:
        check_int_range(self)
        check_above_zero(self, "int")
        if self.num is not None:
            num_distinct = len(int_points(self.low, self.high, self.num, True))
            if num_distinct < self.num:
                raise SpecError(
                    f"`num` values must differ, but {self.num} values on a log scale from {self.low} to {self.high} "
                    f"are only {num_distinct} different whole numbers. Give a smaller `num`, or use `choice`."
                )

    @property
    def num_values(self) -> int:
        return self.num if self.num is not None else (self.high - self.low) // (self.step or 1) + 1

    def grid(self) -> tuple[int, ...]:
        if self.num is not None:
            return int_points(self.low, self.high, self.num, True)
        check_grid_size(self.num_values)
        return tuple(range(self.low, self.high + 1, self.step or 1))

    def sample(self, rng: Random) -> int:
        # Half a unit beyond both ends, as in Optuna: otherwise rounding would halve the share of the ends.
        drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
        return self.from_optuna_value(min(max(round(drawn), self.low), self.high))

    def contains(self, value: Any) -> bool:
        return is_int_within(self, value)

    def suggest(self, trial: Any, name: str) -> int:
        return self.from_optuna_value(trial.suggest_int(name, self.low, self.high, log=True))

    def to_optuna(self) -> Any:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=True)

    def to_optuna_value(self, value: Any) -> int:
        return self.from_optuna_value(value)

    def from_optuna_value(self, stored: Any) -> int:
        value = min(max(int(stored), self.low), self.high)
        if self.num is not None:
            return nearest_point(self.grid(), value, on_log_scale=True)
        return nearest_int_step(self.low, self.high, self.step or 1, value)


# --- choices ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice(Distribution):
    """One of several values of any kind, without an order. Optuna stores lists and mappings as their JSON text."""

    values: tuple[Value, ...]
    """What there is to choose from."""

    def __post_init__(self) -> None:
        if not isinstance(self.values, list | tuple):
            raise SpecError(
                f"`choice` needs a list of values, such as `{{choice: [16, 32]}}`, but got {self.values!r}."
            )
        if not self.values:
            raise SpecError("`choice` needs at least one value, but got an empty list.")
        object.__setattr__(self, "values", tuple(self.values))
        for index, value in enumerate(self.values):
            _check_plain(value)
            if any(same_value(value, earlier) for earlier in self.values[:index]):
                raise SpecError(f"the values of `choice` must differ, but {value!r} stands twice.")

    @property
    def num_values(self) -> int:
        return len(self.values)

    def grid(self) -> tuple[Value, ...]:
        return self.values

    def sample(self, rng: Random) -> Value:
        return self.values[int(rng.random() * len(self.values))]

    def contains(self, value: Any) -> bool:
        return any(same_value(value, known) for known in self.values)

    def suggest(self, trial: Any, name: str) -> Value:
        return self.from_optuna_value(trial.suggest_categorical(name, self._stored()))

    def to_optuna(self) -> Any:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self._stored())

    def to_optuna_value(self, value: Any) -> Scalar:
        for known, stored in zip(self.values, self._stored(), strict=True):
            if same_value(value, known):
                return stored
        raise SpecError(f"{value!r} is none of the choices {list(self.values)!r}.")

    def from_optuna_value(self, stored: Any) -> Value:
        for value, known in zip(self.values, self._stored(), strict=True):
            if same_value(stored, known):
                return value
        raise SpecError(f"{stored!r} is none of the choices {list(self.values)!r}.")

    def _stored(self) -> tuple[Scalar, ...]:
        stored = tuple(
            value if isinstance(value, Scalar) else json.dumps(value, sort_keys=True) for value in self.values
        )
        # Optuna finds a choice by `==`, which takes 1 for true, and a text may look like another value's JSON.
        if len(set(stored)) < len(stored):
            return tuple(json.dumps(value, sort_keys=True) for value in self.values)
        return stored


def _check_plain(value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise SpecError(f"keys in a choice must be texts, but got {key!r}. Put it in quotes.")
            _check_plain(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"numbers in a choice must be finite, but got {value!r}.")
    elif not isinstance(value, Scalar):
        raise SpecError(
            f"choices are numbers, texts, true, false, null, lists or mappings, but got {value!r} "
            f"({type(value).__name__}). Put it in quotes."
        )


# --- normal ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Normal(Distribution):
    """A number drawn from a normal distribution, cut at its bounds.

    Optuna knows flat ranges only. It stores the share of the distribution below the value, from 0 to 1 (0.5 is the
    median), so that its samplers draw the bell curve and not a flat range; `from_optuna_value` gives the value.
    """

    mean: float
    """Center of the bell curve."""
    std: float
    """Its standard deviation."""
    low: float | None = None
    """Smallest value, included. Default: mean - 6 std."""
    high: float | None = None
    """Largest value, included. Default: mean + 6 std."""
    step: float | None = None
    """What is drawn is rounded to the nearest multiple of step, counted from `low`, or from `mean` without it."""

    def __post_init__(self) -> None:
        for name in ("mean", "std", "low", "high", "step"):
            if name in ("mean", "std") or getattr(self, name) is not None:
                object.__setattr__(self, name, number(name, getattr(self, name)))
        if self.std <= 0:
            raise SpecError(f"`std > 0` must hold, but got std={self.std}.")
        if not math.isfinite(self.mean - 6 * self.std) or not math.isfinite(self.mean + 6 * self.std):
            raise SpecError(
                f"the distribution must stay finite, but got mean={self.mean}, std={self.std}. Give a smaller `std`."
            )
        low, high = self._bounds()
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise SpecError(f"`low < high` must hold, but got low={self.low}, high={self.high}.")
        below, above = self._shares()
        if low >= high or above - below < 1e-6:
            raise SpecError(
                f"the bounds must leave some of the distribution, but between low={low} and high={high} there is next "
                f"to nothing of mean={self.mean}, std={self.std}. Move the bounds, or use `uniform`."
            )
        if self.step is not None:
            check_step(self.step, low, high)

    @property
    def num_values(self) -> int | None:
        # Without bounds the far tails would fill a grid.
        if self.step is None or self.low is None or self.high is None:
            return None
        first, last = self._steps(self.low, self.step)
        return last - first + 1

    def grid(self) -> tuple[float, ...]:
        if self.step is None or self.low is None or self.high is None:
            raise SpecError(
                "a grid needs finitely many values, but `normal` is continuous. Give `low`, `high` and `step`, or use "
                "`choice`."
            )
        first, last = self._steps(self.low, self.step)
        check_grid_size(last - first + 1)
        return tuple(on_step(self.low, self.step, index) for index in range(first, last + 1))

    def sample(self, rng: Random) -> float:
        return self.from_optuna_value(rng.random())

    def contains(self, value: Any) -> bool:
        if not is_number(value):
            return False
        low, high = self._bounds()
        if self.step is None:
            return low <= value <= high
        nearest = self._rounded(min(max(float(value), low), high))
        return math.isclose(value, nearest, rel_tol=TOLERANCE, abs_tol=TOLERANCE * self.step)

    def suggest(self, trial: Any, name: str) -> float:
        return self.from_optuna_value(trial.suggest_float(name, 0.0, 1.0))

    def to_optuna(self) -> Any:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(0.0, 1.0)

    def to_optuna_value(self, value: Any) -> float:
        below, above = self._shares()
        share = (NormalDist(self.mean, self.std).cdf(float(value)) - below) / (above - below)
        return min(max(share, 0.0), 1.0)

    def from_optuna_value(self, stored: Any) -> float:
        low, high = self._bounds()
        below, above = self._shares()
        if stored <= 0:
            value = low
        elif stored >= 1:
            value = high
        else:
            share = below + float(stored) * (above - below)
            value = NormalDist(self.mean, self.std).inv_cdf(share) if 0 < share < 1 else (low if share <= 0 else high)
        return self._rounded(min(max(value, low), high))

    def _bounds(self) -> tuple[float, float]:
        low, high = self.mean - _NORMAL_TAILS * self.std, self.mean + _NORMAL_TAILS * self.std
        return (
            low if self.low is None else max(low, self.low),
            high if self.high is None else min(high, self.high),
        )

    def _shares(self) -> tuple[float, float]:
        low, high = self._bounds()
        bell = NormalDist(self.mean, self.std)
        return bell.cdf(low), bell.cdf(high)

    def _rounded(self, value: float) -> float:
        if self.step is None:
            return value
        start = self.low if self.low is not None else self.mean
        first, last = self._steps(start, self.step)
        return on_step(start, self.step, min(max(round((value - start) / self.step), first), last))

    def _steps(self, start: float, step: float) -> tuple[int, int]:
        # The first and last multiple within the bounds; `start` itself may lie below them.
        low, high = self._bounds()
        return math.ceil((low - start) / step - TOLERANCE), math.floor((high - start) / step + TOLERANCE)


DISTRIBUTIONS: dict[str, type[Distribution]] = {
    "uniform": Uniform,
    "log_uniform": LogUniform,
    "int": Int,
    "log_int": LogInt,
    "choice": Choice,
    "normal": Normal,
}

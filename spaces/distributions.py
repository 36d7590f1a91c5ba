"""Distributions: what one parameter may be, and how it is drawn. Each checks itself. Knows no paths, no other parameters.

One meaning for every algorithm: `grid`, `sample` and `suggest` reach the same values, with the same probabilities
where they draw. Optuna stores numbers and texts only, and has no steps on a log scale and no normal distribution; so
what it stores may differ from the value, and `to_optuna_value`/`from_optuna_value` lead from one to the other.
"""

import json
import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from random import Random
from statistics import NormalDist
from typing import Any

from spaces.documents import Value, same_value
from spaces.errors import SpecError, did_you_mean
from spaces.reports import Scalar

MAX_GRID = 1_000_000
"""Most values that one parameter may have on a grid."""
_NORMAL_TAILS = 6.0
"""A normal distribution ends this many standard deviations from its mean: 2 values in 10^9 lie beyond."""
_TOLERANCE = 1e-9


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
        _check_float_range(self)

    @property
    def num_values(self) -> int | None:
        return _count(self)

    def grid(self) -> tuple[float, ...]:
        if self.num is not None:
            return tuple(self._point(index) for index in range(self.num))
        return _stepped_grid(self)

    def sample(self, rng: Random) -> float:
        if self.step is not None:
            return _on_step(self.low, self.step, rng.randint(0, _last_step(self.low, self.high, self.step)))
        return self.from_optuna_value(rng.uniform(self.low, self.high))

    def contains(self, value: Any) -> bool:
        return _is_float_within(self, value)

    def suggest(self, trial: Any, name: str) -> float:
        if self.step is None:
            return self.from_optuna_value(trial.suggest_float(name, self.low, self.high))
        # Optuna warns, on every draw, of a range that the step does not divide.
        return self.from_optuna_value(
            trial.suggest_float(name, self.low, _last_value(self.low, self.high, self.step), step=self.step)
        )

    def to_optuna(self) -> Any:
        from optuna.distributions import FloatDistribution

        if self.step is None:
            return FloatDistribution(self.low, self.high)
        return FloatDistribution(self.low, _last_value(self.low, self.high, self.step), step=self.step)

    def to_optuna_value(self, value: Any) -> float:
        return self.from_optuna_value(value)

    def from_optuna_value(self, stored: Any) -> float:
        value = min(max(float(stored), self.low), self.high)
        if self.step is not None:
            return _nearest_step(self.low, self.high, self.step, value)
        if self.num is not None:
            return self._point(_cell((value - self.low) / (self.high - self.low), self.num))
        return value

    def _point(self, index: int) -> float:
        return _spaced_point(self.low, self.high, self.num or 2, index)


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
        _check_float_range(self)
        _check_above_zero(self, "uniform")

    @property
    def num_values(self) -> int | None:
        return _count(self)

    def grid(self) -> tuple[float, ...]:
        if self.num is not None:
            return tuple(self._point(index) for index in range(self.num))
        return _stepped_grid(self)

    def sample(self, rng: Random) -> float:
        return self.from_optuna_value(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))

    def contains(self, value: Any) -> bool:
        return _is_float_within(self, value)

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
            return _nearest_step(self.low, self.high, self.step, value)
        if self.num is not None:
            start, end = math.log(self.low), math.log(self.high)
            return self._point(_cell((math.log(value) - start) / (end - start), self.num))
        return value

    def _point(self, index: int) -> float:
        return _log_spaced_point(self.low, self.high, self.num or 2, index)


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
        _check_int_range(self)

    @property
    def num_values(self) -> int:
        return self.num if self.num is not None else (self.high - self.low) // (self.step or 1) + 1

    def grid(self) -> tuple[int, ...]:
        if self.num is not None:
            return _int_points(self.low, self.high, self.num, False)
        _check_grid_size(self.num_values)
        return tuple(range(self.low, self.high + 1, self.step or 1))

    def sample(self, rng: Random) -> int:
        return self.from_optuna_value(rng.randrange(self.low, self.high + 1, self.step or 1))

    def contains(self, value: Any) -> bool:
        return _is_int_within(self, value)

    def suggest(self, trial: Any, name: str) -> int:
        return self.from_optuna_value(trial.suggest_int(name, self.low, self._last(), step=self.step or 1))

    def to_optuna(self) -> Any:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self._last(), step=self.step or 1)

    def to_optuna_value(self, value: Any) -> int:
        return self.from_optuna_value(value)

    def from_optuna_value(self, stored: Any) -> int:
        return _nearest_int(self, int(stored))

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
        _check_int_range(self)
        _check_above_zero(self, "int")
        if self.num is not None:
            num_distinct = len(_int_points(self.low, self.high, self.num, True))
            if num_distinct < self.num:
                raise SpecError(
                    f"`num` values must differ, but {self.num} values on a log scale from {self.low} to {self.high} are "
                    f"only {num_distinct} different whole numbers. Give a smaller `num`, or use `choice`."
                )

    @property
    def num_values(self) -> int:
        return self.num if self.num is not None else (self.high - self.low) // (self.step or 1) + 1

    def grid(self) -> tuple[int, ...]:
        if self.num is not None:
            return _int_points(self.low, self.high, self.num, True)
        _check_grid_size(self.num_values)
        return tuple(range(self.low, self.high + 1, self.step or 1))

    def sample(self, rng: Random) -> int:
        # Half a unit beyond both ends, as in Optuna: otherwise rounding would halve the share of the ends.
        drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
        return self.from_optuna_value(min(max(round(drawn), self.low), self.high))

    def contains(self, value: Any) -> bool:
        return _is_int_within(self, value)

    def suggest(self, trial: Any, name: str) -> int:
        return self.from_optuna_value(trial.suggest_int(name, self.low, self.high, log=True))

    def to_optuna(self) -> Any:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=True)

    def to_optuna_value(self, value: Any) -> int:
        return self.from_optuna_value(value)

    def from_optuna_value(self, stored: Any) -> int:
        return _nearest_int(self, int(stored))


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
                object.__setattr__(self, name, _number(name, getattr(self, name)))
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
                f"the bounds must leave some of the distribution, but between low={low} and high={high} there is next to "
                f"nothing of mean={self.mean}, std={self.std}. Move the bounds, or use `uniform`."
            )
        if self.step is not None:
            _check_step(self.step, low, high)

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
        _check_grid_size(last - first + 1)
        return tuple(_on_step(self.low, self.step, index) for index in range(first, last + 1))

    def sample(self, rng: Random) -> float:
        return self.from_optuna_value(rng.random())

    def contains(self, value: Any) -> bool:
        if not _is_number(value):
            return False
        low, high = self._bounds()
        if self.step is None:
            return low <= value <= high
        nearest = self._rounded(min(max(float(value), low), high))
        return math.isclose(value, nearest, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE * self.step)

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
        return _on_step(start, self.step, min(max(round((value - start) / self.step), first), last))

    def _steps(self, start: float, step: float) -> tuple[int, int]:
        # The first and last multiple within the bounds; `start` itself may lie below them.
        low, high = self._bounds()
        return math.ceil((low - start) / step - _TOLERANCE), math.floor((high - start) / step + _TOLERANCE)


# --- the YAML form ---------------------------------------------------------------------------------------

DISTRIBUTIONS: dict[str, type[Distribution]] = {
    "uniform": Uniform,
    "log_uniform": LogUniform,
    "int": Int,
    "log_int": LogInt,
    "choice": Choice,
    "normal": Normal,
}
_OPTIONS = {
    "uniform": ("step", "num"),
    "log_uniform": ("step", "num"),
    "int": ("step", "num"),
    "log_int": ("step", "num"),
    "choice": (),
    "normal": ("low", "high", "step"),
}


def parse_distribution(value: Any, path: str) -> tuple[Distribution, dict[str, tuple[Value, ...]]]:
    """What an entry of `space` says: `{log_uniform: [1e-5, 1e-2], when: {model.adapter.method: lora}}`.

    Args:
        value: The entry, as YAML holds it.
        path: The searched path, which messages begin with.

    Returns:
        The distribution, and for each path under `when` the values it may have.

    Raises:
        SpecError: with `path`.
    """
    try:
        kind, arguments, when = _taken_apart(value, path)
        return _build(kind, arguments), when
    except SpecError as error:
        raise error.at(path) from None


def _taken_apart(value: Any, path: str) -> tuple[str, dict[str, Any], dict[str, tuple[Value, ...]]]:
    known = ", ".join(DISTRIBUTIONS)
    if isinstance(value, list | tuple):
        raise SpecError(
            f"a list is no distribution. To search these values, write `{{choice: {json.dumps(value, default=str)}}}`."
        )
    if not isinstance(value, Mapping):
        section = path.removeprefix("space.").partition(".")[0]
        raise SpecError(
            f"`space` holds what varies, but got the fixed value {value!r}. It belongs into its section `{section}`; to "
            f"search it, write a distribution such as `{{uniform: [0.0, 0.1]}}`."
        )
    kinds = [key for key in value if key in DISTRIBUTIONS]
    if len(kinds) > 1:
        raise SpecError(f"one kind of distribution is needed, but got {' and '.join(f'`{kind}`' for kind in kinds)}.")
    if not kinds:
        unknown = next((str(key) for key in value if key not in ("step", "num", "when", "low", "high")), "")
        given = f"but got `{unknown}`.{did_you_mean(unknown, DISTRIBUTIONS)}" if unknown else "but none is given."
        raise SpecError(f"a kind of distribution is needed, {given} Known kinds: {known}.")
    kind = kinds[0]
    options = {str(key): option for key, option in value.items() if key != kind}
    when = _parse_when(options.pop("when", None))
    for name in options:
        if name not in _OPTIONS[kind]:
            allowed = (*_OPTIONS[kind], "when")
            raise SpecError(
                f"`{kind}` has no option `{name}`.{did_you_mean(name, allowed)} Known: {', '.join(allowed)}."
            )
    return (
        kind,
        {kind: value[kind]} | {name: option for name, option in options.items() if option is not None},
        when,
    )


def _build(kind: str, arguments: dict[str, Any]) -> Distribution:
    given = arguments.pop(kind)
    if kind == "choice":
        return Choice(values=given)
    first, second = ("mean", "std") if kind == "normal" else ("low", "high")
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise SpecError(f"`{kind}` needs two numbers, `{{{kind}: [{first}, {second}]}}`, but got {given!r}.")
    # The kind decides which fields there are, so the type checker cannot follow.
    build: Any = DISTRIBUTIONS[kind]
    distribution: Distribution = build(**{first: given[0], second: given[1]}, **arguments)
    return distribution


def _parse_when(when: Any) -> dict[str, tuple[Value, ...]]:
    if when is None:
        return {}
    if not isinstance(when, Mapping) or not when:
        raise SpecError(
            f"`when` needs paths and the values they must have, such as `{{model.adapter.method: lora}}`, but got "
            f"{when!r}."
        )
    allowed = {str(path): tuple(value) if isinstance(value, list | tuple) else (value,) for path, value in when.items()}
    for path, values in allowed.items():
        if not values:
            raise SpecError(f"`when` needs at least one value of `{path}`, but got an empty list.")
    return allowed


# --- checks ----------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(name: str, value: Any) -> float:
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


def _whole_number(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        as_float = _number(name, value)
        if not as_float.is_integer():
            raise SpecError(f"`{name}` must be a whole number, but got {value!r}. Fractions need `uniform`.")
        number = int(as_float)
    # Optuna's databases hold every number as a float.
    if abs(number) > 2**53:
        raise SpecError(f"`{name}` must be at most 2^53 = {2**53}, but got {number}. Use `uniform` or `log_uniform`.")
    return number


def _check_float_range(given: Uniform | LogUniform) -> None:
    for name in ("low", "high"):
        object.__setattr__(given, name, _number(name, getattr(given, name)))
    _check_order(given.low, given.high)
    if not math.isfinite(given.high - given.low):
        raise SpecError(f"`high - low` must be finite, but got low={given.low}, high={given.high}.")
    if given.step is not None:
        object.__setattr__(given, "step", _number("step", given.step))
        _check_step(given.step, given.low, given.high)
    _check_num(given)


def _check_int_range(given: Int | LogInt) -> None:
    for name in ("low", "high"):
        object.__setattr__(given, name, _whole_number(name, getattr(given, name)))
    _check_order(given.low, given.high)
    if given.step is not None:
        object.__setattr__(given, "step", _whole_number("step", given.step))
        _check_step(given.step, given.low, given.high)
    _check_num(given)
    if given.num is not None and given.num > given.high - given.low + 1:
        raise SpecError(
            f"`num` must be at most the {given.high - given.low + 1} whole numbers from {given.low} to {given.high}, but "
            f"got {given.num}."
        )


def _check_order(low: float, high: float) -> None:
    if low == high:
        raise SpecError(f"`low < high` must hold, but both are {low}. A fixed value belongs into its section.")
    if low > high:
        raise SpecError(f"`low < high` must hold, but got low={low}, high={high}. Exchange them.")


def _check_above_zero(given: LogUniform | LogInt, plain_kind: str) -> None:
    if given.low <= 0:
        raise SpecError(
            f"`0 < low < high` must hold on a log scale, but got low={given.low}, high={given.high}. A range that starts "
            f"at zero needs `{plain_kind}`."
        )


def _check_step(step: float, low: float, high: float) -> None:
    if step <= 0:
        raise SpecError(f"`step > 0` must hold, but got step={step}.")
    # A third of the range thrice is the range, up to rounding.
    if step > (high - low) * (1 + _TOLERANCE):
        raise SpecError(
            f"`step <= high - low` must hold, but got step={step} for a range of {high - low}. Give a smaller `step`."
        )


def _check_num(given: Uniform | LogUniform | Int | LogInt) -> None:
    if given.num is None:
        return
    object.__setattr__(given, "num", _whole_number("num", given.num))
    if given.step is not None:
        raise SpecError(f"give either `step` or `num`, but got step={given.step} and num={given.num}.")
    if not 2 <= given.num <= MAX_GRID:
        raise SpecError(f"`2 <= num <= {MAX_GRID}` must hold, but got num={given.num}. One value needs `choice`.")


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


def _check_grid_size(num_values: int) -> None:
    if num_values > MAX_GRID:
        raise SpecError(
            f"a grid may have {MAX_GRID} values per parameter, but this one has {num_values}. Give a larger `step`, or "
            "`num`."
        )


# --- steps and points ------------------------------------------------------------------------------------


def _count(given: Uniform | LogUniform) -> int | None:
    if given.num is not None:
        return given.num
    return None if given.step is None else _last_step(given.low, given.high, given.step) + 1


def _stepped_grid(given: Uniform | LogUniform) -> tuple[float, ...]:
    if given.step is None:
        raise SpecError(
            "a grid needs finitely many values, but this range is continuous. Give `step` or `num`, or use `choice`."
        )
    last = _last_step(given.low, given.high, given.step)
    _check_grid_size(last + 1)
    return tuple(_on_step(given.low, given.step, index) for index in range(last + 1))


@lru_cache(maxsize=1024)
def _last_step(low: float, high: float, step: float) -> int:
    # In decimals, as Optuna counts: (0.3 - 0) / 0.1 is 2.9999999999999996 in floats.
    steps = (Decimal(str(high)) - Decimal(str(low))) / Decimal(str(step))
    nearest = round(steps)
    return nearest if abs(steps - nearest) < Decimal("1e-9") else int(steps)


def _last_value(low: float, high: float, step: float) -> float:
    return _on_step(low, step, _last_step(low, high, step))


@lru_cache(maxsize=4096)
def _on_step(start: float, step: float, index: int) -> float:
    # In decimals: three steps of 0.1 are to be 0.3, not 0.30000000000000004.
    return float(Decimal(str(start)) + index * Decimal(str(step)))


def _nearest_step(low: float, high: float, step: float, value: float) -> float:
    index = round((value - low) / step)
    return _on_step(low, step, min(max(index, 0), _last_step(low, high, step)))


def _cell(position: float, num: int) -> int:
    # Cut [0, 1] into `num` equal cells, so that each value is as likely as the others; index/(num - 1), the position
    # of the value itself, lies in its own cell.
    return min(max(int(position * num), 0), num - 1)


def _spaced_point(low: float, high: float, num: int, index: int) -> float:
    return high if index == num - 1 else low + (high - low) * index / (num - 1)


def _log_spaced_point(low: float, high: float, num: int, index: int) -> float:
    if index in (0, num - 1):
        return high if index else low
    start, end = math.log10(low), math.log10(high)
    # Twelve digits are plenty, and 1e-5 to 1e-2 gives 1e-4 and not 9.999999999999999e-05.
    return min(max(float(f"{10 ** (start + (end - start) * index / (num - 1)):.12g}"), low), high)


@lru_cache(maxsize=256)
def _int_points(low: int, high: int, num: int, on_log_scale: bool) -> tuple[int, ...]:
    point = _log_spaced_point if on_log_scale else _spaced_point
    points = {min(max(round(point(low, high, num, index)), low), high) for index in range(num)}
    return tuple(sorted(points))


def _nearest_int(given: Int | LogInt, value: int) -> int:
    value = min(max(value, given.low), given.high)
    if given.num is not None:
        points = given.grid()
        after = min(bisect_left(points, value), len(points) - 1)
        candidates = points[max(after - 1, 0) : after + 1]
        if isinstance(given, LogInt):
            return min(candidates, key=lambda point: abs(math.log(point / value)))
        return min(candidates, key=lambda point: abs(point - value))
    step = given.step or 1
    last = (given.high - given.low) // step
    return given.low + min(round((value - given.low) / step), last) * step


def _is_float_within(given: Uniform | LogUniform, value: Any) -> bool:
    if not _is_number(value) or not given.low <= value <= given.high * (1 + math.copysign(_TOLERANCE, given.high)):
        return False
    if given.step is None and given.num is None:
        return bool(value <= given.high)
    nearest = given.from_optuna_value(value)
    spacing = given.step if given.step is not None else 0.0
    return math.isclose(value, nearest, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE * spacing)


def _is_int_within(given: Int | LogInt, value: Any) -> bool:
    if not _is_number(value) or value != int(value) or not given.low <= value <= given.high:
        return False
    return given.from_optuna_value(value) == value

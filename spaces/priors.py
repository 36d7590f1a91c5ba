"""What a user believes of where the best value of one parameter lies. Knows no other parameters and no algorithm.

The words are those of NePS and PriorBand (Mallik et al. 2023, arXiv 2306.12370): a value, and a confidence in it.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, get_args

from spaces.distributions import Choice, Distribution, LogInt, LogUniform
from spaces.documents import Value, same_value
from spaces.errors import SpecError, did_you_mean
from spaces.ranges import number

Confidence = Literal["low", "medium", "high"]
_SPREADS: dict[str, float] = {"low": 0.5, "medium": 0.25, "high": 0.125}
"""Standard deviation of the belief, as a share of the range on its own scale."""
_WEIGHTS: dict[str, float] = {"low": 2.0, "medium": 4.0, "high": 8.0}
"""Of a choice: how many times likelier the believed value is than another one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """A belief in the values around one of them: a normal distribution on the range's own scale, cut at its ends."""

    distribution: Distribution
    """What the value may be at all."""
    value: Value
    """Where the best is believed to lie."""
    confidence: Confidence = "medium"
    """How firmly: `low` is a standard deviation of half the range, `medium` of a quarter, `high` of an eighth."""

    def __post_init__(self) -> None:
        if self.confidence not in _SPREADS:
            known = get_args(Confidence)
            near = did_you_mean(str(self.confidence), known)
            raise SpecError(f"`confidence` is {', '.join(known)}, but got {self.confidence!r}.{near}")
        if isinstance(self.distribution, Choice):
            if not self.distribution.contains(self.value):
                raise SpecError(
                    f"`prior` must be one of the choices {list(self.distribution.values)!r}, but got {self.value!r}."
                )
            return
        if any(getattr(self.distribution, end, None) is None for end in ("low", "high")):
            raise SpecError("a prior needs a range with two ends, or a `choice`.")
        object.__setattr__(self, "value", number("prior", self.value))
        low, high = self._ends()
        if not low <= self._number() <= high:
            raise SpecError(f"`prior` must lie from {low:g} to {high:g}, but got {self.value!r}.")

    def sample(self, rng: Random) -> Value:
        """A value drawn from the belief."""
        if isinstance(self.distribution, Choice):
            values = self.distribution.values
            return rng.choices(values, weights=[math.exp(self.log_weight(value)) for value in values])[0]
        centre, spread = self._place(self._number()), _SPREADS[self.confidence]
        place = rng.gauss(centre, spread)
        while not 0 <= place <= 1:  # at least every second draw, seen from an end, lies inside
            place = rng.gauss(centre, spread)
        return self._at(place)

    def log_weight(self, value: Any) -> float:
        """The logarithm of how likely `value` is believed to be the best: 0 for the believed value, below it for all
        others."""
        if isinstance(self.distribution, Choice):
            return 0.0 if same_value(value, self.value) else -math.log(_WEIGHTS[self.confidence])
        distance = self._place(float(value)) - self._place(self._number())
        return -0.5 * (distance / _SPREADS[self.confidence]) ** 2

    @property
    def centre(self) -> Value:
        """The believed value, or what the range has nearest to it."""
        return self.value if isinstance(self.distribution, Choice) else self._at(self._place(self._number()))

    def _number(self) -> float:
        assert isinstance(self.value, int | float)
        return float(self.value)

    def _ends(self) -> tuple[float, float]:
        low, high = getattr(self.distribution, "low", None), getattr(self.distribution, "high", None)
        assert low is not None
        assert high is not None
        return low, high

    def _place(self, value: float) -> float:
        """Where a value lies, from 0 to 1 on the scale of the range."""
        low, high = self._ends()
        if isinstance(self.distribution, LogUniform | LogInt):
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def _at(self, place: float) -> Value:
        low, high = self._ends()
        if isinstance(self.distribution, LogUniform | LogInt):
            value = low * (high / low) ** place
        else:
            value = low + (high - low) * place
        return self.distribution.from_optuna_value(round(value) if isinstance(low, int) else value)

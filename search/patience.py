"""The rule of patience: a trial that does not get better any more ends, unless it is the best. Knows no ray."""

from search.rules import CONTINUE, STOP, Decision, Rule
from search.stopping import SchedulerConfig


class Patience(Rule):
    """A trial that has not got better for a while ends, unless none was ever better."""

    def __init__(self, config: SchedulerConfig, *, sign: float) -> None:
        """`sign` is 1 where smaller values are better, else -1."""
        self._config = config
        self._sign = sign
        self._best: dict[int, tuple[float, float]] = {}

    def decide(self, number: int, *, resource: float, value: float) -> Decision:
        """Whether it goes on."""
        signed = self._sign * value
        best, at = self._best.get(number, (float("inf"), resource))
        if signed < best - self._config.min_change:
            self._best[number] = best, at = signed, resource
        self._best.setdefault(number, (best, at))
        if resource < self._config.grace or resource - at < self._config.patience:
            return CONTINUE
        is_best = best <= min(other for other, _ in self._best.values())
        return CONTINUE if is_best else STOP

    def why(self, number: int) -> str:
        """Since when."""
        return f"no better value since {self._best[number][1]:g} {self._config.unit}"

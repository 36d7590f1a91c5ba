"""Rungs that stop fewer trials where early ranks do not foretell final ones. Knows Tune's rule by its answer alone."""

import math
from collections.abc import Sequence

import numpy as np

from search.rank_prediction import RankPrediction
from search.rules import CONTINUE, STOP, Decision, Rule
from search.scouts import is_scout


class ProtectedRungs(Rule):
    """Asks a rule with rungs, and may only be more patient than that."""

    def __init__(
        self,
        rule: Rule,
        *,
        rungs: Sequence[float],
        reduction_factor: float,
        prediction: RankPrediction,
        max_resource: float,
        sign: float,
    ) -> None:
        """
        Args:
            rule: The rule whose STOP may be overruled.
            rungs: Where it stops trials.
            reduction_factor: About one in this many goes on there.
            prediction: What is known of these rungs, also from trials of other brackets.
            max_resource: Where every trial ends.
            sign: 1 where smaller values are better, else -1.
        """
        self._rule = rule
        self._rungs = tuple(rungs)
        self._half_factor = math.sqrt(reduction_factor)
        self._prediction = prediction
        self._max = max_resource
        self._sign = sign
        self._values: dict[float, dict[int, float]] = {rung: {} for rung in rungs}

    def add(self, number: int) -> None:
        """A trial starts."""
        self._rule.add(number)

    def decide(self, number: int, *, resource: float, value: float) -> Decision:
        """What the rule says, unless it would stop a scout, or stops at a rung that it should not trust."""
        self._prediction.note(number, resource=resource, value=value)
        decision = self._rule.decide(number, resource=resource, value=value)
        rung = max((rung for rung in self._rungs if rung <= resource), default=None)
        before = [other for who, other in self._values[rung].items() if who != number] if rung is not None else []
        if rung is not None:
            self._values[rung].setdefault(number, value)
        if decision != STOP or resource >= self._max or rung is None:
            return decision
        if is_scout(number):
            return CONTINUE
        trust = self._prediction.at(rung).trust
        if trust == "none" or (trust == "half" and not self._is_far_behind(value, before)):
            return CONTINUE
        return STOP

    def why(self, number: int) -> str:
        """As the rule says."""
        return self._rule.why(number)

    def news(self) -> list[str]:
        """Each change of trust in a rung."""
        return self._prediction.changes()

    def _is_far_behind(self, value: float, before: Sequence[float]) -> bool:
        """Whether a value would be stopped with the square root of the reduction factor."""
        if not before:
            return False
        signed = [self._sign * other for other in before]
        return self._sign * value > float(np.percentile(signed, 100 / self._half_factor))

"""PASHA (Bohdal et al. 2023): rungs as in ASHA, but the longest training grows only while its ranks are not settled.

Trials wait at each rung for others to be compared with. The two highest rungs in use are compared: as long as they rank
their trials alike, up to differences that are noise, more training would tell nothing, and the top stays where it is.
In the last act the best trial at the top trains to the planned end: only that one has a value to be ranked by. Knows no
ray and no checkpoint.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from search.rules import CONTINUE, PAUSE, STOP, Decision, PausingRule
from search.stopping import SchedulerConfig

_NOISE_PERCENTILE = 90.0
"""Of the differences between trials that overtake each other again and again (section 4.2 of the paper)."""


class Pasha(PausingRule):
    """One search."""

    def __init__(self, config: SchedulerConfig, *, max_resource: float, sign: float) -> None:
        """`sign` is 1 where smaller values are better, else -1."""
        self._factor = config.reduction_factor
        self._unit = config.unit
        self._levels = [*config.rungs(max_resource), max_resource]
        self._top = min(1, len(self._levels) - 1)
        self._sign = sign
        self._at: list[dict[int, float]] = [{} for _ in self._levels]
        self._curves: dict[int, dict[float, float]] = {}
        self._paused: dict[int, int] = {}
        self._left: list[set[int]] = [set() for _ in self._levels]
        self._ended: set[int] = set()
        self._finalist: int | None = None
        self._news: list[str] = []

    @property
    def top(self) -> float:
        """The most training that any trial gets so far."""
        return self._levels[self._top]

    def decide(self, number: int, *, resource: float, value: float) -> Decision:
        """At a rung: whether it goes on at once, or waits until enough others have come as far."""
        signed = self._sign * value
        self._curves.setdefault(number, {})[resource] = signed
        if resource >= self._levels[-1]:
            self._at[-1][number] = signed
            return STOP  # its planned end
        level = max((index for index, amount in enumerate(self._levels) if amount <= resource), default=None)
        if number == self._finalist or level is None or number in self._at[level]:
            return CONTINUE
        self._at[level][number] = signed
        if level == self._top:
            self._grow_if_unsettled()
        if number in self._promotable(level, candidates=[number]):
            self._left[level].add(number)
            return CONTINUE
        self._paused[number] = level
        return PAUSE

    def is_paused(self, number: int) -> bool:
        """Whether a trial waits at a rung."""
        return number in self._paused

    def next_paused(self) -> int | None:
        """The best of those that are among the first at their rung; high rungs first."""
        for level in range(self._top - 1, -1, -1):
            waiting = [number for number, at in self._paused.items() if at == level]
            if found := self._promotable(level, candidates=waiting):
                return found[0]
        return None

    def go_on(self, number: int, *, to_the_end: bool = False) -> None:
        """It waits no longer."""
        level = self._paused.pop(number)
        self._left[level].add(number)
        if to_the_end:
            self._finalist = number

    def last_act(self) -> int | None:
        """The best trial at the highest rung that any has reached, unless one has trained to the end already."""
        if self._at[-1]:
            return None
        for level in range(len(self._levels) - 2, -1, -1):
            waiting = [number for number, at in self._paused.items() if at == level]
            if waiting:
                return min(waiting, key=lambda number: (self._at[level][number], number))
        return None

    def end(self, number: int) -> None:
        """It never comes back; what it showed stays."""
        self._ended.add(number)
        self._paused.pop(number, None)

    def why(self, number: int) -> str:
        """Only the planned end stops a trial."""
        return ""

    def news(self) -> list[str]:
        """When the top has grown."""
        news, self._news = self._news, []
        return news

    def _promotable(self, level: int, *, candidates: Sequence[int]) -> list[int]:
        """Those of `candidates` that may leave the rung, best first: one in `reduction_factor` of all that came."""
        if level >= self._top:
            return []
        came = sorted(self._at[level], key=lambda number: (self._at[level][number], number))
        best = came[: int(len(came) / self._factor)]
        return [number for number in best if number in candidates and number not in self._left[level] | self._ended]

    def _grow_if_unsettled(self) -> None:
        if self._top == len(self._levels) - 1:
            return
        here, below = self._at[self._top], self._at[self._top - 1] if self._top else {}
        if ranks_agree(here, below, noise=noise_of({number: self._curves[number] for number in here})):
            return
        before, self._top = self.top, self._top + 1
        self._news.append(
            f"The ranking is not settled after {before:g} {self._unit}: the best trials now get up to {self.top:g}."
        )


def ranks_agree(here: Mapping[int, float], below: Mapping[int, float], *, noise: float) -> bool:
    """Whether two rungs rank the trials of the upper one alike (soft ranking, section 4.1 of the paper): at each place
    stands a trial that is, at the upper rung, within `noise` of the one that stands there."""
    both = [number for number in here if number in below]
    upper = sorted(both, key=lambda number: (here[number], number))
    lower = sorted(both, key=lambda number: (below[number], number))
    return all(abs(here[one] - here[other]) <= noise for one, other in zip(upper, lower, strict=True))


def noise_of(curves: Mapping[int, Mapping[float, float]]) -> float:
    """The differences that are noise: of trials that overtake each other at least twice, the 90th percentile of how far
    they lie apart where both were evaluated last. 0 where none do."""
    apart = []
    for one, other in itertools.combinations(curves.values(), 2):
        shared = sorted(one.keys() & other.keys())
        gaps = [one[resource] - other[resource] for resource in shared]
        signs = [gap > 0 for gap in gaps if gap != 0]
        if sum(first != second for first, second in itertools.pairwise(signs)) >= 2:
            apart.append(abs(gaps[-1]))
    return float(np.percentile(apart, _NOISE_PERCENTILE)) if apart else 0.0

"""Population based training: all trials wait for each other, then the worst go on from the best ones' checkpoints.

Rounds are synchronous, whatever the number of trials at once: all members are compared at the same amount of training,
so what is decided depends on no one's speed. Knows no ray, no files, and not how values are changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import Protocol

from search.proposers import seed_of
from search.rules import CONTINUE, PAUSE, STOP, Decision, HandOver, PausingRule
from search.stopping import SchedulerConfig
from spaces.space import Assignment

_ROUNDING = 1e-6
"""Epochs are rounded to so much when they are reported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What a member had reached when it came to wait."""

    number: int
    """The trial."""
    resource: float
    """Its training so far."""
    score: float
    """Its objective; larger is better."""
    assignment: Assignment
    """What it was trained with since the round before."""


class Explorer(Protocol):
    """Changes the values that a trial goes on with."""

    def observe(self, observation: Observation) -> None:
        """What a member has reached."""

    def adopt(self, hand_over: HandOver, *, score: float) -> None:
        """A hand-over that was decided; the receiver has the donor's `score` from here on."""

    def explore(self, donor: Observation, *, seed: int, is_first: bool) -> Assignment:
        """What a receiver goes on with. `is_first`: it is the first receiver of this round."""


class Population(PausingRule):
    """All trials of one search."""

    def __init__(
        self,
        config: SchedulerConfig,
        *,
        explorer: Explorer,
        first_assignment: Callable[[int], Assignment],
        sign: float,
        seed: int,
        max_resource: float | None,
    ) -> None:
        """
        Args:
            config: The spec's.
            explorer: Changes values.
            first_assignment: What a trial began with.
            sign: 1 where smaller values are better, else -1.
            seed: Of the search.
            max_resource: The planned end, where it is known: there nobody waits any more.
        """
        self._interval = config.interval
        self._quantile = config.quantile
        self._explorer = explorer
        self._first_assignment = first_assignment
        self._sign = sign
        self._seed = seed
        self._max = max_resource
        self._next: dict[int, float] = {}
        self._living: set[int] = set()
        self._waiting: dict[int, Observation] = {}
        self._queue: list[int] = []
        self._assignments: dict[int, Assignment] = {}
        self._decided: list[HandOver] = []
        self._open: dict[int, HandOver] = {}

    def add(self, number: int) -> None:
        """A member."""
        self._living.add(number)
        self._next[number] = self._interval

    def decide(self, number: int, *, resource: float, value: float) -> Decision:
        """At the end of a round it waits for the others."""
        if self._max is not None and resource >= self._max - _ROUNDING:
            return STOP
        if resource < self._next[number] - _ROUNDING:
            return CONTINUE
        self._next[number] = self._interval * (int((resource + _ROUNDING) / self._interval) + 1)
        observation = Observation(
            number=number, resource=resource, score=-self._sign * value, assignment=self._assignment(number)
        )
        self._waiting[number] = observation
        self._explorer.observe(observation)
        return PAUSE

    def is_paused(self, number: int) -> bool:
        """Whether it waits for the others."""
        return number in self._waiting

    def next_paused(self) -> int | None:
        """Once all members wait: one after another, in order."""
        if not self._queue and self._waiting and self.has_all_trials and self._living <= self._waiting.keys():
            self._end_round()
        return self._queue[0] if self._queue else None

    def go_on(self, number: int, *, to_the_end: bool = False) -> None:
        """It waits no longer."""
        if not self._queue:  # a round without a hand-over leaves no other trace
            self._queue = sorted(self._waiting)
        self._queue.remove(number)
        del self._waiting[number]
        self._open.pop(number, None)

    def end(self, number: int) -> None:
        """A member less: at the planned end, or because it failed."""
        self._living.discard(number)
        self._waiting.pop(number, None)
        if number in self._queue:
            self._queue.remove(number)

    def hand_overs(self) -> list[HandOver]:
        """Those of the round that has just ended."""
        decided, self._decided = self._decided, []
        return decided

    def restore(self, hand_overs: Sequence[HandOver]) -> None:
        """Take over the decisions of a round that ended before an interruption."""
        self._queue = sorted(self._waiting)
        for hand_over in hand_overs:
            self._take(hand_over)

    def open_hand_overs(self) -> list[HandOver]:
        """Those whose receivers still wait to go on."""
        return list(self._open.values())

    def _assignment(self, number: int) -> Assignment:
        if number not in self._assignments:
            self._assignments[number] = dict(self._first_assignment(number))
        return self._assignments[number]

    def _end_round(self) -> None:
        """Quantiles as in Tune: so many of the best and of the worst, at most half of all."""
        self._queue = sorted(self._waiting)
        ranked = sorted(self._waiting.values(), key=lambda one: (-one.score, one.number))
        count = min(ceil(len(ranked) * self._quantile), len(ranked) // 2)
        best, worst = ranked[:count], ranked[len(ranked) - count :]
        for index, receiver in enumerate(worst):
            seed = seed_of(seed_of(self._seed, round(receiver.resource * 1000)), receiver.number)
            donor = Random(seed).choice(best)
            if donor.score <= receiver.score:
                continue
            assignment = self._explorer.explore(donor, seed=seed, is_first=index == 0)
            self._decided.append(
                HandOver(
                    receiver=receiver.number, donor=donor.number, assignment=assignment, resource=receiver.resource
                )
            )
        for hand_over in self._decided:
            self._take(hand_over)

    def _take(self, hand_over: HandOver) -> None:
        donor = self._waiting.get(hand_over.donor)
        self._assignments[hand_over.receiver] = dict(hand_over.assignment)
        self._open[hand_over.receiver] = hand_over
        if donor is not None:
            self._explorer.adopt(hand_over, score=donor.score)

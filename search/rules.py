"""What a rule of early stopping is: told each evaluation, it says whether the trial goes on. Knows no ray, no study.

Trials are known by their numbers in the study. A rule is a function of what it was told, in the order it was told:
whoever tells it the same again gets the same decisions.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Decision = Literal["CONTINUE", "STOP", "PAUSE"]
"""PAUSE: it may go on later, from its checkpoint. Until then another trial has its place."""
CONTINUE: Decision = "CONTINUE"
STOP: Decision = "STOP"
PAUSE: Decision = "PAUSE"


@dataclass(frozen=True, kw_only=True, slots=True)
class HandOver:
    """A trial goes on from another one's checkpoint."""

    receiver: int
    """The trial that gives up its own weights."""
    donor: int
    """The trial whose weights, optimizer state and place in the data it takes."""
    assignment: Mapping[str, Any]
    """What it goes on with: the donor's values, some of them changed."""
    resource: float
    """The amount of training at which that happened."""


class Rule(ABC):
    """One way to decide."""

    def add(self, number: int) -> None:
        """A trial starts, or goes on after an interruption. Called once for each."""
        return

    @abstractmethod
    def decide(self, number: int, *, resource: float, value: float) -> Decision:
        """Whether a trial goes on with `value` after `resource`, more than it had at its evaluation before."""

    def why(self, number: int) -> str:
        """Why the last decision about a trial was to stop it, in a few words."""
        return ""

    def end(self, number: int) -> None:
        """A trial has ended: it never comes back."""
        return

    def news(self) -> list[str]:
        """What a person should be told of since this was last asked: sentences."""
        return []


class PausingRule(Rule):
    """A rule that lets trials wait for each other."""

    has_all_trials = False
    """Set when no new trial will start."""

    @abstractmethod
    def is_paused(self, number: int) -> bool:
        """Whether a trial waits."""

    @abstractmethod
    def next_paused(self) -> int | None:
        """A waiting trial that may go on now; None when there is none yet."""

    @abstractmethod
    def go_on(self, number: int, *, to_the_end: bool = False) -> None:
        """A trial waits no longer; it may have been told to wait never again."""

    def last_act(self) -> int | None:
        """When all trials have started and none runs or goes on: a waiting one that trains to its end after all."""
        return None

    def hand_overs(self) -> list[HandOver]:
        """What was decided since this was last asked, of trials that go on from others' checkpoints."""
        return []

    def restore(self, hand_overs: Sequence[HandOver]) -> None:
        """Take over what was decided before an interruption."""
        return

    def open_hand_overs(self) -> list[HandOver]:
        """Those whose receivers have not gone on yet."""
        return []

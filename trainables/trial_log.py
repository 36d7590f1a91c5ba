"""What a trial has to tell between two reports, and the failure of one whose loss is no number. Knows no Trainer."""

import time
from dataclasses import dataclass, field

from spaces.reports import Row, TrialFailed, TrialFailure
from trainables.memory import Batches
from trainables.monitor import Monitor


@dataclass(kw_only=True)
class TrialLog:
    """What a trial has to tell and has not told yet."""

    started: float = field(default_factory=time.monotonic)
    seconds_before: float = 0.0
    """Wall time of earlier attempts."""
    rows: list[Row] = field(default_factory=list)
    """History rows since the last report."""
    began_at: float = field(default_factory=time.time)
    """Unix time of the first training step."""
    batches: Batches
    """How many examples at once: the spec's, or fewer once those did not fit into memory."""
    monitor: Monitor = field(default_factory=Monitor)
    """Measures memory, energy and power."""
    num_parameters: tuple[int, int] | None = None
    """Weights of the model: all, and those that train."""
    has_begun_a_step: bool = False
    """Whether the model itself fitted: only then can smaller batches help."""

    @property
    def seconds(self) -> float:
        """Wall time of the trial so far, in all its attempts."""
        return self.seconds_before + time.monotonic() - self.started


def diverged(metric: str, value: float, *, step: int) -> TrialFailed:
    """The failure of a trial whose loss is no finite number any more."""
    return TrialFailed(TrialFailure(kind="diverged", message=f"{metric} became {value} at step {step}"))

"""What came back from a trial: progress, rows, reports, outcomes. Travels as JSON; knows no ray and no torch."""

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Literal

from spaces.usage import TrialUsage

Scalar = float | int | str | bool | None
Row = dict[str, Scalar]
"""One line of history.jsonl: `step`, `epoch`, `tokens` and metrics by name, such as `train/loss`."""

ResourceUnit = Literal["epochs", "steps", "tokens", "evaluations"]
FailureKind = Literal["diverged", "out_of_memory", "error", "lost", "disk_full"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a trial has come when it reports."""

    step: int
    """Optimizer steps done."""
    epoch: float
    """Passes over the training data."""
    tokens: int
    """Training tokens seen, padding not counted."""
    evaluation: int
    """1 for the first evaluation of the trial."""
    is_final: bool = False
    """Whether training ends here as planned."""

    def resource(self, unit: ResourceUnit) -> float:
        """The amount of training in `unit`."""
        amounts = {
            "epochs": self.epoch,
            "steps": self.step,
            "tokens": self.tokens,
            "evaluations": self.evaluation,
        }
        return float(amounts[unit])


def recorded_step(progress: Progress, step_unit: str) -> int:
    """The step at which a study records an evaluation: training in its unit, in whole numbers. An epoch that has not
    ended counts as one, and `milliepochs` are thousandths."""
    if step_unit == "epochs":
        return -int(-round(progress.epoch, 4) // 1)
    if step_unit == "milliepochs":
        return -int(-round(progress.epoch, 4) * 1000 // 1)
    return int(progress.resource(step_unit))  # type: ignore[arg-type]  # the other units are those of a resource


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialReport:
    """One evaluation and what happened since the one before."""

    progress: Progress
    metrics: dict[str, float]
    """The evaluation's metrics by name, such as `eval/loss`."""
    rows: list[Row] = field(default_factory=list)
    """History rows since the last report, this evaluation's own row last."""
    samples: list[dict[str, str]] = field(default_factory=list)
    """Texts for human review, where the task generates some: `prompt`, `expected`, `generated`."""
    checkpoint: str | None = None
    """Folder of the checkpoint taken at this evaluation."""
    checkpoint_bytes: int = 0
    """What it takes; where folds have checkpoints of their own, all of these together. The driver may not see them."""
    seconds: float = 0.0
    """Wall time of the trial so far, interruptions left out."""
    attempt: int = 1
    """1 for the first start of the trial, one more each time it was started again."""
    usage: TrialUsage | None = None
    """What the trial has used so far: energy, memory, speed."""
    folds_ended: int = 0
    """In a trial of several folds or seeds: how many have trained to their end."""
    began_at: float = field(default_factory=time.time)
    """Unix time of the first training step of this attempt."""
    reported_at: float = field(default_factory=time.time)
    """Unix time of the report."""
    process: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    """Host and process it ran in."""

    def to_json(self) -> str:
        """One line of JSON; NaN and infinity are kept as Python writes them."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "TrialReport":
        """The report that `to_json` wrote."""
        values = json.loads(text)
        values["progress"] = Progress(**values["progress"])
        if values.get("usage") is not None:
            values["usage"] = TrialUsage(**values["usage"])
        return TrialReport(**values)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialFailure:
    """Why a trial has no result. A failure is a result too: it is recorded and told to the sampler."""

    kind: FailureKind
    """`diverged`: a loss became NaN or infinite, or blew up. `lost`: its process died and was not brought back.
    `disk_full`: there was no room on the disks of all nodes that it could run on."""
    message: str
    """One line for a person."""
    details: str = ""
    """The traceback, where there is one."""
    seconds: float | None = None
    """Wall time of the trial until then, where it is known."""
    node: str | None = None
    """Where it failed, where that is another node than the one that says so."""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "TrialFailure":
        """The failure that `to_json` wrote."""
        return TrialFailure(**json.loads(text))


ReportFunction = Callable[[TrialReport], None]
"""Handed down to the loop. Returns when training may go on; raises TrialStopped when it must end."""


class TrialStopped(BaseException):
    """Raised out of `report` when the trial must end now. No `Exception`, so that no library swallows it."""


class TrialCalledAway(BaseException):
    """Raised where training ends on this machine to go on elsewhere, once a checkpoint is taken. As above."""


class TrialFailed(Exception):
    """Raised in a trial when its configuration cannot give a result."""

    def __init__(self, failure: TrialFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure

"""Early stopping by patience: a trial that no longer improves ends itself. Knows no Trainer and no search."""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from spaces.errors import SpecError, did_you_mean
from trainables.config import StoppingConfig, TrialConfig
from trainables.metrics import MODES
from trainables.tasks.registry import TASKS

_FILE = "stopping.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """How long there was no improvement."""

    best: float | None = None
    """Best value so far."""
    evaluations: int = 0
    """Evaluations since then."""


class Patience:
    """Watches one metric from evaluation to evaluation. Its state lies in each checkpoint."""

    def __init__(self, config: StoppingConfig, *, metric: str, resume_from: Path | None = None) -> None:
        self._config = config
        self._metric = metric
        self._sign = 1.0 if MODES[metric] == "min" else -1.0
        self._waiting = Waiting()
        if resume_from is not None and (resume_from / _FILE).is_file():
            self._waiting = Waiting(**json.loads((resume_from / _FILE).read_text("utf-8")))

    def is_at_end(self, metrics: dict[str, float]) -> bool:
        """Take one more evaluation into account; whether it was one too many without an improvement."""
        if self._config.patience is None:
            return False
        value = self._sign * metrics[self._metric]
        best = math.inf if self._waiting.best is None else self._waiting.best
        if value < best - self._config.min_delta:
            self._waiting = Waiting(best=value)
        else:
            self._waiting = replace(self._waiting, evaluations=self._waiting.evaluations + 1)
        return self._waiting.evaluations >= self._config.patience

    def save(self, folder: Path) -> None:
        """Leave the state in a checkpoint."""
        if self._config.patience is not None:
            (folder / _FILE).write_text(json.dumps(asdict(self._waiting)), "utf-8")


def stopping_metric(trial: TrialConfig) -> str:
    """The metric that `stopping` watches."""
    return trial.stopping.metric or TASKS[trial.task].metrics(trial.data)[0]


def check_stopping(trial: TrialConfig) -> None:
    """Raise SpecError when the task has no such metric."""
    metric, known = stopping_metric(trial), TASKS[trial.task].metrics(trial.data)
    if metric not in known:
        raise SpecError(
            f"{trial.task} has no metric `{metric}`.{did_you_mean(metric, known)} Known: {', '.join(known)}.",
            path="stopping.metric",
        )


def patience_of(trial: TrialConfig, *, resume_from: Any) -> Patience:
    """The patience of a trial, going on from a checkpoint where there is one."""
    return Patience(
        trial.stopping, metric=stopping_metric(trial), resume_from=resume_from.path if resume_from else None
    )

"""The user's own function as a trial: `function(config, report)`. Knows no task and no model."""

import importlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from spaces.errors import SpecError
from spaces.reports import Progress, ReportFunction, Row, TrialFailed, TrialFailure, TrialReport
from trainables.checkpoints import Checkpoint, TrialDirectory
from trainables.config import CustomTrialConfig
from trainables.monitor import Monitor


class Reporter:
    """What the function is handed as `report`."""

    def __init__(
        self,
        report: ReportFunction,
        *,
        directory: TrialDirectory | None,
        resume_from: Checkpoint | None,
        monitor: Monitor | None = None,
    ) -> None:
        self._report = report
        self._monitor = monitor
        self._directory = directory
        self._started = time.monotonic()
        self._began_at = time.time()
        self._seconds_before = resume_from.report.seconds if resume_from else 0.0
        self._evaluation = resume_from.report.progress.evaluation if resume_from else 0
        self._last: TrialReport | None = resume_from.reported_again(directory) if resume_from else None
        self.checkpoint: Path | None = resume_from.path if resume_from else None
        """The folder to go on from, or None at a fresh start."""

    def __call__(
        self,
        metrics: Mapping[str, float],
        *,
        step: int | None = None,
        epoch: float | None = None,
        tokens: int = 0,
        checkpoint: str | Path | None = None,
        is_final: bool = False,
    ) -> None:
        """Report an evaluation. Returns when the function may go on; a stop leaves it by an exception.

        Args:
            metrics: Values by name; the search's metric must be among them.
            step: Steps done. Default: the number of reports.
            epoch: Passes over the data. Default: the number of reports.
            tokens: Training tokens seen.
            checkpoint: A folder to go on from; it is taken over (moved).
            is_final: Whether training ends here as planned.
        """
        if self._last is not None and self._last.progress.is_final:
            raise TrialFailed(TrialFailure(kind="error", message="the function reported again after its final report"))
        self._evaluation += 1
        values = {name: float(value) for name, value in metrics.items()}
        bad = next((name for name, value in values.items() if not math.isfinite(value)), None)
        step = self._evaluation if step is None else step
        if bad is not None:
            raise TrialFailed(TrialFailure(kind="diverged", message=f"{bad} became {values[bad]} at step {step}"))
        epoch = float(self._evaluation if epoch is None else epoch)
        row: Row = {**values, "step": step, "epoch": epoch, "tokens": tokens, "evaluation": self._evaluation}
        report = TrialReport(
            progress=Progress(step=step, epoch=epoch, tokens=tokens, evaluation=self._evaluation, is_final=is_final),
            metrics=values,
            rows=[row],
            seconds=self._seconds_before + time.monotonic() - self._started,
            attempt=self._directory.attempt if self._directory else 1,
            began_at=self._began_at,
            usage=self._monitor.usage() if self._monitor else None,
        )
        if checkpoint is not None and self._directory is not None:
            folder = self._directory.checkpoints / f".incoming-{self._evaluation}-attempt-{self._directory.attempt}"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.move(str(checkpoint), folder)
            report = replace(report, checkpoint=str(self._directory.commit(folder, report)))
        self._last = report
        self._report(report)

    def finish(self) -> None:
        """Mark the last report as final, once the function has returned."""
        if self._last is None:
            raise TrialFailed(TrialFailure(kind="error", message="the function returned without a single report"))
        if self._last.progress.is_final:
            return
        final = replace(self._last, rows=[], progress=replace(self._last.progress, is_final=True))
        if self._directory is not None and final.checkpoint is not None:
            # Else a later attempt would take the trial for unfinished.
            final = replace(final, checkpoint=str(self._directory.commit(Path(final.checkpoint), final)))
        self._report(final)


def load_function(trainable: str) -> Callable[[dict[str, Any], Reporter], object]:
    """The function that `module:function` names.

    Raises:
        SpecError: there is no such module or function.
    """
    module_name, _, name = trainable.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise SpecError(
            f"cannot import `{module_name}`: {error}. "
            "It must lie in the folder you start tunesmith from, or be installed.",
            path="trainable",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise SpecError(f"module `{module_name}` has no function `{name}`.", path="trainable")
    return function


def run_custom(
    trial: CustomTrialConfig,
    report: ReportFunction,
    *,
    directory: TrialDirectory | None,
    resume_from: Checkpoint | None,
    monitor: Monitor | None = None,
) -> None:
    """Call the user's function with its own copy of the configuration."""
    reporter = Reporter(report, directory=directory, resume_from=resume_from, monitor=monitor)
    load_function(trial.trainable)(json.loads(json.dumps(trial.config)), reporter)
    reporter.finish()

"""What a user's function reports to: metrics of any name in, a TrialReport out. Knows no function, no ray, no torch."""

import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from spaces.errors import did_you_mean
from spaces.reports import Progress, ReportFunction, Row, TrialFailed, TrialFailure, TrialReport
from trainables.checkpoints import Checkpoint, TrialDirectory
from trainables.monitor import Monitor

_COLUMNS = ("step", "epoch", "tokens", "evaluation")
"""Columns of every history row that are ours."""
_LONGEST_TEXT = 500


class Reporter:
    """Handed to a function as `report`; behind a Ray Train loop it stands for `ray.train.report`."""

    def __init__(
        self,
        report: ReportFunction,
        *,
        directory: TrialDirectory | None,
        resume_from: Checkpoint | None,
        metric: str | None = None,
        save_checkpoints: bool = True,
        monitor: Monitor | None = None,
    ) -> None:
        self._report = report
        self._monitor = monitor
        self._directory = directory
        self._metric = metric
        self._save_checkpoints = save_checkpoints
        self._started = time.monotonic()
        self._began_at = time.time()
        self._seconds_before = resume_from.report.seconds if resume_from else 0.0
        self._evaluation = resume_from.report.progress.evaluation if resume_from else 0
        self._last: TrialReport | None = resume_from.reported_again(directory) if resume_from else None
        self.checkpoint: Path | None = resume_from.path if resume_from else None
        """The folder of the last checkpoint, to go on from; None at a fresh start."""

    def __call__(
        self,
        metrics: Mapping[str, Any],
        *,
        step: int | None = None,
        epoch: float | None = None,
        tokens: int = 0,
        checkpoint: str | Path | None = None,
        is_final: bool = False,
    ) -> None:
        """Report an evaluation. Returns when the function may go on; a stop leaves it by an exception.

        Args:
            metrics: Values by name; the search's metric must be among them. What is no number stands in the history
                as text. A mapping in it gives `outer/inner`.
            step: Steps done. Default: the number of reports.
            epoch: Passes over the data. Default: the number of reports.
            tokens: Training tokens seen.
            checkpoint: A folder to go on from; it is taken over (moved).
            is_final: Whether training ends here as planned.
        """
        if self._last is not None and self._last.progress.is_final:
            raise _failed("the function reported again after its final report")
        self._evaluation += 1
        progress = Progress(
            step=self._evaluation if step is None else int(step),
            epoch=float(self._evaluation if epoch is None else epoch),
            tokens=int(tokens),
            evaluation=self._evaluation,
            is_final=is_final,
        )
        values, texts = _sorted_out(metrics)
        self._check(values, texts, step=progress.step)
        columns: Row = {name: getattr(progress, name) for name in _COLUMNS}
        row: Row = {(f"reported/{name}" if name in columns else name): item for name, item in (values | texts).items()}
        report = TrialReport(
            progress=progress,
            metrics={name: value for name, value in values.items() if math.isfinite(value)},
            rows=[row | columns],
            seconds=self._seconds_before + time.monotonic() - self._started,
            attempt=self._directory.attempt if self._directory else 1,
            began_at=self._began_at,
            usage=self._monitor.usage() if self._monitor else None,
        )
        if checkpoint is not None and self._directory is not None:
            report = self._with_checkpoint(report, Path(checkpoint), self._directory)
        self._last = report
        self._report(report)

    @property
    def takes_checkpoints(self) -> bool:
        """Whether a checkpoint is kept, or thrown away (`checkpoints.save: false`)."""
        return self._directory is not None and self._save_checkpoints

    def stage(self) -> Path:
        """A new folder to write a checkpoint to: on the disk where checkpoints lie, so that taking it over is quick."""
        assert self._directory is not None, "a reporter that takes checkpoints has a folder"
        return Path(tempfile.mkdtemp(prefix=".staged-", dir=self._directory.checkpoints))

    def finish(self) -> None:
        """Mark the last report as final, once the function has returned."""
        if self._last is None:
            raise _failed("the function returned without a single report")
        if self._last.progress.is_final:
            return
        final = replace(self._last, rows=[], progress=replace(self._last.progress, is_final=True))
        if self._directory is not None and final.checkpoint is not None:
            # Else a later attempt would take the trial for unfinished.
            final = replace(final, checkpoint=str(self._directory.commit(Path(final.checkpoint), final)))
        self._report(final)

    def _with_checkpoint(self, report: TrialReport, given: Path, directory: TrialDirectory) -> TrialReport:
        if not given.is_dir():
            raise _failed(f"a checkpoint is a folder, but `{given}` is {'a file' if given.exists() else 'not there'}")
        if not self._save_checkpoints:
            shutil.rmtree(given)  # taken over, as always: a function may leave it to us to clear up
            return report
        folder = directory.checkpoints / f".incoming-{self._evaluation}-attempt-{directory.attempt}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(str(given), folder)
        self.checkpoint = directory.commit(folder, report)
        return replace(report, checkpoint=str(self.checkpoint))

    def _check(self, values: Mapping[str, float], texts: Row, *, step: int) -> None:
        """The objective must be there, and a finite number. Without a search any number that is not finite counts."""
        wanted = self._metric
        if wanted in texts:
            raise _failed(f"`{wanted}`, the search's metric, should be a number, but got {texts[wanted]!r}")
        if wanted is not None and wanted not in values:
            known = ", ".join(sorted(values)) or "no number"
            raise _failed(
                f"it does not report `{wanted}`, the search's metric; it reports {known}.{did_you_mean(wanted, values)}"
            )
        if not values:
            given = ", ".join(f"{name} {text!r}" for name, text in texts.items())
            raise _failed(f"a report should have a number in it, but has {given or 'nothing'}")
        for name in values if wanted is None else (wanted,):
            if not math.isfinite(values[name]):
                message = f"{name} became {values[name]} at step {step}"
                raise TrialFailed(TrialFailure(kind="diverged", message=message))


def _sorted_out(metrics: Mapping[str, Any]) -> tuple[dict[str, float], Row]:
    """Numbers, and everything else as text."""
    values: dict[str, float] = {}
    texts: Row = {}
    for name, value in _flat(metrics):
        number = _number(value)
        if number is not None:
            values[name] = number
        else:
            texts[name] = None if value is None else str(value)[:_LONGEST_TEXT]
    return values, texts


def _number(value: Any) -> float | None:
    """Also of a numpy scalar or a tensor of one element; of no text, also where it reads like a number."""
    if isinstance(value, str | bytes):
        return None
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):  # as numpy and torch refuse an array
        return None


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _failed(message: str) -> TrialFailed:
    return TrialFailed(TrialFailure(kind="error", message=message))

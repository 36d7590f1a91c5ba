"""Run one trial: a trial document in, reports on the way, an outcome at the end. Knows no ray and no wandb.

Nothing of a trial may be left in the process when the next one starts: two trials in one process give bit for bit
what each gives alone.
"""

import contextlib
import gc
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spaces.reports import ReportFunction, Row, TrialFailed, TrialFailure
from trainables.checkpoints import Checkpoint, TrialDirectory
from trainables.config import CustomTrialConfig, TrialConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialOutcome:
    """How a trial ended that was not stopped from outside."""

    failure: TrialFailure | None = None
    """None when it trained to its end."""
    rows: list[Row] = field(default_factory=list)
    """History rows after the last report."""


def parse_document(document: dict[str, Any]) -> TrialConfig | CustomTrialConfig:
    """The typed form of a trial document."""
    return (CustomTrialConfig if "trainable" in document else TrialConfig).model_validate(document)


def run_trial(
    trial: TrialConfig | CustomTrialConfig,
    report: ReportFunction,
    *,
    directory: TrialDirectory | None = None,
    save_checkpoints: bool = True,
    num_threads: int = 1,
    cache_directory: Path | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> TrialOutcome:
    """Train `trial`, from its last checkpoint in `directory` if there is one.

    A trial that goes on from a checkpoint first reports that checkpoint's evaluation again: the search may have
    died before it heard of it. TrialStopped, raised by `report`, passes through.
    """
    resume_from = directory.latest() if directory else None
    rows: list[Row] = []
    try:
        if resume_from is not None:
            attempt = directory.attempt if directory else 1
            report(replace(resume_from.report, checkpoint=str(resume_from.path), attempt=attempt))
            if resume_from.report.progress.is_final:
                return TrialOutcome()
        if isinstance(trial, CustomTrialConfig):
            from trainables.custom import run_custom

            run_custom(trial, report, directory=directory, resume_from=resume_from)
        else:
            _run_task(
                trial, report, rows=rows, directory=directory, resume_from=resume_from,
                save_checkpoints=save_checkpoints, num_threads=num_threads, cache_directory=cache_directory,
                on_progress=on_progress,
            )  # fmt: skip
    except TrialFailed as error:
        return TrialOutcome(failure=error.failure, rows=rows)
    except Exception as error:
        return TrialOutcome(failure=classify(error), rows=rows)
    return TrialOutcome(rows=rows)


def classify(error: Exception) -> TrialFailure:
    """The failure that an exception out of training stands for."""
    text = f"{type(error).__name__}: {error}"
    is_memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in text for sign in ("out of memory", "can't allocate memory"))
    )
    message = text.strip().splitlines()[0][:500]
    return TrialFailure(
        kind="out_of_memory" if is_memory else "error",
        message=message,
        details="".join(traceback.format_exception(error)),
    )


def _run_task(
    trial: TrialConfig,
    report: ReportFunction,
    *,
    rows: list[Row],
    directory: TrialDirectory | None,
    resume_from: Checkpoint | None,
    save_checkpoints: bool,
    num_threads: int,
    cache_directory: Path | None,
    on_progress: Callable[[str], None] | None,
) -> None:
    # Heavy imports wait until a trial really trains in this process.
    from trainables.data.prepare import prepare
    from trainables.training import TrialLog, train

    log = TrialLog(rows=rows, seconds_before=resume_from.report.seconds if resume_from else 0.0)
    data = prepare(trial.task, trial.model, trial.data, cache_directory=cache_directory, on_progress=on_progress)
    with (
        _fresh_process_state(seed=int(trial.training.get("seed", 42)), num_threads=num_threads),
        _output(directory) as output,
    ):
        train(
            trial, data, report, log=log, directory=directory if save_checkpoints else None, output=output,
            resume_from=resume_from,
        )  # fmt: skip


@contextlib.contextmanager
def _output(directory: TrialDirectory | None) -> Iterator[Path]:
    """Where the Trainer may write: beside the checkpoints, so that committing one is a rename."""
    if directory is not None:
        yield directory.checkpoints
        return
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _fresh_process_state(*, seed: int, num_threads: int) -> Iterator[None]:
    """Process-wide state as a new process would have it, before and after the trial."""
    import torch
    import transformers
    from accelerate.state import AcceleratorState, GradientState, PartialState

    def clear() -> None:
        # accelerate keeps device and precision of the first Trainer for the whole process
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        PartialState._reset_state()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    clear()
    torch.set_num_threads(num_threads)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    transformers.set_seed(seed)
    try:
        yield
    finally:
        clear()

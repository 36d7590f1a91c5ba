"""Run one trial: a trial document in, reports on the way, an outcome at the end. Knows no ray and no wandb.

Nothing of a trial may be left in the process when the next one starts: two trials in one process give bit for bit
what each gives alone.
"""

import contextlib
import gc
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from spaces.reports import ReportFunction, Row, TrialFailed, TrialFailure
from trainables.checkpoints import Checkpoint, TrialDirectory
from trainables.config import CustomTrialConfig, TrialConfig
from trainables.process_group import is_collective_error
from trainables.ranks import ALONE, PeerLost, Ranks


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
    metric: str | None = None,
    ranks: Ranks = ALONE,
) -> TrialOutcome:
    """Train `trial`, from its last checkpoint in `directory` if there is one.

    With several `ranks` each of them makes this call; `report` is called on all, and only the first writes.

    A trial that goes on from a checkpoint first reports that checkpoint's evaluation again: the search may have
    died before it heard of it. TrialStopped, raised by `report`, passes through. `metric` is what the search is
    about: a user's function that does not report it, or no number, has failed.
    """
    resume_from = directory.latest() if directory else None
    rows: list[Row] = []
    try:
        if resume_from is not None:
            report(resume_from.reported_again(directory))
            if resume_from.report.progress.is_final:
                return TrialOutcome()
        if isinstance(trial, CustomTrialConfig):
            from trainables.custom import run_custom

            run_custom(
                trial, report, directory=directory if ranks.is_first else None, resume_from=resume_from, metric=metric,
                num_threads=num_threads, save_checkpoints=save_checkpoints,
            )  # fmt: skip
        else:
            _run_task(
                trial, report, rows=rows, directory=directory, resume_from=resume_from,
                save_checkpoints=save_checkpoints, num_threads=num_threads, cache_directory=cache_directory,
                on_progress=on_progress, ranks=ranks,
            )  # fmt: skip
    except TrialFailed as error:
        return TrialOutcome(failure=error.failure, rows=rows)
    except (Exception, SystemExit) as error:  # a user's function may call sys.exit
        return TrialOutcome(failure=classify(error), rows=rows)
    return TrialOutcome(rows=rows)


# As PyTorch says it on a GPU, on the CPU (Linux, Windows), and when cuBLAS finds no room for its workspace.
_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


def classify(error: BaseException) -> TrialFailure:
    """The failure that an exception out of training stands for."""
    text = f"{type(error).__name__}: {error}"
    is_memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in text for sign in _MEMORY_SIGNS)
    )
    message = text.strip().splitlines()[0][:500]
    is_lost = isinstance(error, PeerLost) or is_collective_error(error)
    return TrialFailure(
        kind="out_of_memory" if is_memory else "lost" if is_lost else "error",
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
    ranks: Ranks,
) -> None:
    # Heavy imports wait until a trial really trains in this process.
    from trainables.preparation import prepare
    from trainables.prompting import ask
    from trainables.tasks.registry import TASKS
    from trainables.training import TrialLog, train

    log = TrialLog(rows=rows, seconds_before=resume_from.report.seconds if resume_from else 0.0)
    data = prepare(trial.task, trial.model, trial.data, cache_directory=cache_directory, on_progress=on_progress)
    with (
        _fresh_process_state(seed=int(trial.training.get("seed", 42)), num_threads=num_threads),
        _output(directory) as output,
    ):
        if not TASKS[trial.task].trains:
            ask(trial, data, report, log=log, attempt=directory.attempt if directory else 1)
            return
        train(
            trial, data, report, log=log, directory=directory if save_checkpoints else None, output=output,
            resume_from=resume_from, ranks=ranks,
        )  # fmt: skip


@contextlib.contextmanager
def _output(directory: TrialDirectory | None) -> Iterator[Path]:
    """Where the Trainer may write: beside the checkpoints, so that committing one is a rename."""
    if directory is not None:
        # An older attempt may still be writing there: each has its own folder.
        yield directory.checkpoints / f".attempt-{directory.attempt}"
        return
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _fresh_process_state(*, seed: int, num_threads: int) -> Iterator[None]:
    """Process-wide state as a new process would have it, before and after the trial."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    _freeze_imports()
    _forget_accelerator()
    _free_memory()
    torch.set_num_threads(num_threads)
    torch.set_default_dtype(torch.float32)
    with _restored_switches():
        transformers.set_seed(seed)
        try:
            yield
        except BaseException as error:
            # The frames of the loop hold model and optimizer for as long as the exception lives.
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            _forget_accelerator()
            _free_memory()


@cache
def _freeze_imports() -> None:
    """Take what is imported by now out of the garbage collector's rounds: each would walk a million objects.

    Once in a process, before its first model exists: what is frozen is freed by its reference count alone.
    """
    gc.collect()
    gc.freeze()


def _forget_accelerator() -> None:
    """accelerate keeps device and precision of the first Trainer for the whole process."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    PartialState._reset_state()


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


# What transformers and accelerate write into the environment on behalf of one trial's arguments.
_ENVIRONMENT = ("ACCELERATE_", "ASCEND_", "CUBLAS_", "CUDA_LAUNCH_", "FLASH_ATTENTION_", "FSDP_", "HCCL_", "XLA_")


@contextlib.contextmanager
def _restored_switches() -> Iterator[None]:
    """What `full_determinism`, `tf32` and `torch_compile` of one trial turn on is off again for the next."""
    import torch
    from transformers.utils.import_utils import enable_tf32

    environment = _switches_in_environment()
    backend = torch.backends.cudnn
    is_deterministic, may_benchmark = backend.deterministic, backend.benchmark
    precision = torch.backends.fp32_precision
    enable_tf32.cache_clear()  # it remembers that it was called, not what happened since
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        backend.deterministic, backend.benchmark = is_deterministic, may_benchmark
        if torch.backends.fp32_precision != precision:
            torch.backends.fp32_precision = precision
        for name in _switches_in_environment():
            del os.environ[name]
        os.environ.update(environment)


def _switches_in_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}

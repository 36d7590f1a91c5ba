"""Run one trial: a trial document in, reports on the way, an outcome at the end. Knows no ray and no wandb.

Nothing of a trial may be left in the process when the next one starts: two trials in one process give bit for bit
what each gives alone.
"""

import contextlib
import logging
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.reports import ReportFunction, Row, TrialFailed, TrialFailure, TrialReport
from spaces.usage import TrialUsage
from trainables.checkpoints import Checkpoint, TrialDirectory
from trainables.config import CustomTrialConfig, TrialConfig
from trainables.extra_checkpoints import start_of
from trainables.folds import TrialPart, parts_of
from trainables.fresh_process import fresh_process_state
from trainables.memory import Batches, is_out_of_memory, smaller_evaluation, smaller_micro_batch
from trainables.monitor import Monitor
from trainables.process_group import is_collective_error
from trainables.ranks import ALONE, PeerLost, Ranks

if TYPE_CHECKING:
    from trainables.preparation import PreparedData
    from trainables.trial_log import TrialLog

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialOutcome:
    """How a trial ended that was not stopped from outside."""

    failure: TrialFailure | None = None
    """None when it trained to its end."""
    rows: list[Row] = field(default_factory=list)
    """History rows after the last report."""
    retry_with: Batches | None = None
    """Memory ran out on this rank: with batches as small as these all ranks may try again, from the last checkpoint."""
    is_called_away: bool = False
    """Whether it has no result yet: it goes on elsewhere, as this machine is about to be taken back."""


class OutOfMemoryWithPeers(TrialFailed):
    """Memory ran out on one of several ranks, which cannot start again alone."""

    def __init__(self, failure: TrialFailure, *, retry_with: Batches) -> None:
        super().__init__(failure)
        self.retry_with = retry_with


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
    gpu_share: float = 1.0,
    cache_directory: Path | None = None,
    on_progress: Callable[[str], None] | None = None,
    metric: str | None = None,
    ranks: Ranks = ALONE,
    batches: Batches | None = None,
) -> TrialOutcome:
    """Train `trial`, from its last checkpoint in `directory` if there is one.

    A trial of several folds or seeds trains one after another, each from its own last checkpoint.
    With several `ranks` each of them makes this call; `report` is called on all, and only the first writes.

    A trial that goes on from a checkpoint first reports that checkpoint's evaluation again: the search may have died
    before it heard of it. TrialStopped, raised by `report`, passes through, and so does TrialCalledAway. `metric` is
    what the search is about: a user's function that does not report it, or no number, has failed. `gpu_share` is less
    than 1 where trials share a GPU: each counts its share of the energy. `batches` are those that an earlier attempt
    found to fit.
    """
    started = time.monotonic()
    seconds_before = 0.0
    rows: list[Row] = []
    part: TrialPart | None = None
    usage: TrialUsage | None = None
    try:
        for part in parts_of(trial, report, directory):
            told = _Told(part.report, usage, part.directory)
            start = start_of(part.directory) if part.directory else None
            resume_from = start.checkpoint if start else None
            if start is not None:
                seconds_before += start.checkpoint.report.seconds
                if start.evaluated is not None:
                    told(start.evaluated.reported_again(part.directory))
                told.usage = start.checkpoint.report.usage or told.usage
            if resume_from is None or not resume_from.report.progress.is_final:
                rows[:] = start.rows if start else ()
                _train_part(
                    part.trial, told, rows=rows, directory=part.directory, resume_from=resume_from, before=told.usage,
                    save_checkpoints=save_checkpoints, num_threads=num_threads, gpu_share=gpu_share,
                    cache_directory=cache_directory, on_progress=on_progress, metric=metric, ranks=ranks,
                    batches=batches,
                )  # fmt: skip
            usage = told.usage
    except (Exception, SystemExit) as error:  # a user's function may call sys.exit
        failure = error.failure if isinstance(error, TrialFailed) else classify(error)
        seconds = time.monotonic() - started + seconds_before
        retry_with = error.retry_with if isinstance(error, OutOfMemoryWithPeers) else None
        told_rows = part.rows_of_trial(rows) if part else rows
        return TrialOutcome(failure=replace(failure, seconds=seconds), rows=told_rows, retry_with=retry_with)
    return TrialOutcome(rows=part.rows_of_trial(rows) if part else rows)


class _Told:
    """Passes reports on with what their checkpoints take, and keeps what they say of the trial's usage: the next
    training counts on from there."""

    def __init__(self, report: ReportFunction, usage: TrialUsage | None, directory: TrialDirectory | None) -> None:
        self._report = report
        self._directory = directory
        self.usage = usage

    def __call__(self, report: TrialReport) -> None:
        self.usage = report.usage or self.usage
        if report.checkpoint is not None and self._directory is not None:
            report = replace(report, checkpoint_bytes=self._directory.bytes_with(Path(report.checkpoint)))
        self._report(report)


def _train_part(
    trial: TrialConfig | CustomTrialConfig,
    report: ReportFunction,
    *,
    rows: list[Row],
    directory: TrialDirectory | None,
    resume_from: Checkpoint | None,
    before: TrialUsage | None,
    save_checkpoints: bool,
    num_threads: int,
    gpu_share: float,
    cache_directory: Path | None,
    on_progress: Callable[[str], None] | None,
    metric: str | None,
    ranks: Ranks,
    batches: Batches | None,
) -> None:
    """One training to its end. `before` is what the trial has used until now."""
    if isinstance(trial, CustomTrialConfig):
        from trainables.custom import run_custom

        with Monitor(before=before, gpu_share=gpu_share) as monitor:
            run_custom(
                trial, report, directory=directory if ranks.is_first else None, resume_from=resume_from,
                metric=metric, num_threads=num_threads, save_checkpoints=save_checkpoints, monitor=monitor,
            )  # fmt: skip
        return
    _run_task(
        trial, report, rows=rows, directory=directory, resume_from=resume_from, before=before,
        save_checkpoints=save_checkpoints, num_threads=num_threads, gpu_share=gpu_share,
        cache_directory=cache_directory, on_progress=on_progress, ranks=ranks, batches=batches,
    )  # fmt: skip


def classify(error: BaseException) -> TrialFailure:
    """The failure that an exception out of training stands for."""
    message = f"{type(error).__name__}: {error}".strip().splitlines()[0][:500]
    is_lost = isinstance(error, PeerLost) or is_collective_error(error)
    return TrialFailure(
        kind="out_of_memory" if is_out_of_memory(error) else "lost" if is_lost else "error",
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
    before: TrialUsage | None,
    save_checkpoints: bool,
    num_threads: int,
    gpu_share: float,
    cache_directory: Path | None,
    on_progress: Callable[[str], None] | None,
    ranks: Ranks,
    batches: Batches | None,
) -> None:
    # Heavy imports wait until a trial really trains in this process.
    from trainables.preparation import prepare
    from trainables.trial_log import TrialLog

    if batches is not None:
        rows.append(batches.row(resume_from.report.progress if resume_from else None))
    telling = TrialLog(
        rows=rows,
        seconds_before=resume_from.report.seconds if resume_from else 0.0,
        # An earlier attempt found what fits.
        batches=batches or (before and Batches.used(before)) or Batches.of(trial.training),
    )
    data = prepare(trial.task, trial.model, trial.data, cache_directory=cache_directory, on_progress=on_progress)
    with Monitor(before=before if ranks.is_first else None, gpu_share=gpu_share) as telling.monitor:
        _train_in_what_fits(
            trial, data, report, telling=telling, directory=directory, saving=directory if save_checkpoints else None,
            resume_from=resume_from, num_threads=num_threads, ranks=ranks,
        )  # fmt: skip


def _train_in_what_fits(
    trial: TrialConfig,
    data: "PreparedData",
    report: ReportFunction,
    *,
    telling: "TrialLog",
    directory: TrialDirectory | None,
    saving: TrialDirectory | None,
    resume_from: Checkpoint | None,
    num_threads: int,
    ranks: Ranks,
) -> None:
    """Train, starting again in smaller pieces of the same batch whenever memory runs out."""
    from trainables.prompting import ask
    from trainables.tasks.registry import TASKS
    from trainables.training import train

    while True:
        try:
            with (
                fresh_process_state(seed=int(trial.training.get("seed", 42)), num_threads=num_threads),
                _output(directory) as output,
            ):
                if not TASKS[trial.task].trains:
                    ask(trial, data, report, log=telling, attempt=directory.attempt if directory else 1)
                    return
                train(
                    trial, data, report, log=telling, directory=saving, output=output, resume_from=resume_from,
                    ranks=ranks,
                )  # fmt: skip
            return
        except Exception as error:
            telling.batches = _after_out_of_memory(error, trial, telling, num_examples=len(data.train), ranks=ranks)
        # Out of the `except`: the exception and all its frames are gone before the next model is built.
        start = start_of(saving) if saving else None
        resume_from = start.checkpoint if start else None
        not_told = start.rows if start else ()
        telling.rows[:] = [*not_told, telling.batches.row(resume_from.report.progress if resume_from else None)]


def _after_out_of_memory(
    error: Exception, trial: TrialConfig, telling: "TrialLog", *, num_examples: int, ranks: Ranks
) -> Batches:
    """The batches to try again with. Raises `error`, or TrialFailed, when there is nothing to try."""
    if not is_out_of_memory(error) or not telling.has_begun_a_step:
        raise error  # a model that does not fit by itself fits with no batch
    before = telling.batches
    drop_last = bool(trial.training.get("dataloader_drop_last", False))
    batches = smaller_micro_batch(before, num_examples=num_examples, drop_last=drop_last)
    if batches is None:
        failure = classify(error)
        reason = "a single example does not fit into memory"
        if before.micro > 1:
            reason = (
                f"{before.micro} examples at once do not fit into memory, and with `dataloader_drop_last` smaller "
                "pieces would train on other examples"
            )
        raise TrialFailed(replace(failure, message=f"{reason}: {failure.message}")) from error
    if ranks.are_several:
        raise OutOfMemoryWithPeers(classify(error), retry_with=smaller_evaluation(batches) or batches) from error
    log.warning(
        "%d examples at once do not fit into memory: trying again with %d x %d (the same effective batch).",
        before.micro, batches.micro, batches.accumulation,
    )  # fmt: skip
    return batches


@contextlib.contextmanager
def _output(directory: TrialDirectory | None) -> Iterator[Path]:
    """Where the Trainer may write: beside the checkpoints, so that committing one is a rename."""
    if directory is not None:
        # An older attempt may still be writing there: each has its own folder.
        yield directory.checkpoints / f".attempt-{directory.attempt}"
        return
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
        yield Path(folder)

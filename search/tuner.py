"""Assembles ray.tune.Tuner and runs it: the only caller of fit. Tune is the engine, nothing of it is kept."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from types import FrameType

from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig
from ray.tune.progress_reporter import TrialProgressCallback

from cluster.connect import quiet_ray
from cluster.resources import ResourcesConfig
from search.placing import placed_trainable
from search.searcher import AskTellSearcher
from search.system_errors import losses_known_to_tune

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # five files and four fsyncs a trial, which nobody reads
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has no metric
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours leaves trials resumable
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # the study is the state; Tune's own is thrown away
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of a user's function mean where tunesmith was started
}
_MOST_WAITING = 16


class _StopRequest(Stopper):
    """Ends a trial or the whole search when the user asks for it, or the budget is spent."""

    def __init__(self, searcher: AskTellSearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        return self._searcher.is_to_stop(trial_id)

    def stop_all(self) -> bool:
        """Tune asks ten times a second."""
        self._searcher.listen()
        self._searcher.end_if_exhausted()
        return self._searcher.is_closing


class _Silent(TrialProgressCallback):
    """Stands where Tune would put its own, which prints nothing here and keeps every trial for it."""

    def on_trial_result(self, *arguments: object, **named: object) -> None:
        """Nothing."""

    def on_trial_error(self, *arguments: object, **named: object) -> None:
        """Nothing."""

    def on_trial_complete(self, *arguments: object, **named: object) -> None:
        """Nothing."""


def tune_trials(
    searcher: AskTellSearcher,
    scheduler: tune.schedulers.TrialScheduler,
    *,
    resources: ResourcesConfig,
    may_grow: bool = False,
) -> bool:
    """Run trials until the searcher has no more. Gives False when the user interrupted it, here or from outside.

    On a cluster that grows by itself several trials wait for a place: they are what it grows for. Else only one does,
    as a suggestion made later knows more.
    """
    os.environ.update(_ENVIRONMENT)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(_MOST_WAITING if may_grow else 1)
    quiet_ray()
    scratch = tempfile.mkdtemp(prefix="tunesmith-tune-")
    tuner = tune.Tuner(
        placed_trainable(resources),
        tune_config=TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # the searcher says when it is enough, and how many run at once
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name="search",
            storage_path=scratch,
            verbose=0,
            stop=_StopRequest(searcher),
            callbacks=[_Silent()],
            failure_config=FailureConfig(max_failures=0),  # the searcher decides (cluster/faults.py)
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        with _interruptible(searcher), losses_known_to_tune():
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return not searcher.is_closing or searcher.ended_by is not None


@contextlib.contextmanager
def _interruptible(searcher: AskTellSearcher) -> Iterator[None]:
    """SIGINT and SIGTERM end the search in order; a second one ends it at once. The record is whole either way."""

    def request(signum: int, frame: FrameType | None) -> None:
        if searcher.is_closing:
            raise KeyboardInterrupt
        searcher.is_closing = True

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""An unchanged Ray Train loop as a trial: `ray.train.report` and its kin answer from a Reporter. Knows no search.

Ray Train asks one object of the process what `ray.train.report`, `get_checkpoint` and `get_context` do. For the time
of a trial this is ours: rank 0 of a world of one, in the trial's own process, so that a trial starts at once. Ray's
own local mode keeps no checkpoints. The object is no public interface of Ray; tunesmith pins Ray's version.
"""

import shutil
from collections.abc import Callable, Mapping
from typing import Any

import ray.train
from ray.train.v2._internal.execution import train_fn_utils
from ray.train.v2._internal.execution.train_fn_utils import LocalTrainFnUtils, set_train_fn_utils
from ray.train.v2.api.reported_checkpoint import ReportedCheckpoint, ReportedCheckpointStatus

from spaces.reports import TrialFailed, TrialFailure
from trainables.reporter import Reporter


def run_ray_loop(
    loop: Callable[[dict[str, Any]], object], config: dict[str, Any], reporter: Reporter, *, name: str
) -> None:
    """Call the loop with `config`. Returns when it does; a stop leaves it by an exception out of `ray.train.report`.

    Args:
        loop: The user's function.
        config: What it is called with.
        reporter: Where its reports go. It must have a folder for checkpoints.
        name: What `ray.train.get_context().get_experiment_name()` gives.
    """
    before = train_fn_utils._train_fn_utils
    set_train_fn_utils(_TrialTrainFnUtils(reporter, name=name))
    try:
        loop(config)
    finally:
        set_train_fn_utils(before)


class _TrialTrainFnUtils(LocalTrainFnUtils):
    """Ray Train's view of one trial."""

    def __init__(self, reporter: Reporter, *, name: str) -> None:
        super().__init__(experiment_name=name)
        self._reporter = reporter
        self._metrics: dict[str, Any] = {}
        """What was reported with the last checkpoint of this attempt."""

    def report(
        self,
        metrics: Mapping[str, Any],
        checkpoint: "ray.train.Checkpoint | None" = None,
        checkpoint_dir_name: str | None = None,
        checkpoint_upload_mode: Any = None,
        delete_local_checkpoint_after_upload: bool | None = None,
        checkpoint_upload_fn: Callable[..., Any] | None = None,
        validation: Any = False,
    ) -> None:
        """Hand an evaluation to the search, and wait for its answer. The checkpoint is copied: its folder is the
        loop's, often a temporary one. Folder names and upload modes have no meaning here: the trial's folder holds
        the last checkpoint, and it is there when this returns."""
        if checkpoint_upload_fn is not None:
            raise _refused("report(checkpoint_upload_fn=...)", "the trial's folder takes the checkpoint: leave it out")
        if validation:
            raise _refused("report(validation=...)", "validate in the loop, and report what it gives")
        folder = None
        if checkpoint is not None and self._reporter.takes_checkpoints:
            folder = self._reporter.stage()
            checkpoint.to_directory(folder)
        if checkpoint is not None and delete_local_checkpoint_after_upload:
            shutil.rmtree(checkpoint.path, ignore_errors=True)
        if folder is not None:
            self._metrics = dict(metrics)
        self._reporter(metrics, checkpoint=folder)

    def get_checkpoint(self) -> "ray.train.Checkpoint | None":
        """The last one of this trial, also of an earlier attempt."""
        folder = self._reporter.checkpoint
        return ray.train.Checkpoint.from_directory(folder) if folder is not None else None

    def get_all_reported_checkpoints(self, *args: Any, **kwargs: Any) -> list[ReportedCheckpoint]:
        """The last one: a trial keeps no other."""
        checkpoint = self.get_checkpoint()
        if checkpoint is None:
            return []
        status = ReportedCheckpointStatus.COMMITTED
        return [ReportedCheckpoint(checkpoint=checkpoint, metrics=dict(self._metrics), status=status)]

    def get_dataset_shard(self, dataset_info: Any) -> Any:
        """There is none: a spec hands no Ray datasets to a loop."""
        what = f"get_dataset_shard({dataset_info.dataset_name!r})"
        raise _refused(what, "no Ray dataset is handed to a trial: read the data in the loop, as `config` says")


def _refused(what: str, instead: str) -> TrialFailed:
    return TrialFailed(TrialFailure(kind="error", message=f"ray.train's `{what}` does not work in a search: {instead}"))

"""The launcher of trials with several workers: one warm Ray Train worker group that takes trial after trial.

`TorchTrainer.fit()` runs once for a group, in a thread; its train loop never ends by itself, see `worker_loop.py`.
Workers live in the placement group that Tune reserves for the trial, so that what Tune frees is free: on a stop, on
Ctrl-C and when this process dies. Knows nothing of searches, and of training only how to ask for it.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.worker_group import WorkerGroup as TrainWorkerGroup
from ray.train.v2._internal.execution.worker_group.placement_group_handle import DefaultPlacementGroupHandle
from ray.train.v2.api.config import LoggingConfig
from ray.util.placement_group import PlacementGroup, get_current_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from spaces.reports import TrialReport
from spaces.store import entered
from trainables.checkpoints import TrialDirectory
from trainables.mailbox import Ending, Mailbox, TrialEnded, WorkerOrder
from trainables.memory import Batches
from trainables.notice import this_node
from trainables.post_mortem import nodes_of, why_broken
from trainables.trainable import Run, TrialOrder, WarmTrainable
from trainables.trial import TrialOutcome, classify
from trainables.worker_loop import GroupBroken, serve

_log = logging.getLogger(__name__)

_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon a killed worker is noticed; reports go another way
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
_LOOK_SECONDS = 0.5
_GO_HOME_TIMEOUT_SECONDS = 5.0
# Beyond the collectives' own time-out: a rank that was cut off still has to say so.
_PATIENCE_SECONDS = 30.0


class WorkerGroupTrainable(WarmTrainable):
    """Runs trials one after another in one group of workers."""

    _group: "WorkerGroup | None" = None

    def cleanup(self) -> None:
        """Stop the trial and send the workers home."""
        super().cleanup()
        self._close()

    def _start(self, order: TrialOrder) -> Run:
        return GroupRun(order, lambda: self._living_group(order), is_called_away=self._is_called_away)

    def _nodes(self) -> tuple[str, ...]:
        return (this_node(), *nodes_of(get_current_placement_group()))

    def _living_group(self, order: TrialOrder) -> "WorkerGroup":
        if self._group is not None and not self._group.is_alive:
            self._close()
        if self._group is None:
            self._group = WorkerGroup(
                num_workers=order.num_workers, cpus_per_worker=order.num_threads,
                gpus_per_worker=order.gpus_per_worker, timeout_seconds=order.collective_timeout_seconds,
                placement_group=get_current_placement_group(),
            )  # fmt: skip
        return self._group

    def _close(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.close()


class WorkerGroup:
    """Workers that live until they are sent home, and the mailbox they are reached by."""

    def __init__(
        self,
        *,
        num_workers: int,
        cpus_per_worker: float,
        gpus_per_worker: float,
        timeout_seconds: float,
        placement_group: PlacementGroup,
    ) -> None:
        os.environ.update(_ENVIRONMENT)
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        self._error: BaseException | None = None
        self._num_workers = num_workers
        self._nodes = nodes_of(placement_group)
        self._scratch = tempfile.mkdtemp(prefix="tunesmith-train-")
        self._mailbox = _beside_this_process(Mailbox).remote(
            world_size=num_workers, patience_seconds=timeout_seconds + _PATIENCE_SECONDS
        )
        self._trainer = _PlacedTrainer(
            _worker_main,
            train_loop_config={
                "mailbox": self._mailbox, "timeout_seconds": timeout_seconds, "placement_group": placement_group
            },
            torch_config=TorchConfig(backend="nccl" if gpus_per_worker else "gloo", timeout_s=int(timeout_seconds)),
            scaling_config=train.ScalingConfig(
                num_workers=num_workers,
                use_gpu=gpus_per_worker > 0,
                resources_per_worker={"CPU": cpus_per_worker} | ({"GPU": gpus_per_worker} if gpus_per_worker else {}),
            ),
            run_config=train.RunConfig(
                name=f"workers-{os.getpid()}-{time.time_ns()}",
                storage_path=self._scratch,  # Ray Train wants a place; nothing of a trial goes there
                failure_config=train.FailureConfig(max_failures=0, controller_failure_limit=0),
                logging_config=LoggingConfig(log_level="CRITICAL"),
                # Ray leaves all GPUs visible to a worker that asked for none.
                worker_runtime_env={} if gpus_per_worker else {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}},
            ),
        )  # fmt: skip
        self._thread = threading.Thread(target=self._fit, name="worker-group", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether all workers are there, as far as is known."""
        return self._thread.is_alive()

    def post(self, order: WorkerOrder) -> None:
        """Give all ranks their next trial."""
        ray.get(self._mailbox.post.remote(order))

    def answer(self, *, stop: bool) -> None:
        """Let the trial go on after a report, or end it."""
        ray.get(self._mailbox.answer.remote(stop=stop))

    def next_event(self) -> TrialReport | TrialEnded:
        """What the ranks say next.

        Raises:
            GroupBroken: a worker has died, or waits for one that never comes; the trial can go on in a new group.
        """
        event = self._wait_for_event()
        is_lost = isinstance(event, TrialEnded) and event.is_lost
        found = self._post_mortem() if is_lost else None  # before they are all dead
        if isinstance(event, TrialEnded) and (is_lost or not event.is_group_whole):
            self.kill()
        if is_lost:
            raise GroupBroken(found or "the workers of this trial lost each other")
        return event

    def close(self) -> None:
        """Send the workers home and free what they had; those that do not go are ended."""
        if self.is_alive:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(self._mailbox.post.remote(None), timeout=_GO_HOME_TIMEOUT_SECONDS)
                self._thread.join(_GO_HOME_TIMEOUT_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End all processes of the group, also those that hang."""
        workers: list[Any] = []
        with contextlib.suppress(ray.exceptions.RayError):
            workers = ray.get(self._mailbox.workers.remote(), timeout=_GO_HOME_TIMEOUT_SECONDS)
        for actor in (*workers, self._trainer.controller, self._mailbox):
            if actor is not None:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.kill(actor)
        self._thread.join(_GO_HOME_TIMEOUT_SECONDS)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:  # a thread has nobody to raise to
            self._error = error

    def _wait_for_event(self) -> TrialReport | TrialEnded:
        coming = self._mailbox.next_event.remote()
        while not ray.wait([coming], timeout=_LOOK_SECONDS)[0]:
            if self.is_alive:
                continue
            failure = ray.get(self._mailbox.failure_so_far.remote())
            if failure is not None:
                return TrialEnded(outcome=failure, is_group_whole=False)
            raise GroupBroken(self._post_mortem() or f"a worker of this trial has died: {self._error}")
        return ray.get(coming)

    def _post_mortem(self) -> str | None:
        try:
            workers = ray.get(self._mailbox.workers.remote(), timeout=_GO_HOME_TIMEOUT_SECONDS)
        except ray.exceptions.RayError:
            return None
        return why_broken(workers, num_workers=self._num_workers, nodes=self._nodes)


class GroupRun(Run):
    """One trial in a worker group."""

    def __init__(
        self, order: TrialOrder, living_group: Callable[[], WorkerGroup], *, is_called_away: Callable[[], bool]
    ) -> None:
        super().__init__(is_called_away=is_called_away)
        self._order = order
        self._living_group = living_group
        self._group = living_group()
        self._outcome: TrialOutcome | None = None
        self._has_ended = False
        try:
            self._begin_attempt(batches=None)
        except OSError as error:
            self._has_ended, self._outcome = True, TrialOutcome(failure=classify(error))

    def stop(self) -> None:
        """End the trial on all ranks at the report they wait at."""
        if self._has_ended:
            return
        try:
            self._group.answer(stop=True)
            while not isinstance(self._group.next_event(), TrialEnded):
                self._group.answer(stop=True)
        except (GroupBroken, ray.exceptions.RayError):
            self._group.kill()
        self._has_ended = True

    def _next_event(self) -> TrialReport | TrialOutcome:
        if self._outcome is not None:
            return self._outcome
        event = self._group.next_event()
        if isinstance(event, TrialReport):
            return event
        if event.outcome is not None and event.outcome.retry_with is not None:
            batches = event.outcome.retry_with
            _log.warning(
                "memory ran out: trying again with %d x %d on each worker (the same effective batch).",
                batches.micro, batches.accumulation,
            )  # fmt: skip
            self._group = self._living_group()
            self._begin_attempt(batches=batches)
            return self._next_event()
        self._has_ended = True
        if event.outcome is None:
            raise GroupBroken("another attempt has taken this trial over")
        return event.outcome

    def _begin_attempt(self, *, batches: Batches | None) -> None:
        attempt = TrialDirectory(entered(self._order.directory, search_levels=2)).begin_attempt()
        order = WorkerOrder(order=self._order.to_config()["order"], attempt=attempt, batches=batches)
        self._group.post(order)

    def _go_on(self) -> None:
        self._group.answer(stop=False)


# --- on the workers, and in Ray Train --------------------------------------------------------------------


def _worker_main(config: dict[str, Any]) -> None:
    """The train loop of Ray Train: one call for the life of the group."""
    context = train.get_context()
    post: Any = _MailboxPost(config["mailbox"])
    post.enlist(ray.get_runtime_context().current_actor)
    serve(
        post,
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        timeout_seconds=config["timeout_seconds"],
    )


class _MailboxPost:
    """The mailbox actor with plain, blocking methods."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def end(self, trial: int, rank: int, ending: Ending) -> None:
        """This rank has ended the trial. The process that hears of it is perhaps on another node."""
        if ending is not None and ending.failure is not None:
            ending = replace(ending, failure=replace(ending.failure, node=this_node()))
        ray.get(self._mailbox.end.remote(trial, rank, ending))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._mailbox, name)
        return lambda *arguments, **options: ray.get(method.remote(*arguments, **options))


class _BorrowedPlacementGroup(DefaultPlacementGroupHandle):
    """Tune made it, so Tune removes it."""

    def shutdown(self) -> None:
        """Leave it: a new group of workers may take the place of this one."""


class _PlacedWorkers(TrainWorkerGroup):
    """Workers in the placement group that is there already."""

    def _create_placement_group(self, scaling_config: Any, worker_group_context: Any) -> Any:
        return _BorrowedPlacementGroup(self._train_run_context.train_loop_config["placement_group"])


class _PlacedController(TrainController):
    worker_group_cls = _PlacedWorkers


class _PlacedTrainer(TorchTrainer):
    """TorchTrainer with its workers where Tune reserved room for them, and a controller that can be ended."""

    controller: Any = None

    def _create_default_callbacks(self) -> list[Any]:
        # The cleaner is a detached actor that would remove the placement group, or look for it for ever.
        callbacks = super()._create_default_callbacks()
        return [each for each in callbacks if not isinstance(each, PlacementGroupCleanerCallback)]

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        # Owned by this process: it dies with it, and the workers with it.
        controller = _beside_this_process(_PlacedController, runtime_env={"env_vars": get_env_vars_to_propagate()})
        self.controller = controller.remote(**options)
        ray.get(self.controller.run.remote())
        return ray.get(self.controller.get_result.remote())


def _beside_this_process(actor: type, **options: Any) -> Any:
    """An actor of ours on this node, outside of the room that is reserved for the workers."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here, **options)(actor)

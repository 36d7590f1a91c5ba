"""What Ray says of a process that it has ended itself, told to Tune as the loss of that process.

Tune 2.60 knows a lost actor only by RayActorError. When a node runs out of memory Ray gives OutOfMemoryError for the
actor that it ended, which is none: Tune then ended the whole search for one trial that was too large.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError


@contextlib.contextmanager
def losses_known_to_tune() -> Iterator[None]:
    """For the time of the block Tune takes such an error for the loss of the trial's process."""
    of_task, of_start = RayActorManager._actor_task_failed, RayActorManager._actor_start_failed

    def task_failed(manager: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        of_task(manager, tracked_actor_task, as_loss(exception))

    def start_failed(manager: RayActorManager, tracked_actor: Any, exception: Exception) -> None:
        of_start(manager, tracked_actor, as_loss(exception))  # else Tune forgets what happened

    RayActorManager._actor_task_failed, RayActorManager._actor_start_failed = task_failed, start_failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed, RayActorManager._actor_start_failed = of_task, of_start


def as_loss(error: Exception) -> Exception:
    """An error of Ray's own as that of a lost actor, with its name and its words; any other as it is."""
    if not isinstance(error, RayError) or isinstance(error, RayActorError | RayTaskError):
        return error
    return RayActorError(error_msg=f"{type(error).__name__}: {error}")

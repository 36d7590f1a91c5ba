"""Which processes Tune starts for trials, which it keeps and which it lets go. The one file that reaches into Tune's
controller (`system_errors.py` stands in for two methods of its manager of actors): there are no switches for any of
this, so tunesmith is made for one version of Ray, which `cluster/ray_version.py` checks. Knows no rule and no study.

Left alone, Tune starts one process at a time, and gives the trial it is for a process that has become free meanwhile,
ending the half-started one. Where trials are shorter than the start of a process, all of them then run in the first,
however many nodes wait.
"""

from collections.abc import Callable
from typing import Any

_ENDED_KEPT = 20
"""Ended trials that may pile up before they are taken out."""


class Processes:
    """The processes of one search, as its scheduler sees them."""

    def __init__(self, controller: Any, *, order: Callable[[Any], int]) -> None:
        """
        Args:
            controller: Tune's.
            order: Where a trial stands among those that wait.
        """
        self._controller = controller
        self._order = order
        self._most_waiting: int = controller._max_pending_trials

    def next_trial(self) -> Any | None:
        """The trial that starts next: not one whose process is on its way, as the next free one would replace that."""
        waiting = self._look()
        if not waiting and self._num_kept and self._controller._pending_trials:
            self._controller._maybe_update_trial_queue()
            waiting = self._look()
        return min(waiting, key=self._order, default=None)

    def let_go_of_kept(self) -> None:
        """End a process that is kept for a next trial, and give back its GPUs: somebody else waits for them."""
        if not self._num_kept:
            return
        kept = self._controller._actor_cache
        kept._may_keep_one = False
        self._controller._cleanup_cached_actors(force_all=False)
        kept._may_keep_one = True

    def forget_ended(self) -> None:
        """Take out trials that have ended: Tune keeps all of them, with their results, and walks over them."""
        controller = self._controller
        if len(controller._trials) < _ENDED_KEPT:
            return
        in_use = {*controller._trial_to_actor, *controller._staged_trials, *controller._resetting_trials}
        ended = {trial for trial in controller._trials if trial.is_finished() and trial not in in_use}
        controller._trials = [trial for trial in controller._trials if trial not in ended]
        for name in ("live", "stopped", "failed"):
            getattr(controller, f"_{name}_trials").difference_update(ended)
        controller._trials_to_cache.difference_update(ended)
        for trial in ended:
            controller._trial_metadata.pop(trial.trial_id, None)

    @property
    def _num_kept(self) -> int:
        return int(self._controller._actor_cache.num_cached_objects)

    def _look(self) -> list[Any]:
        """The trials that wait for a place. Those that have one, in a process that starts or changes over to them, are
        no reason not to take more."""
        controller = self._controller
        waiting = [trial for trial in controller._pending_trials if not self._has_place(trial)]
        num_placed = len(controller._pending_trials) - len(waiting)
        controller.update_max_pending_trials(self._most_waiting + num_placed)
        return waiting

    def _has_place(self, trial: Any) -> bool:
        process = self._controller._trial_to_actor.get(trial)
        return process is not None and self._controller._actor_manager.is_actor_started(process)

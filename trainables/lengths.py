"""Whether a trial that was planned for one length of training can go on to another as if that had been planned.

Knows schedules of the learning rate by name; imports no torch.
"""

from collections.abc import Mapping
from typing import Any

LENGTHS = ("training.num_train_epochs", "training.max_steps")
"""Paths of a trial document that say how long a task trains."""

# What these do at a step follows from the steps before it.
_EXACT = ("constant", "constant_with_warmup", "inverse_sqrt", "reduce_lr_on_plateau", "greedy")
_AT_THE_END = {
    "linear": "falls to 0 at the planned end",
    "cosine": "falls to 0 at the planned end",
    "polynomial": "falls to its end rate at the planned end",
    "cosine_with_restarts": "places its restarts by the planned end",
    "warmup_stable_decay": "begins its decay by the planned end",
}


def why_inexact(training: Mapping[str, Any]) -> str | None:
    """What in a whole `training` section depends on the planned end; None when nothing does, so that a trial goes on
    exactly as one that was planned to be longer."""
    schedule = str(training.get("lr_scheduler_type", "linear"))
    if schedule not in _EXACT:
        return f"its schedule `{schedule}` {_AT_THE_END.get(schedule, 'depends on the planned end')}"
    if schedule != "constant" and 0 < float(training.get("warmup_steps") or 0) < 1:
        return f"its warmup is a share of the planned length (`warmup_steps: {training['warmup_steps']}`)"
    if training.get("eval_strategy") == "steps" and 0 < float(training.get("eval_steps") or 0) < 1:
        return f"it evaluates after shares of the planned length (`eval_steps: {training['eval_steps']}`)"
    return None

"""A trial goes on from another trial's checkpoint: the files handed over, and its own hyperparameters given effect."""

import os
import shutil
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.checkpoints import Checkpoint, TrialDirectory

if TYPE_CHECKING:
    import torch

_RATES = ("lr", "initial_lr")


def hand_over(donor: TrialDirectory, receiver: TrialDirectory) -> Checkpoint:
    """Make the donor's last checkpoint that of the receiver too, whose own is removed. The donor keeps its own.

    Neither may run meanwhile. Doing it again changes nothing.

    Raises:
        SpecError: the donor has no checkpoint.
    """
    given = donor.latest()
    if given is None:
        raise SpecError(f"`{donor.path}` has no checkpoint to hand over.")
    receiver.begin_attempt()  # an attempt of the receiver that still lives can save no more
    copy = receiver.checkpoints / ".handed-over"
    shutil.rmtree(copy, ignore_errors=True)
    # A checkpoint is never written to again, so that its files can be shared; where links are not to be had, copied.
    shutil.copytree(given.path, copy, copy_function=_link_or_copy)
    receiver.commit(copy, given.report)
    taken = receiver.latest()
    assert taken is not None, "it has just been committed"
    return taken


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


# --- hyperparameters of a loaded optimizer ---------------------------------------------------------------


def hyperparameters(optimizer: "torch.optim.Optimizer") -> list[dict[str, Any]]:
    """What an optimizer was built with, a mapping for each group of weights."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def apply_hyperparameters(optimizer: "torch.optim.Optimizer", schedule: Any, wanted: list[dict[str, Any]]) -> None:
    """Let an optimizer and its schedule, just loaded from a checkpoint, go on with `wanted` where that differs.

    A checkpoint brings the hyperparameters that it was trained with. After an interruption these are the trial's own,
    and nothing is changed; after a hand-over they are the donor's.
    """
    schedule = getattr(schedule, "scheduler", schedule)  # accelerate wraps it
    for index, (group, new) in enumerate(zip(optimizer.param_groups, wanted, strict=True)):
        for name, value in new.items():
            if name not in _RATES and group.get(name) != value:
                group[name] = value
        if group.get("initial_lr") == new.get("initial_lr") or "initial_lr" not in new:
            continue
        group["initial_lr"] = schedule.base_lrs[index] = new["initial_lr"]
        group["lr"] = new["initial_lr"] * schedule.lr_lambdas[index](schedule.last_epoch)
    if hasattr(schedule, "_last_lr"):
        schedule._last_lr = [group["lr"] for group in optimizer.param_groups]

"""Losses that are means over all items of an optimiser step, however many micro-batches it is made of.

Many models ignore `num_items_in_batch` and give the mean of their micro-batch, which the Trainer then adds up: with
gradient accumulation, gradients would be too large by the number of micro-batches.
"""

from typing import TYPE_CHECKING, Any

from trainables.tasks.padding import IGNORED_LABEL

if TYPE_CHECKING:
    from torch import Tensor


def token_cross_entropy(outputs: Any, labels: "Tensor", num_items_in_batch: "Tensor | None" = None) -> "Tensor":
    """Cross-entropy of logits (batch, length, classes) at the positions whose labels count."""
    from torch.nn.functional import cross_entropy

    # The logits of masked or padded positions may be most of them: they are left out before the softmax.
    counts = labels != IGNORED_LABEL
    total = cross_entropy(outputs["logits"][counts].float(), labels[counts], reduction="sum")
    return total / (counts.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)


def label_loss(outputs: Any, labels: "Tensor", num_items_in_batch: "Tensor | None" = None) -> "Tensor":
    """By the labels: a class each (batch), any number of classes (batch, classes), or a number each (batch)."""
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

    logits = outputs["logits"].float()
    if not labels.is_floating_point():
        total = cross_entropy(logits, labels, reduction="sum")
    elif labels.ndim == 2:  # one text counts once, however many classes there are
        total = binary_cross_entropy_with_logits(logits, labels, reduction="sum") / labels.shape[1]
    else:
        total = mse_loss(logits.squeeze(-1), labels, reduction="sum")
    if labels.ndim == 2 and num_items_in_batch is not None:
        num_items_in_batch = num_items_in_batch / labels.shape[1]  # the Trainer counts every entry
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

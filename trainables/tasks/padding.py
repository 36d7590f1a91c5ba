"""Pads batches to their longest example, to a multiple of 8 that is no longer than `max_length`. Knows no task."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

_PAD_TO_MULTIPLE_OF = 8
IGNORED_LABEL = -100
"""Torch's and transformers' losses leave out positions with this label."""


def pad_inputs(
    examples: list[dict[str, Any]], *, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> "dict[str, Tensor]":
    """`input_ids` and `attention_mask` of equal length; other fields with one value each are stacked."""
    from transformers import DataCollatorWithPadding

    length = padded_length([example["input_ids"] for example in examples], max_length=max_length)
    return dict(DataCollatorWithPadding(tokenizer, padding="max_length", max_length=length)(examples))


def pad_labels(labels: list[list[int]], *, length: int, side: str = "right") -> "Tensor":
    """Labels (batch, length), filled with what losses ignore."""
    import torch

    filled = torch.full((len(labels), length), IGNORED_LABEL)
    for row, given in zip(filled, labels, strict=True):
        if side == "right":
            row[: len(given)] = torch.tensor(given)
        else:
            row[length - len(given) :] = torch.tensor(given)
    return filled


def padded_length(sequences: list[list[int]], *, max_length: int) -> int:
    """The longest, rounded up. A model has no position for a padding token beyond `max_length`."""
    longest = max(map(len, sequences))
    return min(-(-longest // _PAD_TO_MULTIPLE_OF) * _PAD_TO_MULTIPLE_OF, max_length)

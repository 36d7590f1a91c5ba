"""Pads batches to their longest example, to a multiple of 8 that is no longer than `max_length`. Knows no task."""

from collections.abc import Mapping, Sequence
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


def pad_right(sequences: Sequence[Sequence[int]], *, length: int, fill: int) -> "Tensor":
    """(batch, length), whichever side the tokenizer pads: behind a text, padding changes no position of it."""
    import torch

    padded = torch.full((len(sequences), length), fill)
    for row, given in zip(padded, sequences, strict=True):
        row[: len(given)] = torch.tensor(given)
    return padded


def pad_decoder(
    examples: Sequence[Mapping[str, Any]], *, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> "dict[str, Tensor]":
    """`input_ids`, `attention_mask` and `labels` of equal length, for models that read from left to right."""
    ids = [example["input_ids"] for example in examples]
    length = padded_length(ids, max_length=max_length)
    assert tokenizer.pad_token_id is not None, "tokenizers are loaded with a padding token"
    return {
        "input_ids": pad_right(ids, length=length, fill=tokenizer.pad_token_id),
        "attention_mask": pad_right([[1] * len(given) for given in ids], length=length, fill=0),
        "labels": pad_right([example["labels"] for example in examples], length=length, fill=IGNORED_LABEL),
    }


def padded_length(sequences: Sequence[Sequence[int]], *, max_length: int) -> int:
    """The longest, rounded up. A model has no position for a padding token beyond `max_length`."""
    longest = max(map(len, sequences))
    return min(-(-longest // _PAD_TO_MULTIPLE_OF) * _PAD_TO_MULTIPLE_OF, max_length)

"""Causal language modelling: predict each next token of packed blocks."""

from typing import TYPE_CHECKING, Any

from trainables.data.card import DataCard
from trainables.metrics import EVAL_LOSS, bits_per_byte, perplexity

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


def collator(tokenizer: "PreTrainedTokenizerBase", *, max_length: int) -> Any:
    """Stacks blocks. They all have one length, so there is nothing to pad and no mask to carry."""
    return _stack


def _stack(examples: list[dict[str, list[int]]]) -> "dict[str, Tensor]":
    import torch

    input_ids = torch.tensor([example["input_ids"] for example in examples])
    return {"input_ids": input_ids, "labels": input_ids.clone()}


def derived_metrics(metrics: dict[str, float], *, card: DataCard) -> dict[str, float]:
    """Perplexity and bits per byte of the mean loss in nats per token."""
    loss = metrics[EVAL_LOSS]
    return {
        "eval/perplexity": perplexity(loss),
        "eval/bits_per_byte": bits_per_byte(loss, tokens_per_byte=card.tokens_per_byte),
    }


compute_loss = None  # the models' own loss counts tokens over all micro-batches of a step
compute_metrics = None  # the loss says it all; logits (batch, length, vocabulary) are never collected

"""Causal language modelling: predict each next token of packed blocks."""

from typing import TYPE_CHECKING, Any

from trainables.config import DataConfig
from trainables.data.card import DataCard, unigram_frequencies
from trainables.data.columns import Column
from trainables.data.encode import encode_blocks
from trainables.metrics import EVAL_LOSS, bits_per_byte, perplexity
from trainables.tasks.task import Task

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


def columns(data: DataConfig) -> tuple[Column, ...]:
    """The text."""
    return (Column(role="text", name=data.text),)


# The models' own loss counts tokens over all micro-batches of a step; logits (batch, length, vocabulary) would fill
# the memory.
TASK = Task(
    name="causal_lm",
    auto_class="AutoModelForCausalLM",
    head="CAUSAL_LM",
    metrics=(EVAL_LOSS, "eval/perplexity", "eval/bits_per_byte"),
    columns=columns,
    encode=encode_blocks,
    baseline=unigram_frequencies,
    collator=collator,
    derived_metrics=derived_metrics,
)

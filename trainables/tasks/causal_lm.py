"""Causal language modelling: predict each next token of packed blocks, or of single documents."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config import DataConfig
from trainables.data.card import DataCard, unigram_frequencies
from trainables.data.columns import Column
from trainables.data.encode import EncodedPart, encode_blocks
from trainables.data.single_documents import encode_documents
from trainables.data.tokenization import separator_id
from trainables.metrics import EVAL_LOSS, bits_per_byte, perplexity
from trainables.tasks.causal_batches import pad_documents, prove_isolation, stack, stack_isolated
from trainables.tasks.task import Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def collator(
    tokenizer: "PreTrainedTokenizerBase", data: DataConfig, *, model: "PreTrainedModel", is_training: bool
) -> Any:
    """As `data.packing` says."""
    if data.packing == "none":
        return partial(pad_documents, padding=tokenizer.pad_token_id or 0, max_length=data.max_length)
    if data.packing == "stream":
        return stack
    if is_training:
        prove_isolation(model)
    return partial(stack_isolated, separator=separator_id(tokenizer))


def encode(documents: "Dataset", file: Path, **given: Any) -> EncodedPart:
    """Blocks, or single documents."""
    return (encode_documents if given["data"].packing == "none" else encode_blocks)(documents, file, **given)


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


def metrics(data: DataConfig) -> tuple[str, ...]:
    """Loss in nats per token; bits per byte also compare tokenizers."""
    return (EVAL_LOSS, "eval/perplexity", "eval/bits_per_byte")


# The models' own loss counts tokens over all micro-batches of a step; logits (batch, length, vocabulary) would fill
# the memory.
TASK = Task(
    name="causal_lm",
    auto_class="AutoModelForCausalLM",
    head="CAUSAL_LM",
    metrics=metrics,
    columns=columns,
    options=("packing",),
    encoding_options=("packing",),
    encode=encode,
    baseline=unigram_frequencies,
    collator=collator,
    derived_metrics=derived_metrics,
)

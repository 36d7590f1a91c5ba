"""Masked language modelling: predict hidden tokens of packed blocks."""

import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

from trainables.config import DataConfig
from trainables.data.card import DataCard, unigram_frequencies
from trainables.data.columns import Column
from trainables.data.encode import encode_blocks
from trainables.metrics import EVAL_LOSS, perplexity
from trainables.tasks.losses import token_cross_entropy
from trainables.tasks.padding import IGNORED_LABEL
from trainables.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MEASURED_PROBABILITY = 0.15
# Devlin 2018: of the tokens to be predicted, so many are hidden, so many replaced, and the rest left as they are.
_HIDDEN, _REPLACED = 0.8, 0.1


def collator(
    tokenizer: "PreTrainedTokenizerBase", data: DataConfig, *, model: "PreTrainedModel", is_training: bool
) -> Any:
    """Stacks blocks and masks tokens: anew at each pass in training, always the same ones in evaluation."""
    check = {"tokenizer": tokenizer, "probability": data.mask_probability if is_training else _MEASURED_PROBABILITY}
    return partial(_mask, is_training=is_training, **check)


def _mask(
    examples: list[dict[str, list[int]]], *, tokenizer: "PreTrainedTokenizerBase", probability: float, is_training: bool
) -> "dict[str, Tensor]":
    import numpy as np
    import torch

    ids = np.asarray([example["input_ids"] for example in examples], dtype=np.int64)
    if is_training:
        # One draw of torch's generator, which a checkpoint restores.
        generators = [np.random.default_rng(int(torch.randint(2**62, ()).item()))] * len(ids)
    else:
        # By content: the same places whatever the batch size, the order and the trial.
        generators = [np.random.default_rng(zlib.crc32(block.tobytes())) for block in ids]
    special = np.asarray(sorted(set(tokenizer.all_special_ids)))
    masked = [
        _mask_block(block, generator, probability, special=special, tokenizer=tokenizer)
        for block, generator in zip(ids, generators, strict=True)
    ]
    inputs, labels = (torch.from_numpy(np.stack(part)) for part in zip(*masked, strict=True))
    return {"input_ids": inputs, "labels": labels}


def _mask_block(
    block: "np.ndarray", generator: "np.random.Generator", probability: float, *, special: "np.ndarray",
    tokenizer: "PreTrainedTokenizerBase",
) -> "tuple[np.ndarray, np.ndarray]":  # fmt: skip
    """(inputs, labels) of one block; special tokens are never predicted, and at least one other token is."""
    import numpy as np

    candidates = np.flatnonzero(~np.isin(block, special))
    inputs, labels = block.copy(), np.full_like(block, IGNORED_LABEL)
    if not len(candidates):
        return inputs, labels
    chosen = candidates[generator.random(len(candidates)) < probability]
    if not len(chosen):
        chosen = generator.choice(candidates, 1)
    labels[chosen] = block[chosen]
    fate = generator.random(len(chosen))
    inputs[chosen[fate < _HIDDEN]] = tokenizer.mask_token_id
    replaced = chosen[(fate >= _HIDDEN) & (fate < _HIDDEN + _REPLACED)]
    inputs[replaced] = generator.integers(len(tokenizer), size=len(replaced))
    return inputs, labels


def derived_metrics(metrics: dict[str, float], *, card: DataCard) -> dict[str, float]:
    """Pseudo-perplexity: exp of the mean loss over the masked tokens."""
    return {"eval/perplexity": perplexity(metrics[EVAL_LOSS])}


def columns(data: DataConfig) -> tuple[Column, ...]:
    """The text."""
    return (Column(role="text", name=data.text),)


def metrics(data: DataConfig) -> tuple[str, ...]:
    """Loss in nats per masked token."""
    return (EVAL_LOSS, "eval/perplexity")


TASK = Task(
    name="masked_lm",
    auto_class="AutoModelForMaskedLM",
    head="MASKED_LM",
    metrics=metrics,
    columns=columns,
    options=("mask_probability",),
    encode=encode_blocks,
    baseline=unigram_frequencies,
    collator=collator,
    needs_mask_token=True,
    compute_loss=token_cross_entropy,
    derived_metrics=derived_metrics,
)

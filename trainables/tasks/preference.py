"""Preference tuning: of two answers to a prompt, the better one is to become more likely (DPO and its kin)."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config import DataConfig
from trainables.data.arrow_files import write_columns
from trainables.data.card import Baseline
from trainables.data.chat import chat_columns, encode_chat, messages_of, set_chat_template
from trainables.data.columns import Column
from trainables.data.encode import BATCH_DOCUMENTS, EncodedPart, PartCounter
from trainables.metrics import EVAL_LOSS
from trainables.tasks.padding import IGNORED_LABEL, pad_decoder
from trainables.tasks.preference_losses import batch_loss, with_reference
from trainables.tasks.task import Task

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

    from trainables.data.card import DataCard


def columns(data: DataConfig) -> tuple[Column, ...]:
    """A prompt and two answers."""
    return chat_columns(data, "chosen", "rejected")


def metrics(data: DataConfig) -> tuple[str, ...]:
    """Loss in nats per pair; how often and by how much the chosen answer has the larger reward."""
    return (EVAL_LOSS, "eval/reward_accuracy", "eval/reward_margin")


def encode(
    documents: "Dataset",
    file: Path,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    data: DataConfig,
    labels: Sequence[str],
) -> EncodedPart:
    """One example a pair: the chosen conversation and behind it the rejected one, each cut at `max_length`.

    `length` is that of the chosen one. A pair is dropped when nothing is left of one of its answers, or when cutting
    has made both the same.
    """
    import pyarrow as pa

    counter = PartCounter()

    def pair(document: Mapping[str, Any]) -> dict[str, Any] | None:
        chosen, rejected = (
            encode_chat(tokenizer, messages_of(document, document[role]), ignored=IGNORED_LABEL)
            for role in ("chosen", "rejected")
        )
        counter.add(
            [document["chosen"] + document["rejected"]],
            num_tokens=sum(label != IGNORED_LABEL for _, labels in (chosen, rejected) for label in labels),
        )
        (better, better_labels), (worse, worse_labels) = (
            (ids[: data.max_length], labels[: data.max_length]) for ids, labels in (chosen, rejected)
        )
        says_something = all(
            any(label != IGNORED_LABEL for label in labels[1:]) for labels in (better_labels, worse_labels)
        )
        if better == worse or not says_something:
            counter.drop()
            return None
        return {"input_ids": better + worse, "labels": better_labels + worse_labels, "length": len(better)}

    def batches() -> Iterator[dict[str, Any]]:
        for start in range(0, len(documents), BATCH_DOCUMENTS):
            part = documents.select(range(start, min(start + BATCH_DOCUMENTS, len(documents))))
            pairs = [made for made in map(pair, part) if made is not None]
            yield {name: [made[name] for made in pairs] for name in ("input_ids", "labels", "length")}

    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int64())), ("length", pa.int32())])
    return counter.part(write_columns(file, schema=schema, batches=batches()))


def baseline(parts: "Mapping[str, EncodedPart]", vocab_size: int, data: DataConfig) -> Baseline:
    """A coin."""
    return Baseline(name="a coin", metrics={"eval/reward_accuracy": 0.5})


def collator(
    tokenizer: "PreTrainedTokenizerBase", data: DataConfig, *, model: "PreTrainedModel", is_training: bool
) -> Any:
    """Puts the two conversations of each pair over each other: all tensors are (pairs, 2, ...)."""
    return partial(_stack, tokenizer=tokenizer, max_length=data.max_length)


def _stack(
    examples: list[dict[str, Any]], *, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> "dict[str, Tensor]":
    import torch

    conversations = [
        {name: example[name][part] for name in ("input_ids", "labels")}
        for example in examples
        for part in (slice(example["length"]), slice(example["length"], None))
    ]
    padded = pad_decoder(conversations, tokenizer=tokenizer, max_length=max_length)
    batch = {name: value.reshape(len(examples), 2, -1) for name, value in padded.items()}
    batch["answers"] = batch.pop("labels")
    if "reference" in examples[0]:
        batch["reference"] = torch.tensor([example["reference"] for example in examples])
    # Each pair is one prediction: that the first answer is the better one.
    return batch | {"labels": torch.zeros(len(examples), dtype=torch.long)}


def compute_metrics(prediction: "EvalPrediction", *, card: "DataCard") -> dict[str, float]:
    """Of the rewards (pairs, 2)."""
    margins = prediction.predictions[:, 0] - prediction.predictions[:, 1]
    return {"reward_accuracy": float((margins > 0).mean()), "reward_margin": float(margins.mean())}


TASK = Task(
    name="preference",
    auto_class="AutoModelForCausalLM",
    head="CAUSAL_LM",
    metrics=metrics,
    columns=columns,
    options=("prompt", "system", "chosen", "rejected", "chat_template"),
    encoding_options=("chat_template",),
    encode=encode,
    baseline=baseline,
    collator=collator,
    complete_tokenizer=set_chat_template,
    batch_loss=batch_loss,
    annotate=with_reference,
    compute_metrics=compute_metrics,
)

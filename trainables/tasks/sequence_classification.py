"""Sequence classification: one label for a text."""

from functools import partial
from typing import TYPE_CHECKING, Any

from trainables.config import DataConfig
from trainables.data.card import DataCard, majority_class
from trainables.data.columns import Column
from trainables.data.encode import encode_labelled_texts
from trainables.metrics import EVAL_LOSS, classification_metrics
from trainables.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import EvalPrediction, PreTrainedTokenizerBase

_PAD_TO_MULTIPLE_OF = 8


def collator(tokenizer: "PreTrainedTokenizerBase", *, max_length: int) -> Any:
    """Pads each batch to its longest text, to a multiple of 8 that is no longer than `max_length`."""
    return partial(_pad, tokenizer=tokenizer, max_length=max_length)


def _pad(examples: list[dict[str, Any]], *, tokenizer: "PreTrainedTokenizerBase", max_length: int) -> Any:
    from transformers import DataCollatorWithPadding

    longest = max(len(example["input_ids"]) for example in examples)
    # A model has no position for a padding token beyond `max_length`.
    length = min(-(-longest // _PAD_TO_MULTIPLE_OF) * _PAD_TO_MULTIPLE_OF, max_length)
    return DataCollatorWithPadding(tokenizer, padding="max_length", max_length=length)(examples)


def compute_loss(outputs: Any, labels: "Tensor", num_items_in_batch: "Tensor | None" = None) -> "Tensor":
    """Cross-entropy, averaged over all texts of a step.

    Many classifiers ignore `num_items_in_batch` and give the mean of their micro-batch, which the Trainer then adds
    up: with gradient accumulation, gradients would be too large by the number of micro-batches.
    """
    from torch.nn.functional import cross_entropy

    total = cross_entropy(outputs["logits"].float(), labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def compute_metrics(prediction: "EvalPrediction") -> dict[str, float]:
    """Accuracy and macro precision, recall, F1."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    return classification_metrics(logits, prediction.label_ids)


def columns(data: DataConfig) -> tuple[Column, ...]:
    """The text and its label."""
    return (Column(role="text", name=data.text), Column(role="label", name=data.label, kind="label"))


def head_fields(card: DataCard) -> dict[str, Any]:
    """The names of the labels, and with them their number."""
    return {"id2label": card.id2label, "label2id": {name: index for index, name in card.id2label.items()}}


TASK = Task(
    name="sequence_classification",
    auto_class="AutoModelForSequenceClassification",
    head="SEQUENCE_CLASSIFICATION",
    metrics=(EVAL_LOSS, "eval/accuracy", "eval/precision", "eval/recall", "eval/f1"),
    columns=columns,
    encode=encode_labelled_texts,
    baseline=majority_class,
    collator=collator,
    marks_ends=True,
    head_fields=head_fields,
    compute_loss=compute_loss,
    compute_metrics=compute_metrics,
)

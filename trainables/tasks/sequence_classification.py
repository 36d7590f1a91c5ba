"""Sequence classification: one label, several labels or a number for a text."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config import DataConfig
from trainables.data.card import Baseline, DataCard, label_frequencies, majority_class, mean_number
from trainables.data.columns import Column, Kind
from trainables.data.encode import EncodedPart, encode_texts
from trainables.metrics import EVAL_LOSS, classification_metrics, multi_label_metrics, regression_metrics
from trainables.tasks.losses import label_loss
from trainables.tasks.padding import pad_inputs
from trainables.tasks.task import Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

_COLUMN_KINDS: dict[str, Kind] = {"class": "label", "classes": "labels", "number": "number"}
_PROBLEMS = {
    "class": "single_label_classification",
    "classes": "multi_label_classification",
    "number": "regression",
}


def columns(data: DataConfig) -> tuple[Column, ...]:
    """The text and its label."""
    return (
        Column(role="text", name=data.text),
        Column(role="label", name=data.label, kind=_COLUMN_KINDS[data.label_kind]),
    )


def metrics(data: DataConfig) -> tuple[str, ...]:
    """By the kind of label."""
    named = {
        "class": ("accuracy", "precision", "recall", "f1"),
        "classes": ("accuracy", "precision", "recall", "f1", "f1_micro"),
        "number": ("mse", "mae", "pearson", "spearman"),
    }
    return (EVAL_LOSS, *(f"eval/{name}" for name in named[data.label_kind]))


def encode(
    documents: "Dataset",
    file: Path,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    data: DataConfig,
    labels: Sequence[str],
) -> EncodedPart:
    """One example a text. Its `labels`: a position in the given `labels`, a one for each that it has, or a number."""
    import pyarrow as pa

    positions = {name: index for index, name in enumerate(labels)}

    def ones(given: list[str]) -> list[float]:
        marks = [0.0] * len(positions)
        for name in given:
            marks[positions[name]] = 1.0
        return marks

    forms: dict[str, tuple[pa.DataType, Callable[[Any], Any]]] = {
        "class": (pa.int64(), positions.__getitem__),
        "classes": (pa.list_(pa.float32()), ones),
        "number": (pa.float32(), float),
    }
    label_type, label_of = forms[data.label_kind]
    return encode_texts(documents, file, tokenizer=tokenizer, data=data, label_type=label_type, label_of=label_of)


def baseline(parts: Mapping[str, EncodedPart], vocab_size: int, data: DataConfig) -> Baseline:
    """The answer that needs no text: the most frequent label, each label as often as in train, or the mean."""
    guesses: dict[str, Callable[..., Baseline]] = {
        "class": majority_class,
        "classes": label_frequencies,
        "number": mean_number,
    }
    return guesses[data.label_kind](parts, vocab_size, data)


def collator(
    tokenizer: "PreTrainedTokenizerBase", data: DataConfig, *, model: "PreTrainedModel", is_training: bool
) -> Any:
    """Pads each batch to its longest text."""
    return partial(pad_inputs, tokenizer=tokenizer, max_length=data.max_length)


def head_fields(card: DataCard, data: DataConfig) -> dict[str, Any]:
    """The names of the labels, and with them their number."""
    problem = {"problem_type": _PROBLEMS[data.label_kind]}
    if data.label_kind == "number":
        return {"num_labels": 1, **problem}
    return {"id2label": card.id2label, "label2id": {name: index for index, name in card.id2label.items()}, **problem}


def compute_metrics(prediction: "EvalPrediction", *, card: DataCard) -> dict[str, float]:
    """By the labels (examples) of integers, (examples, classes) of ones and zeros, or (examples) of numbers."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    labels = prediction.label_ids
    if labels.dtype.kind != "f":
        return classification_metrics(logits, labels)
    if labels.ndim == 2:
        return multi_label_metrics(logits, labels)
    return regression_metrics(logits.reshape(-1), labels)


def scratch_fields(tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """Encoder-decoders read a text's label at the token that ends it."""
    ends = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    return {"eos_token_id": ends}


TASK = Task(
    name="sequence_classification",
    auto_class="AutoModelForSequenceClassification",
    head="SEQUENCE_CLASSIFICATION",
    metrics=metrics,
    columns=columns,
    options=("label", "label_kind", "augment"),
    encoding_options=("label_kind",),
    encode=encode,
    baseline=baseline,
    collator=collator,
    marks_ends=True,
    head_fields=head_fields,
    scratch_fields=scratch_fields,
    compute_loss=label_loss,
    compute_metrics=compute_metrics,
)

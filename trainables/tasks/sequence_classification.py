"""Sequence classification: one label for a text."""

from typing import TYPE_CHECKING, Any

from trainables.data.card import DataCard
from trainables.metrics import classification_metrics

if TYPE_CHECKING:
    from transformers import EvalPrediction, PreTrainedTokenizerBase


def collator(tokenizer: "PreTrainedTokenizerBase") -> Any:
    """Pads each batch to its longest text, to a multiple of 8."""
    from transformers import DataCollatorWithPadding

    return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)


def compute_metrics(prediction: "EvalPrediction") -> dict[str, float]:
    """Accuracy and macro precision, recall, F1."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    return classification_metrics(logits, prediction.label_ids)


def derived_metrics(metrics: dict[str, float], *, card: DataCard) -> dict[str, float]:
    """Nothing beyond what `compute_metrics` gives."""
    return {}

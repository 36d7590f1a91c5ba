"""Metrics: their names, which way is better, and how they are computed from predictions. Knows no task."""

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Mode = Literal["min", "max"]

TRAIN_LOSS = "train/loss"
EVAL_LOSS = "eval/loss"

MODES: dict[str, Mode] = {
    EVAL_LOSS: "min",
    "eval/perplexity": "min",
    "eval/bits_per_byte": "min",
    "eval/accuracy": "max",
    "eval/precision": "max",
    "eval/recall": "max",
    "eval/f1": "max",
}


def perplexity(loss: float) -> float:
    """exp of the mean loss in nats per token; infinite when it overflows."""
    return math.exp(loss) if loss < 709 else math.inf


def bits_per_byte(loss: float, *, tokens_per_byte: float) -> float:
    """Mean loss in nats per token as bits per byte of text: comparable between tokenizers."""
    return loss * tokens_per_byte / math.log(2)


def classification_metrics(logits: "np.ndarray", labels: "np.ndarray") -> dict[str, float]:
    """Accuracy and macro-averaged precision, recall and F1 of `logits` (examples, classes) against `labels`.

    Classes that are never predicted count as precision 0, as scikit-learn does with `zero_division=0`.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    predicted = logits.argmax(axis=-1)
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }

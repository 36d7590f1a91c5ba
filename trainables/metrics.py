"""Metrics: their names, which way is better, and how they are computed from predictions. Knows no task."""

import math
from typing import TYPE_CHECKING

from spaces.objectives import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

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
    "eval/f1_micro": "max",
    "eval/mse": "min",
    "eval/mae": "min",
    "eval/pearson": "max",
    "eval/spearman": "max",
    "eval/bleu": "max",
    "eval/chrf": "max",
    "eval/rouge1": "max",
    "eval/rouge2": "max",
    "eval/rougeL": "max",
    "eval/exact_match": "max",
    "eval/reward_accuracy": "max",
    "eval/reward_margin": "max",
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
    return tag_metrics(logits.argmax(axis=-1), labels)


def tag_metrics(predicted: "np.ndarray", labels: "np.ndarray") -> dict[str, float]:
    """The same for predicted classes (examples)."""
    from sklearn.metrics import accuracy_score

    return {"accuracy": float(accuracy_score(labels, predicted))} | _macro(labels, predicted)


def multi_label_metrics(logits: "np.ndarray", labels: "np.ndarray") -> dict[str, float]:
    """Of `logits` and `labels` (examples, classes), a class being predicted at a probability of one half or more.

    Accuracy is the share of examples with all classes right; precision, recall and F1 are macro-averaged.
    """
    from sklearn.metrics import accuracy_score, f1_score

    predicted, expected = logits >= 0, labels > 0.5
    return {
        "accuracy": float(accuracy_score(expected, predicted)),
        "f1_micro": float(f1_score(expected, predicted, average="micro", zero_division=0)),
    } | _macro(expected, predicted)


def regression_metrics(predicted: "np.ndarray", expected: "np.ndarray") -> dict[str, float]:
    """Mean squared and absolute error; Pearson's and Spearman's correlation, 0 where a side is constant."""
    import numpy as np
    from scipy.stats import pearsonr, spearmanr

    error = predicted.astype(float) - expected
    varies = min(len(set(predicted.tolist())), len(set(expected.tolist()))) > 1
    return {
        "mse": float(np.mean(error**2)),
        "mae": float(np.mean(np.abs(error))),
        "pearson": float(pearsonr(predicted, expected).statistic) if varies else 0.0,
        "spearman": float(spearmanr(predicted, expected).statistic) if varies else 0.0,
    }


def entity_metrics(*, predicted: "Sequence[Sequence[str]]", expected: "Sequence[Sequence[str]]") -> dict[str, float]:
    """Accuracy of tags; precision, recall and F1 of whole entities (micro-averaged, as CoNLL counts them)."""
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

    both = list(map(list, expected)), list(map(list, predicted))
    return {
        "accuracy": float(accuracy_score(*both)),
        "precision": float(precision_score(*both, zero_division=0)),
        "recall": float(recall_score(*both, zero_division=0)),
        "f1": float(f1_score(*both, zero_division=0)),
    }


def overlap_metrics(produced: "Sequence[str]", expected: "Sequence[str]") -> dict[str, float]:
    """BLEU and chrF of the corpus (sacrebleu, 0 to 100), and mean ROUGE F-measures (0 to 1)."""
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    names = ("rouge1", "rouge2", "rougeL")
    scorer = RougeScorer(names, use_stemmer=False)
    scores = [scorer.score(wanted, got) for wanted, got in zip(expected, produced, strict=True)]
    rouge = {name: sum(score[name].fmeasure for score in scores) / len(scores) for name in names}
    return {
        "bleu": float(sacrebleu.corpus_bleu(list(produced), [list(expected)]).score),
        "chrf": float(sacrebleu.corpus_chrf(list(produced), [list(expected)]).score),
    } | rouge


def answer_metrics(produced: "Sequence[str]", expected: "Sequence[str]") -> dict[str, float]:
    """Share of answers that are exactly the expected one, and mean ROUGE-L F-measure (0 to 1)."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    pairs = list(zip(expected, produced, strict=True))
    return {
        "exact_match": sum(wanted.strip() == got.strip() for wanted, got in pairs) / len(pairs),
        "rougeL": sum(scorer.score(wanted, got)["rougeL"].fmeasure for wanted, got in pairs) / len(pairs),
    }


def _macro(expected: "np.ndarray", predicted: "np.ndarray") -> dict[str, float]:
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(expected, predicted, average="macro", zero_division=0)
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1)}

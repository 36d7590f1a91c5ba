"""Which way a metric is better, by the usual meaning of its name. Knows no task: others' metrics have any name."""

import re

from spaces.errors import SpecError
from spaces.objectives import Mode

_SMALLER = {
    "loss",
    "perplexity",
    "ppl",
    "error",
    "err",
    "mse",
    "rmse",
    "mae",
    "wer",
    "cer",
    "nll",
    "bpb",
    "bpc",
    "latency",
}
_LARGER = {"accuracy", "acc", "f1", "precision", "recall", "auc", "auroc", "bleu", "chrf", "rouge", "rouge1", "rouge2",
           "rougel", "map", "mrr", "ndcg", "r2", "pearson", "spearman", "reward", "score"}  # fmt: skip


def mode_of(metric: str) -> Mode:
    """The mode of `metric`.

    Raises:
        SpecError: its name does not say it.
    """
    words = set(re.split(r"[^a-z0-9]+", metric.lower())) | set(re.split(r"[^a-z]+", metric.lower()))
    if "bits_per_byte" in metric or words & _SMALLER:
        if not words & _LARGER:
            return "min"
    elif words & _LARGER:
        return "max"
    raise SpecError(
        f"whether `{metric}` is better when it is small or large is not known: say `--mode min` or `--mode max`."
    )

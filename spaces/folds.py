"""How a trial's folds are named among its metrics. The one place that knows: a fold's own values, and their order."""

import math
from collections.abc import Mapping
from typing import Literal

FoldKind = Literal["fold", "seed"]
"""Parts of the data held out in turn, or one division trained with several seeds."""
FOLD_KINDS: tuple[FoldKind, ...] = ("fold", "seed")


def fold_metric(kind: FoldKind, index: int, name: str) -> str:
    """`eval/loss` of fold 2 is `fold/2/eval/loss`."""
    return f"{kind}/{index}/{name}"


def is_of_a_fold(name: str) -> bool:
    """Whether a metric is one fold's own."""
    kind, _, rest = name.partition("/")
    return kind in FOLD_KINDS and rest.partition("/")[0].isdecimal()


def fold_values(metrics: Mapping[str, float], name: str) -> list[float]:
    """The values of `name` in each fold that has one, in order; empty for a trial without folds."""
    for kind in FOLD_KINDS:
        values: list[float] = []
        while (value := metrics.get(fold_metric(kind, len(values), name))) is not None and math.isfinite(value):
            values.append(value)
        if values:
            return values
    return []

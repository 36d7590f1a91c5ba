"""Which documents go to train, validation and test. Pure: one seed gives one split. Knows no text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spaces.errors import SpecError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitIndices:
    """Positions of documents, ascending. No document is in two parts; in a fold by time, later ones are in none."""

    train: "np.ndarray"
    """Documents that are trained on."""
    validation: "np.ndarray"
    """Documents that measure trials."""
    test: "np.ndarray"
    """Documents that no search sees; empty when none were asked for."""


def draw_indices(num_documents: int, *, limit: int, seed: int) -> "np.ndarray":
    """`limit` positions out of `num_documents`, ascending; all of them when there are fewer."""
    import numpy as np

    return np.sort(np.random.default_rng(seed).permutation(num_documents)[:limit])


def split_indices(
    num_documents: int, *, validation: float, test: float, seed: int, labels: "Sequence[str] | np.ndarray | None" = None
) -> SplitIndices:
    """Shares `validation` and `test` of the documents, each at least one document if above zero.

    With `labels`, each part keeps their shares. Test is drawn first: it stays when `validation` changes.
    """
    import numpy as np

    num_test, num_validation = _held_out(num_documents, test), _held_out(num_documents, validation)
    if num_documents - num_test - num_validation < 1:
        raise SpecError(
            f"{num_documents} documents are too few to hold out {validation:g} for validation and {test:g} for test.",
            path="data.splits",
        )
    if labels is not None:
        _check_classes(labels, held_out={"validation": num_validation, "test": num_test})
    strata = None if labels is None else np.asarray(labels)
    rest, test_part = _take(np.arange(num_documents), num_test, seed=seed, strata=strata)
    train, validation_part = _take(rest, num_validation, seed=seed, strata=strata)
    return SplitIndices(train=train, validation=validation_part, test=test_part)


def _held_out(num_documents: int, share: float) -> int:
    return max(1, round(num_documents * share)) if share > 0 else 0


def _take(
    indices: "np.ndarray", count: int, *, seed: int, strata: "np.ndarray | None"
) -> "tuple[np.ndarray, np.ndarray]":
    """(what stays, what is taken), both ascending."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    if count == 0:
        return indices, indices[:0]
    try:
        stays, taken = train_test_split(
            indices, test_size=count, random_state=seed, stratify=None if strata is None else strata[indices]
        )
    except ValueError as error:  # only a held-out share near one gets here: see _check_classes
        raise SpecError(f"the documents cannot be stratified: {error}", path="data.splits") from error
    return np.sort(stays), np.sort(taken)


def _check_classes(labels: "Sequence[str] | np.ndarray", *, held_out: dict[str, int]) -> None:
    counts = Counter(map(str, labels))
    num_parts = 1 + sum(count > 0 for count in held_out.values())
    rarest, fewest = min(counts.items(), key=lambda item: (item[1], item[0]))
    advice = "Add data, merge labels, or set `data.splits.stratify: false`."
    if fewest < num_parts:
        raise SpecError(
            f"stratified splits need at least {num_parts} documents of each label, but `{rarest}` has "
            f"{fewest}. {advice}",
            path="data.splits.stratify",
        )
    for part, count in held_out.items():
        if 0 < count < len(counts):
            raise SpecError(
                f"{part} would have {count} documents for {len(counts)} labels. Raise `data.splits.{part}`. {advice}",
                path=f"data.splits.{part}",
            )

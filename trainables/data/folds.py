"""Which documents are held out in one fold of a cross-validation. Pure; knows no text and no training.

The kind follows from how the data is split: K-fold, stratified, grouped, in order of time, or by hash.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from spaces.errors import SpecError
from trainables.data.kept_together import hash_places

if TYPE_CHECKING:
    import numpy as np

Halves = tuple["np.ndarray", "np.ndarray"]
"""(to train on, held out): positions, ascending."""


def random_fold(
    num_documents: int, *, index: int, of: int, seed: int, labels: "Sequence[str] | np.ndarray | None" = None
) -> Halves:
    """Fold `index`: each document is held out in exactly one of them. With `labels`, each keeps their shares."""
    import numpy as np
    from sklearn.model_selection import KFold, StratifiedKFold

    if num_documents < of:
        raise SpecError(f"{of} folds need as many documents, but there are {num_documents}.", path="data.splits")
    places = np.zeros(num_documents)
    if labels is None:
        return _nth(KFold(of, shuffle=True, random_state=seed).split(places), index)
    _, counts = np.unique(labels, return_counts=True)
    if counts.min() < of:
        rarest = sorted(set(map(str, labels)), key=list(map(str, labels)).count)[0]
        raise SpecError(
            f"{of} stratified folds need {of} documents of each label, but `{rarest}` has {counts.min()}. Take fewer "
            "folds, merge labels, or set `data.splits.stratify: false`.",
            path="data.splits.stratify",
        )
    return _nth(StratifiedKFold(of, shuffle=True, random_state=seed).split(places, labels), index)


def group_fold(groups: "np.ndarray", *, index: int, of: int, seed: int) -> Halves:
    """Fold `index` of whole groups, of about equal numbers of documents."""
    import numpy as np
    from sklearn.model_selection import GroupKFold

    num_groups = len(np.unique(groups))
    if num_groups < of:
        raise SpecError(f"{of} folds need as many groups, but there are {num_groups}.", path="data.splits.group")
    return _nth(GroupKFold(of, shuffle=True, random_state=seed).split(np.zeros(len(groups)), groups=groups), index)


def time_fold(times: "np.ndarray", *, index: int, of: int) -> Halves:
    """Block `index + 1` of `of + 1` in the order of time is held out; what was before it is trained on, what comes
    later is left out. Equal times stay together, in the later block."""
    import numpy as np

    ordered = np.sort(times)
    edges = [ordered[len(times) * block // (of + 1)] for block in range(1, of + 1)]
    later = edges[index + 1] if index + 1 < of else np.inf
    train, held_out = np.flatnonzero(times < edges[index]), np.flatnonzero((times >= edges[index]) & (times < later))
    if not len(train) or not len(held_out):
        raise SpecError(
            f"{of + 1} blocks of time cannot be made: too many documents have the same time.", path="data.splits.time"
        )
    return train, held_out


def hash_fold(texts: Iterable[str], *, index: int, of: int, seed: int) -> Halves:
    """By a hash of the text alone: a document stays in its fold when others come or go, and so do its copies."""
    import numpy as np

    # Another seed than the test part's: of the documents that are left, all hashes occur.
    fold_of: np.ndarray = (hash_places(texts, seed=seed + 1) * of).astype(int)
    train, held_out = np.flatnonzero(fold_of != index), np.flatnonzero(fold_of == index)
    if not len(train) or not len(held_out):
        raise SpecError("the hash leaves a fold without documents: there are too few.", path="data.splits")
    return train, held_out


def _nth(folds: "Iterable[tuple[np.ndarray, np.ndarray]]", index: int) -> Halves:
    return next(fold for number, fold in enumerate(folds) if number == index)

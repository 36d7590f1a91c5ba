"""Splits that are not drawn document by document: by group, by time, by hash. Pure; knows no text and no file.

Each gives every document to exactly one part, as `splits.split_indices` does.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spaces.errors import SpecError
from trainables.data.splits import SplitIndices

if TYPE_CHECKING:
    import numpy as np


def split_by_group(groups: "np.ndarray", *, validation: float, test: float, seed: int) -> SplitIndices:
    """Whole groups in the seed's order: to test until it has its share of the documents, then to validation.

    Each held-out part has at least one group, and train has one.
    """
    import numpy as np

    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    num_needed = 1 + (validation > 0) + (test > 0)
    if len(names) < num_needed:
        raise SpecError(
            f"{num_needed} parts need as many groups, but there are {len(names)}.", path="data.splits.group"
        )
    part_of: np.ndarray = np.zeros(len(names), dtype=np.int8)
    at = 0
    for part, share, later in ((2, test, 1 + (validation > 0)), (1, validation, 1)):
        reached = 0
        while share > 0 and reached < share * len(groups) and at < len(names) - later:
            part_of[order[at]] = part
            reached += sizes[order[at]]
            at += 1
    return _indices(part_of[inverse])


def split_by_time(times: "np.ndarray", *, validation: float, test: float) -> SplitIndices:
    """The latest documents to test, those before them to validation. Equal times stay together, in the later part."""
    import numpy as np

    ordered = np.sort(times)
    count = len(times)
    first_test = ordered[count - max(1, round(count * test))] if test > 0 else np.inf
    held_out = test + validation if validation > 0 else test
    first_validation = ordered[max(0, count - max(2, round(count * held_out)))] if validation > 0 else first_test
    part_of = np.where(times >= first_test, 2, np.where(times >= first_validation, 1, 0))
    found = _indices(part_of)
    for part, share in (("train", 1.0), ("validation", validation), ("test", test)):
        if share > 0 and not len(getattr(found, part)):
            raise SpecError(f"{part} would be empty: too many documents have the same time.", path="data.splits.time")
    return found


def split_by_hash(texts: Iterable[str], *, validation: float, test: float, seed: int) -> SplitIndices:
    """By a hash of the text alone: a document stays in its part when others come or go, and so do its copies."""
    import numpy as np

    places = hash_places(texts, seed=seed)
    found = _indices(np.where(places < test, 2, np.where(places < test + validation, 1, 0)))
    for part, share in (("train", 1.0), ("validation", validation), ("test", test)):
        if share > 0 and not len(getattr(found, part)):
            raise SpecError(f"the hash gives {part} no document: there are too few.", path="data.splits")
    return found


def hash_places(texts: Iterable[str], *, seed: int) -> "np.ndarray":
    """A number from 0 to below 1 for each text, spread evenly."""
    import numpy as np
    import xxhash

    # 53 bits: as a double, all 64 may round up to 1.
    digests = (xxhash.xxh64_intdigest(text.encode("utf-8", "surrogatepass"), seed) >> 11 for text in texts)
    return np.fromiter((digest * 2.0**-53 for digest in digests), float)


def _indices(part_of: "np.ndarray") -> SplitIndices:
    import numpy as np

    return SplitIndices(
        train=np.flatnonzero(part_of == 0), validation=np.flatnonzero(part_of == 1), test=np.flatnonzero(part_of == 2)
    )

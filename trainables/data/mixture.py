"""How much of each source goes into the training part of a mixture. Pure arithmetic on sizes; knows no text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spaces.errors import SpecError

if TYPE_CHECKING:
    import numpy as np


def mixture_sizes(available: Sequence[int], weights: Sequence[float]) -> list[float]:
    """Bytes to take of each source, so that their shares are the `weights` and nothing is taken twice.

    As much as there is: the source that is scarce for its weight is taken whole, the others in proportion. A source of
    weight 0 gives nothing.
    """
    total = sum(weights)
    if total <= 0:
        raise SpecError("at least one source must have a weight above 0.", path="data.source")
    mixed = min(size * total / weight for size, weight in zip(available, weights, strict=True) if weight > 0)
    return [mixed * weight / total for weight in weights]


def drawn_to_size(sizes: "np.ndarray", wanted: float, *, seed: int) -> "np.ndarray":
    """Positions, ascending, of documents drawn without replacement until `wanted` bytes are reached.

    The order of drawing is the seed's alone: for a larger share the same documents are drawn, and more.
    """
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(sizes))
    reached = np.cumsum(sizes[order])
    # The document that crosses the line is taken when more than half of it is within.
    taken = int(np.searchsorted(reached - sizes[order] / 2, wanted))
    return np.sort(order[:taken])

"""Trials with several objectives: which are better than which in all of them. Pure; knows no trial.

A front holds what nothing is better than in every respect; the next front what only the first is better than.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spaces.objectives import Objective

if TYPE_CHECKING:
    import numpy as np


def front_of_each(values: Sequence[Sequence[float]], objectives: Sequence[Objective]) -> list[int]:
    """The front of each point, from 1. Equal points share theirs."""
    if not values:
        return []
    import numpy as np

    points = np.asarray(values, dtype=float) * [objective.sign for objective in objectives]
    fronts: np.ndarray = np.zeros(len(points), dtype=int)
    left = np.arange(len(points))
    front = 0
    while len(left):
        front += 1
        on_front = ~_are_dominated(points[left])
        fronts[left[on_front]] = front
        left = left[~on_front]
    return [int(front) for front in fronts]


def _are_dominated(points: "np.ndarray") -> "np.ndarray":
    """Whether another point is at least as good in all objectives and better in one; smaller is better."""
    import numpy as np

    # In this order no point is dominated by one that comes later, so that each is compared with the front only.
    order = np.lexsort(points.T[::-1])
    dominated: np.ndarray = np.zeros(len(points), dtype=bool)
    front: list[int] = []
    for place in order:
        found = points[front]
        no_worse = (found <= points[place]).all(axis=1)
        if len(found) and bool((no_worse & (found < points[place]).any(axis=1)).any()):
            dominated[place] = True
        else:
            front.append(int(place))
    return dominated

"""A model of what a search measured: forests of regression trees, many of them, so that it knows how sure it is.

Trees cut the unit cube of the parameters into boxes, so means over all other parameters are exact sums over boxes
(Hutter, Hoos and Leyton-Brown, 2014). Each forest sees other trials, drawn with replacement: what all agree on is in
the data, where they differ is chance. Knows no trial: only places between 0 and 1, and values.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from sklearn.tree import DecisionTreeRegressor

NUM_FORESTS = 40
_NUM_TREES = 8
_PAIR_CELLS = 16
_SAMPLE = 1024
"""Points at which the variance of a forest is measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marginals:
    """What one forest says of the parameters, all others averaged over their whole ranges."""

    total: float
    """Variance of the forest over the space."""
    means: tuple["np.ndarray", ...]
    """For each parameter the mean in each of its cells."""

    def share(self, column: int) -> float:
        """The part of the variance that parameter `column` has on its own."""
        return float(self.means[column].var() / self.total) if self.total > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Boxes:
    """The leaves of all trees of a forest."""

    lows: "np.ndarray"
    highs: "np.ndarray"
    values: "np.ndarray"
    """Already divided by the number of trees."""

    def sizes(self) -> "np.ndarray":
        return self.highs - self.lows

    def weights(self) -> "np.ndarray":
        """Value times volume."""
        return self.values * self.sizes().prod(axis=1)

    def inside(self, column: int, num_cells: int) -> "np.ndarray":
        """For each box and cell of `column`: which part of the cell it covers, over the box's own extent."""
        import numpy as np

        edges = np.linspace(0.0, 1.0, num_cells + 1)
        low, high = self.lows[:, column, None], self.highs[:, column, None]
        covered = np.minimum(high, edges[None, 1:]) - np.maximum(low, edges[None, :-1])
        part: np.ndarray = np.clip(covered, 0.0, None) * num_cells / (high - low)
        return part


class Surrogate:
    """Forests over trials.

    Args:
        points: One row a trial, one column a parameter; places between 0 and 1.
        values: What each trial reached.
        cells: Into how many cells each parameter is cut.
        seed: Of all chance; equal arguments give equal figures.
        made_up: Whether the last column is a made-up parameter: then each forest sees another one.
        num_forests: How many there are.
    """

    def __init__(
        self,
        points: "np.ndarray",
        values: "np.ndarray",
        *,
        cells: Sequence[int],
        seed: int = 0,
        made_up: bool = False,
        num_forests: int = NUM_FORESTS,
    ) -> None:
        import numpy as np
        from sklearn.tree import DecisionTreeRegressor

        # As trees want them: what is right already they need not check, which takes longer than growing a small tree.
        points, values = np.asarray(points, dtype=np.float32), np.asarray(values, dtype=np.float64)
        self.cells = tuple(cells)
        rng = np.random.default_rng(seed)
        count = len(values)
        self._forests: list[list[DecisionTreeRegressor]] = []
        for _ in range(num_forests):
            drawn = rng.integers(0, count, count)
            seen = points[drawn]
            if made_up:
                # Drawn for trials, not for rows: a trial that was drawn twice has it twice, as any other parameter.
                seen[:, -1] = rng.random(count)[drawn]
            trees = []
            for _ in range(_NUM_TREES):
                tree = DecisionTreeRegressor(
                    max_features=0.7,
                    min_samples_leaf=2 if count >= 30 else 1,
                    random_state=int(rng.integers(2**31)),
                )
                with _unchecked():
                    trees.append(tree.fit(seen, values[drawn], check_input=False))
            self._forests.append(trees)
        self._boxes = [_boxes_of(trees) for trees in self._forests]
        sample = _quasi_random(points.shape[1], seed=seed)
        self._totals = [float(_predicted(trees, sample).var()) for trees in self._forests]

    def marginals(self) -> list[Marginals]:
        """What each forest says."""
        return [
            Marginals(
                total=total,
                means=tuple(
                    boxes.weights() @ boxes.inside(column, num_cells) for column, num_cells in enumerate(self.cells)
                ),
            )
            for boxes, total in zip(self._boxes, self._totals, strict=True)
        ]

    def shape(self, first: int, second: int) -> list["np.ndarray"]:
        """For each forest the mean in each cell of two parameters: rows are cells of the first."""
        return [
            (boxes.inside(first, self.cells[first]) * boxes.weights()[:, None]).T
            @ boxes.inside(second, self.cells[second])
            for boxes in self._boxes
        ]

    def interactions(self, pairs: Sequence[tuple[int, int]]) -> "np.ndarray":
        """One row a forest, one column a pair: the part of the variance that two parameters have together, and neither
        has alone."""
        import numpy as np

        columns = sorted({column for pair in pairs for column in pair})
        shares: np.ndarray = np.zeros((len(self._boxes), len(pairs)))
        for row, (boxes, total) in enumerate(zip(self._boxes, self._totals, strict=True)):
            if total == 0:
                continue
            # Once a parameter, not once a pair; coarser than for a picture, which changes shares little.
            inside = {column: boxes.inside(column, min(self.cells[column], _PAIR_CELLS)) for column in columns}
            weights = boxes.weights()[:, None]
            for place, (first, second) in enumerate(pairs):
                shape = (inside[first] * weights).T @ inside[second]
                alone = shape.mean(axis=1).var() + shape.mean(axis=0).var()
                shares[row, place] = max(float(shape.var() - alone), 0.0) / total
        return shares

    def predict(self, points: "np.ndarray") -> "np.ndarray":
        """One row a forest, one column a point."""
        import numpy as np

        return np.stack([_predicted(trees, points) for trees in self._forests])


def explained(points: "np.ndarray", values: "np.ndarray", *, seed: int = 0) -> float:
    """How much of the variance of trials that it has not seen a forest explains: 1 is all, 0 or less nothing."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(200, oob_score=True, max_features=0.7, random_state=seed)
    with _unchecked():
        return float(forest.fit(points, values).oob_score_)


def _unchecked() -> AbstractContextManager[None]:
    from sklearn import config_context

    quick: AbstractContextManager[None] = config_context(assume_finite=True, skip_parameter_validation=True)
    return quick


def _quasi_random(dimensions: int, *, seed: int) -> "np.ndarray":
    from scipy.stats import qmc

    sample: np.ndarray = qmc.Sobol(dimensions, seed=seed).random(_SAMPLE)
    return sample


def _predicted(trees: "Sequence[DecisionTreeRegressor]", points: "np.ndarray") -> "np.ndarray":
    """Means of what the trees say. By their insides: the public way checks its arguments for longer than it works."""
    import numpy as np

    narrow = np.asarray(points, dtype=np.float32)
    told: np.ndarray = np.mean([tree.tree_.predict(narrow).reshape(-1) for tree in trees], axis=0)
    return told


def _boxes_of(trees: "Sequence[DecisionTreeRegressor]") -> _Boxes:
    import numpy as np

    lows, highs, values = [], [], []
    for each in trees:
        tree = each.tree_
        low = np.zeros((tree.node_count, tree.n_features))
        high = np.ones((tree.node_count, tree.n_features))
        # A node's children come after it, so that one pass in order is enough.
        for node in np.flatnonzero(tree.children_left >= 0):
            left, right = tree.children_left[node], tree.children_right[node]
            low[[left, right]], high[[left, right]] = low[node], high[node]
            high[left, tree.feature[node]] = low[right, tree.feature[node]] = tree.threshold[node]
        leaves = tree.children_left < 0
        lows.append(low[leaves])
        highs.append(high[leaves])
        values.append(tree.value[leaves, 0, 0] / len(trees))
    return _Boxes(lows=np.concatenate(lows), highs=np.concatenate(highs), values=np.concatenate(values))

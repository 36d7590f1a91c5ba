"""The order of training examples by difficulty. It follows from the seed and the epoch alone: a resumed trial goes on
in it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from trainables.data.columns import DIFFICULTY
from trainables.data_sections import CurriculumConfig

if TYPE_CHECKING:
    from datasets import Dataset


class CurriculumSampler(torch.utils.data.Sampler[int]):
    """Examples by difficulty in the first epochs, those of equal difficulty in random order; then all at random."""

    def __init__(self, difficulties: torch.Tensor, curriculum: CurriculumConfig, *, seed: int) -> None:
        is_descending = curriculum.order == "hard_first"
        self._keys = -difficulties if is_descending else difficulties
        self._epochs = curriculum.epochs
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._keys)

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(self._seed + self._epoch))
        if self._epoch < self._epochs:
            order = order[torch.argsort(self._keys[order], stable=True)]
        return iter(order.tolist())


def difficulties(examples: "Dataset", curriculum: CurriculumConfig) -> torch.Tensor:
    """One number for each example: its tokens, or what stands in the column that the curriculum names."""
    if curriculum.by != "length":
        return torch.tensor(examples[DIFFICULTY][:], dtype=torch.float64)
    import pyarrow.compute as pc

    lengths = pc.list_value_length(examples.with_format("arrow")["input_ids"][:])
    return torch.tensor(lengths.to_pylist(), dtype=torch.float64)

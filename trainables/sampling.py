"""The order of the training examples, where transformers draws it from the process's random state.

There a trial that goes on in the middle of a later epoch would see other examples than one that was never interrupted.
"""

from collections.abc import Iterator
from typing import Any

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler


class SeededLengthGroups(LengthGroupedSampler):
    """Groups examples of similar length, in an order that follows from the seed and the epoch alone."""

    def __init__(self, groups: LengthGroupedSampler, *, seed: int) -> None:
        super().__init__(groups.batch_size, lengths=groups.lengths, generator=torch.Generator())
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed + self._epoch)
        return super().__iter__()


def resumable(sampler: Any, *, seed: int) -> Any:
    """`sampler`, or one that gives the same kind of order and can start in any epoch. accelerate does it for random
    orders."""
    return SeededLengthGroups(sampler, seed=seed) if isinstance(sampler, LengthGroupedSampler) else sampler

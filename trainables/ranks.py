"""The processes of one trial as each of them sees the others: who am I, what does everybody say. Knows no Ray.

One process is the common case and needs no torch.distributed. Several come from `torchrun`, or from the warm worker
group (`worker_loop.py`), which brings its own way to talk.
"""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

DEFAULT_COLLECTIVE_TIMEOUT_SECONDS = 120


class PeerLost(RuntimeError):
    """Another process of the trial has ended, so this one cannot go on either."""


class Ranks(ABC):
    """The processes of a trial. Every rank makes the same calls in the same order."""

    def __init__(self, *, rank: int, world_size: int) -> None:
        self.rank = rank
        self.world_size = world_size

    @property
    def is_first(self) -> bool:
        """Whether this process reports and writes checkpoints."""
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        """Whether there is anybody to talk to."""
        return self.world_size > 1

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """What each rank gave, in the order of ranks. Returns when all have given theirs.

        Raises:
            PeerLost: a rank ended before it gave anything.
        """

    def wait(self) -> None:
        """Return when every rank is here."""
        if self.are_several:
            self.gather(None)


class OneProcess(Ranks):
    """A trial that trains in this process alone."""

    def __init__(self) -> None:
        super().__init__(rank=0, world_size=1)

    def gather(self, value: Any) -> list[Any]:
        """Just what was given."""
        return [value]


ALONE = OneProcess()


class TorchRanks(Ranks):
    """The processes of torch's default process group, where `torchrun` started them."""

    def gather(self, value: Any) -> list[Any]:
        """Through the process group, so its time-out holds."""
        import torch.distributed

        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values


@contextlib.contextmanager
def launched_ranks() -> Iterator[Ranks]:
    """This process's place among those that `torchrun` started; `ALONE` when it did not."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1 or "MASTER_ADDR" not in os.environ:
        yield ALONE
        return
    from trainables.process_group import form_process_group, leave_process_group

    rank = int(os.environ["RANK"])
    form_process_group(rank=rank, world_size=world_size, timeout_seconds=DEFAULT_COLLECTIVE_TIMEOUT_SECONDS)
    try:
        yield TorchRanks(rank=rank, world_size=world_size)
    finally:
        leave_process_group()

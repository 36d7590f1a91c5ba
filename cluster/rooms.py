"""Which trials fit onto which nodes: a worker needs all of its CPUs and GPUs on one node. Pure; knows no ray.

Ray fills nodes that are in use before empty ones, and so does this.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_ROUNDING = 1e-6
_DIGITS = 6


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Worker:
    """What a process of a trial takes of its node."""

    gpus: float = 0.0
    """GPUs; a fraction comes from one GPU."""
    cpus: float = 0.0
    """Logical CPUs."""


class Rooms:
    """What is free on each node."""

    def __init__(self, nodes: Iterable[Worker] = ()) -> None:
        """
        Args:
            nodes: What is free on each; nodes that are alike may be many.
        """
        self._free = Counter(nodes)

    def copy(self) -> "Rooms":
        """One that can be taken from by itself."""
        made = Rooms()
        made._free = self._free.copy()
        return made

    def take(self, worker: Worker, *, count: int) -> bool:
        """Place so many workers, each on one node. Where not all of them fit, none is placed."""
        before = self._free.copy()
        for _ in range(count):
            if (node := self._tightest(worker)) is None:
                self._free = before
                return False
            self._move(node, _without(node, worker))
        return True

    def most(self, worker: Worker, *, workers: int, lanes: int) -> int:
        """How many of these lanes fit, each of so many workers."""
        trial, fit = self.copy(), 0
        while fit < lanes and trial.take(worker, count=workers):
            fit += 1
        return fit

    def set_aside(self, worker: Worker, *, count: int) -> None:
        """Keep room for workers that wait: where one does not fit, what there is of it on the largest node."""
        for _ in range(count):
            if not self.take(worker, count=1) and +self._free:
                node = max(+self._free, key=lambda node: (node.gpus if worker.gpus else 0.0, node.cpus))
                self._move(node, Worker(gpus=max(0.0, node.gpus - worker.gpus), cpus=max(0.0, node.cpus - worker.cpus)))

    def _tightest(self, worker: Worker) -> Worker | None:
        return min((node for node, count in self._free.items() if count and _fits(worker, node)), default=None)

    def _move(self, node: Worker, left: Worker) -> None:
        self._free[node] -= 1
        self._free[left] += 1


def _fits(worker: Worker, node: Worker) -> bool:
    whole, part = _split(node.gpus)
    on_one = max(part, min(whole, 1.0)) if worker.gpus < 1 else whole
    return worker.gpus <= on_one + _ROUNDING and worker.cpus <= node.cpus + _ROUNDING


def _without(node: Worker, worker: Worker) -> Worker:
    """What is left of a node where this worker fits. Of two GPUs that are both in part in use, the larger rest counts:
    the two are of no use together."""
    whole, part = _split(node.gpus)
    if worker.gpus >= 1 or worker.gpus <= part + _ROUNDING:
        gpus = node.gpus - worker.gpus
    else:
        gpus = whole - 1 + max(part, 1 - worker.gpus)
    return Worker(gpus=_rounded(gpus), cpus=_rounded(node.cpus - worker.cpus))


def _split(gpus: float) -> tuple[float, float]:
    """Whole GPUs, and what is left of one in use."""
    whole = (gpus + _ROUNDING) // 1
    return whole, max(0.0, gpus - whole)


def _rounded(amount: float) -> float:
    return round(max(0.0, amount), _DIGITS)

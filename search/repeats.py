"""The repeats of a rehearsal, on all cores of this machine. Each depends on its seed alone, wherever it is played.

Knows no file and no regret.
"""

import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from search.rehearse import Rehearsal, Script, rehearse
from search.tables import Table

_TRIALS_WORTH_A_PROCESS = 100
"""Fewer are over before a process has begun."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeats:
    """Several rehearsals of one script."""

    script: Script
    """What is rehearsed."""
    table: Table
    """What answers."""
    first_seed: int
    """Seed of the first repeat; each has the next one."""
    num_repeats: int
    """How many."""
    num_parallel: int = 1
    """Workers of each, on its simulated clock."""

    def play(self, repeat: int) -> Rehearsal:
        """One of them."""
        return rehearse(
            self.script, self.table, repeat=repeat, seed=self.first_seed + repeat, num_parallel=self.num_parallel
        )


def play_all(repeats: Repeats) -> list[Rehearsal]:
    """All of them, in order."""
    worth = repeats.num_repeats * repeats.script.num_trials // _TRIALS_WORTH_A_PROCESS
    num_processes = min(repeats.num_repeats, _num_cores(), worth)
    # A fork has the table already; elsewhere each process would have to import and read for seconds.
    if num_processes < 2 or not sys.platform.startswith("linux"):
        return [repeats.play(repeat) for repeat in range(repeats.num_repeats)]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(num_processes, mp_context=context, initializer=_take, initargs=(repeats,)) as pool:
        return list(pool.map(_play_taken, range(repeats.num_repeats)))


_taken: list[Repeats] = []
"""In a process of the pool: what it plays. A table is too large to be sent with each repeat."""


def _take(repeats: Repeats) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the pool
    _taken.append(repeats)


def _play_taken(repeat: int) -> Rehearsal:
    return _taken[0].play(repeat)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

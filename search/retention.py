"""Which checkpoints of a search stay: those of the best trials, of what may be retried, and of what runs.

A loser's checkpoints are removed when its trial ends. What runs owns its files (see `continuations.py`), so nothing
that is removed here is ever missed. Knows no study and no trial that runs but by its number.
"""

import shutil
from collections.abc import Callable

from analysis.records import SearchFiles, SearchRecord, TrialState
from search.disk_use import checkpoint_bytes
from search.pins import is_pinned
from spaces.reports import FailureKind
from trainables.metrics import Mode

_WORTH_RETRYING: tuple[FailureKind, ...] = ("lost", "error", "out_of_memory", "disk_full")
"""A configuration that diverged would diverge again."""


class Retention:
    """Keeps the books of all checkpoints of one search, and removes files."""

    def __init__(
        self, files: SearchFiles, *, keep: int, mode: Mode, record: SearchRecord, max_bytes: float | None = None,
        on_free: Callable[[int], None] | None = None, on_forget: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        self._files = files
        self._on_free = on_free
        self._on_forget = on_forget
        self._keep = keep
        self._sign = 1.0 if mode == "min" else -1.0
        self._max_bytes = max_bytes
        with_checkpoint = [trial for trial in record.current if trial.checkpoint]
        self._best = sorted(
            (self._sign * trial.value, trial.number)
            for trial in with_checkpoint
            if trial.value is not None and files.trial(trial.number).checkpoints.is_dir()
        )
        self._retriable = [trial.number for trial in with_checkpoint if trial.state == "FAIL"]
        self._doomed: list[int] = []
        self._sizes: dict[int, int] = {}
        self._largest = 0
        if max_bytes is not None:
            taken = checkpoint_bytes(files)
            for number in (*self.kept, *(trial.number for trial in record.trials if trial.state == "RUNNING")):
                self.saved(number, taken.get(number, 0))
        self._free_losers()

    @property
    def kept(self) -> set[int]:
        """Trials that ended and whose checkpoints are there."""
        return {number for _, number in self._best} | set(self._retriable)

    @property
    def used_bytes(self) -> int:
        """What all checkpoints take."""
        return sum(self._sizes.values())

    @property
    def has_room(self) -> bool:
        """Whether another trial's checkpoints fit below the limit, as large as the largest so far."""
        return self._max_bytes is None or self.used_bytes + self._largest <= self._max_bytes

    def saved(self, number: int, num_bytes: int) -> None:
        """The checkpoints of trial `number`, which runs, take `num_bytes` now, in place of what they took."""
        self._sizes[number] = num_bytes
        self._largest = max(self._largest, self._sizes[number])
        self._keep_to_limit()

    def ended(
        self, number: int, state: TrialState, *, value: float | None, failure: FailureKind | None, has_checkpoint: bool
    ) -> bool:
        """Decide whose checkpoints need not stay now that trial `number` has ended. Gives whether its own do.

        Nothing is removed before `sweep`: until the study knows of the end, the trial may have to go on.
        """
        if state == "COMPLETE" and value is not None:
            self._best.append((self._sign * value, number))
            self._best.sort()
        elif failure in _WORTH_RETRYING and has_checkpoint:
            self._retriable.append(number)
        else:
            self._doomed.append(number)
        return number in {kept for _, kept in self._best[: self._keep]} | set(self._retriable)

    def sweep(self) -> None:
        """Remove what was decided on."""
        for number in self._doomed:
            self._free(number)
        self._doomed.clear()
        self._free_losers()

    def clean_up(self, record: SearchRecord) -> None:
        """Remove what interrupted sessions left: checkpoints that should be gone, folders of trials that never were."""
        running = {trial.number for trial in record.trials if trial.state == "RUNNING"}
        for path in (self._files.path / "trials").glob("*"):
            if not path.name.isdecimal():
                continue
            number = int(path.name)
            if number >= len(record.trials):
                if self._on_forget is not None:
                    self._on_forget(number)
                shutil.rmtree(path, ignore_errors=True)
            elif number not in running | self.kept:
                self._free(number)

    def _free_losers(self) -> None:
        for _, loser in self._best[self._keep :]:
            self._free(loser)
        del self._best[self._keep :]
        self._keep_to_limit()

    def _keep_to_limit(self) -> None:
        """Below the limit again, as far as that goes without touching what runs or the best of all."""
        while self._max_bytes is not None and self.used_bytes > self._max_bytes:
            if self._retriable:
                self._free(self._retriable.pop(0))
            elif len(self._best) > 1:
                self._free(self._best.pop()[1])
            else:
                return

    def _free(self, number: int) -> None:
        self._sizes.pop(number, None)
        if is_pinned(self._files.trial(number).path):
            return  # it counts no longer as this search's, but another one still starts from it
        shutil.rmtree(self._files.trial(number).checkpoints, ignore_errors=True)
        if self._on_free is not None:
            self._on_free(number)

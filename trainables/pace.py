"""The speed of training: tokens and steps a second, and how much of the device's peak that is.

Evaluations, checkpoints and waiting for the search are no training time. Knows no Trainer.
"""

import time
from collections.abc import Callable

from spaces.reports import Row


class Pace:
    """Measures from row to row and over all, without the time between a row and `resume`."""

    def __init__(
        self,
        *,
        flops_per_token: Callable[[float], float | None],
        peak_flops: float | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._flops_per_token = flops_per_token
        self._peak_flops = peak_flops
        self._now = now
        self._mark = (now(), 0, 0, 0)
        self._seconds, self._tokens, self._flops = 0.0, 0, 0.0

    def start(self, *, step: int, tokens: int, examples: int) -> None:
        """Training begins."""
        self._mark = (self._now(), step, tokens, examples)

    def resume(self) -> None:
        """Training goes on after something else, which began right after a row."""
        self._mark = (self._now(), *self._mark[1:])

    def row(self, *, step: int, tokens: int, examples: int) -> Row:
        """The speed since the last row, or since training began."""
        then, *before = self._mark
        self._mark = (self._now(), step, tokens, examples)
        seconds = max(self._mark[0] - then, 1e-9)
        steps, new_tokens, new_examples = (new - old for new, old in zip(self._mark[1:], before, strict=True))
        self._seconds += seconds
        self._tokens += new_tokens
        row: Row = {"train/tokens_per_second": round(new_tokens / seconds, 1)}
        if steps:
            row["train/step_seconds"] = round(seconds / steps, 6)
        if self._peak_flops and new_examples:
            flops = self._flops_per_token(new_tokens / new_examples)
            if flops is not None:
                self._flops += flops * new_tokens
                row["system/mfu"] = round(flops * new_tokens / seconds / self._peak_flops, 4)
        return row

    @property
    def tokens_per_second(self) -> float | None:
        """Over all rows so far."""
        return round(self._tokens / self._seconds, 1) if self._tokens else None

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation over all rows so far; None where the peak is not known."""
        if not self._peak_flops or not self._flops:
            return None
        return round(self._flops / self._seconds / self._peak_flops, 4)

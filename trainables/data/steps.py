"""How far a long step of a preparation has come, said in words every few seconds. Knows no step."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_EVERY_SECONDS = 5.0


class Step:
    """Counts documents of one step and tells of them."""

    def __init__(
        self,
        name: str,
        *,
        total: int | None,
        on_progress: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._total = total
        self._on_progress = on_progress
        self._now = now
        self._began = self._told = now()
        self._documents = self._bytes = 0

    def add(self, *, documents: int, num_bytes: int) -> None:
        """So much more is done."""
        self._documents += documents
        self._bytes += num_bytes
        if self._now() - self._told >= _EVERY_SECONDS:
            self._told = self._now()
            self._on_progress(self.in_words())

    def in_words(self) -> str:
        """Such as `tokenizing: 1,200 of 90,000 documents, 2.3 MB/s, 4 min left`."""
        seconds = max(self._now() - self._began, 1e-9)
        of = f" of {self._total:,}" if self._total else ""
        words = f"{self._name}: {self._documents:,}{of} documents"
        if self._bytes:
            words += f", {self._bytes / 1e6 / seconds:.1f} MB/s"
        if self._total and self._documents:
            words += f", {_duration(seconds * (self._total - self._documents) / self._documents)} left"
        return words


_current: ContextVar[Step | None] = ContextVar("step", default=None)


@contextmanager
def step(name: str, *, total: int | None = None, on_progress: Callable[[str], None]) -> Iterator[None]:
    """A step begins; what `count` is told within the block belongs to it."""
    token = _current.set(Step(name, total=total, on_progress=on_progress))
    try:
        yield
    finally:
        _current.reset(token)


def count(*, documents: int, num_bytes: int = 0) -> None:
    """So much more of the current step is done. Outside of a step nobody is told."""
    current = _current.get()
    if current is not None:
        current.add(documents=documents, num_bytes=num_bytes)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"

"""A learning curve that is read when it is first looked into: what it ended with is known before. Knows no source."""

from collections.abc import Callable, Iterator, Mapping


class LazyCurve(Mapping[int, float]):
    """Step -> value, in order."""

    def __init__(self, load: Callable[[], Mapping[int, float]], *, last: tuple[int, float] | None = None) -> None:
        """
        Args:
            load: Reads the curve. Called once at most.
            last: Its last step and value, where they are known without it: they are in the curve even where it was
                thinned.
        """
        self._load = load
        self._last = last
        self._points: dict[int, float] | None = None

    @property
    def last(self) -> tuple[int, float] | None:
        """The last step and its value; reads the curve only if they are not known. None when it is empty."""
        if self._last is None and self._all:
            step = next(reversed(self._all))
            self._last = (step, self._all[step])
        return self._last

    @property
    def _all(self) -> dict[int, float]:
        if self._points is None:
            points = dict(self._load())
            if self._last is not None:
                points[self._last[0]] = self._last[1]
            self._points = dict(sorted(points.items()))
        return self._points

    def __getitem__(self, step: int) -> float:
        return self._all[step]

    def __iter__(self) -> Iterator[int]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"LazyCurve({self._points if self._points is not None else '...'}, last={self._last})"

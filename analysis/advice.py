"""What to do with each parameter, in words: where it is best, whether its range should grow, whether to leave it alone.

Said only when the forests of the model agree; else it is said that more trials would be due.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from analysis.axes import Axis
from analysis.importance import FittedSearch, Importance, between, fit, importances
from analysis.records import SearchRecord

if TYPE_CHECKING:
    import numpy as np

_AGREE = 0.9
"""The share of forests that have to agree."""
_WIDE = 0.5
"""An interval that covers more of the range than this says nothing."""
_EDGE = 0.08
"""How near to an end of the range its best value counts as lying there."""

Kind = Literal["between", "at the edge", "choice", "unclear"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """On one parameter that matters."""

    path: str
    """Which one."""
    name: str
    """The shortest part of its path that is its own."""
    kind: Kind
    """What can be said."""
    words: str
    """That, in words that follow the name: `is best between 3e-4 and 2e-3`."""
    low: Any = None
    """Where its best values begin, of a number."""
    high: Any = None
    """Where they end."""
    choices: tuple[Any, ...] = ()
    """Which values may be the best, of a choice."""


def advise(record: SearchRecord) -> list[Advice]:
    """On each parameter that matters, the most important first; empty where nothing can be said."""
    fitted = fit(record)
    told = importances(record)
    if isinstance(fitted, str) or told.why_not is not None:
        return []
    marginals = fitted.surrogate.marginals()
    columns = {axis.path: column for column, axis in enumerate(fitted.axes)}
    return [
        _advice(each, fitted, [marginal.means[columns[each.path]] for marginal in marginals])
        for each in told.parameters
        if each.matters
    ]


def _advice(importance: Importance, fitted: FittedSearch, means: "list[np.ndarray]") -> Advice:
    axis = next(axis for axis in fitted.axes if axis.path == importance.path)
    sign = 1.0 if fitted.mode == "min" else -1.0
    best = [int((sign * mean).argmin()) for mean in means]
    if axis.is_choice:
        return _of_choice(axis, best)
    places = [(cell + 0.5) / axis.num_cells for cell in best]
    edge = max(_EDGE, 1.01 / axis.num_cells)
    for is_high in (False, True):
        at_edge = sum((place > 1 - edge) if is_high else (place < edge) for place in places)
        if axis.has_known_bounds and at_edge >= _AGREE * len(places):
            end, bound = ("upper", axis.high) if is_high else ("lower", axis.low)
            shown = axis.show(int(bound) if axis.is_integer else bound)
            words = f"is best at the {end} end of its range ({shown}): a wider range may have better ones"
            return Advice(path=axis.path, name=axis.name, kind="at the edge", words=words, low=bound, high=bound)
    low, high = between(places, confidence=_AGREE)
    if high - low > _WIDE:
        words = "matters, but there are not enough trials to say where it is best"
        return Advice(path=axis.path, name=axis.name, kind="unclear", words=words)
    half = 0.5 / axis.num_cells if not axis.is_integer else 0.0
    low_value, high_value = axis.at(max(low - half, 0.0)), axis.at(min(high + half, 1.0))
    words = (
        f"is best at {axis.show(low_value)}"
        if low_value == high_value
        else f"is best between {_short(low_value, axis)} and {_short(high_value, axis)}"
    )
    return Advice(path=axis.path, name=axis.name, kind="between", words=words, low=low_value, high=high_value)


def _of_choice(axis: Axis, best: list[int]) -> Advice:
    by_count = sorted(set(best), key=best.count, reverse=True)
    likely: list[int] = []
    for cell in by_count:
        if sum(best.count(each) for each in likely) >= _AGREE * len(best):
            break
        likely.append(cell)
    choices = tuple(axis.choices[cell] for cell in sorted(likely))
    shown = " or ".join(axis.show(choice) for choice in choices)
    if len(choices) == len(axis.choices):
        words = "matters, but there are not enough trials to say which value is best"
        return Advice(path=axis.path, name=axis.name, kind="unclear", words=words, choices=choices)
    told_apart = "" if len(choices) == 1 else ", which are not told apart"
    return Advice(
        path=axis.path, name=axis.name, kind="choice", words=f"is best at {shown}{told_apart}", choices=choices
    )


def _short(value: Any, axis: Axis) -> str:
    return f"{value:.2g}" if isinstance(value, float) else axis.show(value)

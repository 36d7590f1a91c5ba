"""What parameters could be, read from the distributions that Optuna keeps with each trial. Knows no folder."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from analysis.records import ParameterRange

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_ASSIGNMENT = "assignment"


def ranges_of(trials: Iterable["FrozenTrial"]) -> dict[str, ParameterRange]:
    """By path, of all parameters of `trials`. A search that went on in another space has the widest range.

    What Optuna stores of a normal distribution is no value but its share: such a parameter is left out.
    """
    return widest(
        (path, distribution, trial.params[path], trial.user_attrs.get(_ASSIGNMENT, trial.params).get(path))
        for trial in trials
        for path, distribution in trial.distributions.items()
    )


def widest(draws: Iterable[tuple[str, Any, Any, Any]]) -> dict[str, ParameterRange]:
    """The same of draws.

    Args:
        draws: Path, distribution (with `choices`, or with `low`, `high` and maybe `log`), what Optuna stores of the
            value, and the value.
    """
    found: dict[str, ParameterRange] = {}
    left_out: set[str] = set()
    for path, distribution, stored, value in draws:
        if path in left_out:
            continue
        if hasattr(distribution, "choices"):
            found[path] = ParameterRange(is_choice=True)
        elif not _is_stored_as_it_is(stored, value):
            left_out.add(path)
            found.pop(path, None)
        else:
            found[path] = _wider(found.get(path), distribution)
    return found


def _is_stored_as_it_is(stored: Any, value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # A value on a step is near what the sampler drew, and far from a share only by chance.
    return is_number and (math.isclose(stored, value, rel_tol=0.5) or abs(stored - value) <= 1e-9)


def _wider(known: ParameterRange | None, distribution: Any) -> ParameterRange:
    low, high = float(distribution.low), float(distribution.high)
    if known is not None and known.low is not None and known.high is not None:
        low, high = min(low, known.low), max(high, known.high)
    return ParameterRange(low=low, high=high, is_log=bool(getattr(distribution, "log", False)))

"""What parameters could be, read from the distributions that Optuna keeps with each trial. Knows no folder."""

import math
from collections.abc import Sequence
from typing import Any

from analysis.records import ParameterRange

_ASSIGNMENT = "assignment"


def ranges_of(trials: Sequence[Any]) -> dict[str, ParameterRange]:
    """By path, of all parameters of `trials` (Optuna's). A search that went on in another space has the widest range.

    What Optuna stores of a normal distribution is no value but its share: such a parameter is left out.
    """
    found: dict[str, ParameterRange] = {}
    left_out: set[str] = set()
    for trial in trials:
        values = trial.user_attrs.get(_ASSIGNMENT, trial.params)
        for path, distribution in trial.distributions.items():
            if path in left_out:
                continue
            if hasattr(distribution, "choices"):
                found[path] = ParameterRange(is_choice=True)
            elif not _is_stored_as_it_is(trial.params[path], values.get(path)):
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
    return ParameterRange(low=low, high=high, is_log=bool(distribution.log))

"""A budget in words, and how many trials it affords by what a probe has measured. Decides nothing."""

import math
from collections.abc import Mapping

from cluster.resources import ResourcesConfig
from search.budget import BudgetConfig, Limit, rates_of, show_amount


def budget_text(budget: BudgetConfig, *, mode: str, currency: str) -> str:
    """All that may end the search early, in one line."""
    parts = [show_amount(name, limit, currency=currency) for name, limit in budget.limits.items()]
    if budget.target is not None:
        parts.append(f"{'at most' if mode == 'min' else 'at least'} {budget.target:g} reached")
    if budget.plateau is not None:
        change = f" by more than {budget.plateau.min_change:g}" if budget.plateau.min_change else ""
        parts.append(f"{budget.plateau.trials} trials in a row that are not better{change}")
    return ", or ".join(parts)


def affordable_trials(
    budget: BudgetConfig, resources: ResourcesConfig, *, trial_seconds: float | None, num_parallel: int
) -> Mapping[Limit, int]:
    """Limit -> how many whole trials of `trial_seconds` it affords; without the limits that this does not tell."""
    if not trial_seconds:
        return {}
    found: dict[Limit, int] = {}
    for name, rate in rates_of(resources).items():
        limit = budget.limits.get(name)
        if limit is not None and rate:
            num_in_a_row = math.floor(limit / (trial_seconds * rate) + 1e-9)
            found[name] = num_in_a_row * num_parallel if name == "time" else num_in_a_row
    return found


def affordable_text(affordable: Mapping[Limit, int], budget: BudgetConfig, *, num_trials: int, currency: str) -> str:
    """What the budget affords, for a person."""
    if not affordable:
        return ""
    name = min(affordable, key=affordable.__getitem__)
    limit = show_amount(name, budget.limits[name], currency=currency)
    if affordable[name] == 0:
        return f"search.budget.{name}: not one trial fits into {limit} when nothing stops it early."
    if affordable[name] >= num_trials:
        return f"The budget affords all {num_trials} trials."
    return f"search.budget.{name}: {limit} afford about {affordable[name]} of the {num_trials} trials."

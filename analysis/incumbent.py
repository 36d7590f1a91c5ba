"""The best value so far over what a search has spent: seconds of training, or GPU-hours. Knows no plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.records import SearchRecord, TrialRecord

CostUnit = Literal["gpu_hours", "seconds"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """One trial when it ended."""

    trial: TrialRecord
    """The trial."""
    cost: float
    """What it took of this search's own time."""
    spent: float
    """What the search had spent by then, this trial included."""
    value: float | None
    """The objective, of a finished trial."""
    best: float | None
    """The best of a finished trial until then."""


def cost_unit(records: Sequence[SearchRecord]) -> CostUnit:
    """GPU-hours where all searches have used GPUs, else seconds of training."""
    used = [any(trial.gpu_hours for trial in record.trials) for record in records]
    return "gpu_hours" if all(used) else "seconds"


def course(record: SearchRecord, unit: CostUnit) -> list[Ended]:
    """The trials of this search that have ended, in the order of their ends.

    Costs are those of trials one after another: lanes side by side change how long a person waits, not what is paid.
    Trials of other searches cost nothing here, but what they have found counts.
    """
    better = min if record.mode == "min" else max
    ended = sorted((trial for trial in record.trials if trial.state != "RUNNING"), key=_when)
    found: list[Ended] = []
    spent, best = 0.0, None
    for trial in ended:
        cost = ((trial.gpu_hours if unit == "gpu_hours" else trial.seconds) or 0.0) * trial.own_share
        spent += cost
        if trial.value is not None:
            best = trial.value if best is None else better(best, trial.value)
        found.append(Ended(trial=trial, cost=cost, spent=spent, value=trial.value, best=best))
    return found


def best_by(ended: Sequence[Ended], budget: float) -> float | None:
    """The best value that was known when `budget` was spent; None while no trial had finished."""
    found = None
    for each in ended:
        # A budget that is a sum of the same costs must not miss its last trial by a rounding.
        if each.spent > budget * (1 + 1e-9):
            break
        found = each.best
    return found


def _when(trial: TrialRecord) -> tuple[float, int]:
    """Trials of which it is not known when they ended count by their number, before the others."""
    inherited = trial.origin is not None and trial.origin.kind == "inherited"
    return (0.0 if inherited else float(trial.clock.get("ended_at") or 0.0)), trial.number

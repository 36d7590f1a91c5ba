"""A finished search -> a table for rehearsals: its trials are the recorded results."""

import math
from dataclasses import dataclass

from analysis.records import SearchRecord, TrialRecord
from search.plan import Plan
from search.tables import Curve, Table
from spaces.errors import SpecError
from spaces.space import Space


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnTable:
    """What a search recorded."""

    table: Table
    """Its trials; the nearest one answers."""
    num_extended: int
    """Trials that were stopped early: what they would have reached is taken to be what they had."""


def table_of_search(record: SearchRecord, plan: Plan, space: Space) -> OwnTable:
    """The table of a recorded search, for configurations of `space`.

    Raises:
        SpecError: no trial finished, or none is of this space.
    """
    ended = [trial for trial in record.current if trial.state != "RUNNING" and trial.params.keys() <= set(space.paths)]
    finished = [trial for trial in ended if trial.state == "COMPLETE" and trial.intermediate]
    if not finished:
        raise SpecError(f"`{record.directory}` has no finished trial of this space: there is nothing to rehearse with.")
    longest = max(plan.resource_of(max(trial.intermediate)) for trial in finished)
    curves = {}
    for trial in ended:
        curve = _curve(trial, plan, longest)
        if curve is not None:
            curves[trial.number] = curve
    points = [trial.params for trial in ended if trial.number in curves]
    return OwnTable(
        table=Table(space, points, list(curves.values()), is_exact=False),
        num_extended=sum(trial.state == "PRUNED" for trial in ended if trial.number in curves),
    )


def _curve(trial: TrialRecord, plan: Plan, longest: float) -> Curve | None:
    steps = [plan.resource_of(step) for step in trial.intermediate]
    values = list(trial.intermediate.values())
    total = trial.seconds or 0.0
    if trial.state == "FAIL":
        steps, values = [*steps, steps[-1] + 1.0 if steps else 1.0], [*values, math.nan]
    if not steps:
        return None
    rate = total / steps[-1]
    if trial.state == "PRUNED" and steps[-1] < longest:
        # How it would have gone on nobody knows. It was stopped for being worse than others at the same point.
        steps, values = [*steps, longest], [*values, values[-1]]
    return Curve(steps=tuple(steps), values=tuple(values), seconds=tuple(step * rate for step in steps))

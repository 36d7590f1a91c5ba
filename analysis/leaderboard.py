"""Ranking the trials of one search or of several that measure the same. Knows no terminal and no file.

Only trials that trained to their end have a rank. Early-stopped ones follow, those that came furthest first;
they are not comparable with finished ones, nor with each other at different lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.pareto import front_of_each
from analysis.records import SearchRecord, TrialRecord
from analysis.statistics import by_division, corrected_interval
from analysis.ties import Measured, adjusted_p_values, is_tie
from analysis.yardstick import differing, must_compare

_STATES = ("COMPLETE", "PRUNED", "RUNNING", "FAIL")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the leaderboard."""

    rank: int | None
    """1 for the best finished trial; None for a trial that did not finish. With several objectives the front: 1 for
    trials that no other is better than in every respect."""
    trial: TrialRecord
    """The trial."""
    objectives: tuple[str, ...] = ()
    """Names of all objectives, of a search that has several."""
    interval: tuple[float, float] | None = None
    """Where the objective's mean lies with 95% confidence, of a finished trial of several folds or seeds."""
    p_value: float | None = None
    """How likely a difference as large as that to the best trial would be if there were none, all trials that are
    compared taken together. None where nothing is known of how much values vary, and for the best trial itself."""
    is_tied: bool = False
    """Whether it cannot be told apart from the best trial: statistically, it is the same."""
    search: str | None = None
    """Name of its search, in a leaderboard of several."""

    def to_json(self) -> dict[str, Any]:
        """The documented form of `leaderboard --json`. Unknown figures are null."""
        trial = self.trial
        return {
            **({"search": self.search} if self.search is not None else {}),
            "number": trial.number,
            "rank": self.rank,
            "state": trial.state,
            "value": trial.value if trial.state == "COMPLETE" else trial.last_value,
            "interval": list(self.interval) if self.interval else None,
            "tied": self.is_tied,
            "p_value": self.p_value,
            "fold_values": list(trial.fold_values) or None,
            "values": dict(zip(self.objectives, trial.values, strict=False)) if self.objectives else None,
            "params": trial.params,
            "steps": trial.steps,
            "epochs": trial.epochs,
            "tokens": trial.tokens,
            "seconds": trial.seconds,
            "gpu_hours": trial.gpu_hours,
            "energy_wh": trial.usage.energy_wh,
            "energy_is_estimate": trial.usage.energy_is_estimate,
            "cost": trial.cost,
            "peak_memory_bytes": trial.usage.peak_memory_bytes,
            "tokens_per_second": trial.usage.tokens_per_second,
            "mfu": trial.usage.mfu,
            "checkpoint": trial.checkpoint,
            "error": trial.error,
            "failure": trial.failure,
            "superseded_by": trial.superseded_by,
            "origin": trial.origin.to_json() if trial.origin else None,
            "stopped_because": trial.stopped_because,
            "lineage": list(trial.lineage),
        }


def leaderboard(record: SearchRecord, *others: SearchRecord, top: int | None = None) -> list[Entry]:
    """All trials, best first: finished by value, then early-stopped, unfinished, failed; those for which a later trial
    stands come last.

    Args:
        record: A search.
        others: More searches, whose trials are ranked together with its own.
        top: Only so many lines.

    Raises:
        SpecError: they do not optimise the same.
    """
    records = (record, *others)
    must_compare(records)
    sign = 1.0 if record.mode == "min" else -1.0
    trials = [(place, trial) for place, each in enumerate(records) for trial in each.trials]

    def key(placed: tuple[int, TrialRecord]) -> tuple[int, float, float, int, int]:
        place, trial = placed
        group = _STATES.index(trial.state) + (len(_STATES) if trial.superseded_by is not None else 0)
        value = trial.value if trial.state == "COMPLETE" else trial.last_value
        length = 0.0 if trial.state == "COMPLETE" else -float(trial.last[0] if trial.last else 0)
        return (group, length, sign * value if value is not None else 0.0, place, trial.number)

    ordered = sorted(trials, key=key)
    ranked = [(place, trial) for place, trial in ordered if trial.state == "COMPLETE" and trial.superseded_by is None]
    ranks = {_name(one): rank for rank, one in enumerate(ranked, start=1)}
    p_values: dict[tuple[int, int], float] = {}
    if record.objectives:
        fronts = front_of_each([trial.values for _, trial in ranked], record.objectives)
        ranks = {_name(one): front for one, front in zip(ranked, fronts, strict=True)}
        ordered.sort(key=lambda one: ranks.get(_name(one), len(ordered)))  # stable: by the first objective within
    else:
        p_values = _against_the_best(ranked, records)
    return [
        Entry(
            rank=ranks.get(_name(one)),
            trial=one[1],
            interval=_interval(one[1], records[one[0]]),
            p_value=(p_value := p_values.get(_name(one))),
            is_tied=p_value is not None and is_tie(p_value),
            objectives=tuple(objective.name for objective in record.objectives),
            search=records[one[0]].name if others else None,
        )
        for one in ordered[:top]
    ]


def _name(placed: tuple[int, TrialRecord]) -> tuple[int, int]:
    return placed[0], placed[1].number


def _against_the_best(
    ranked: Sequence[tuple[int, TrialRecord]], records: Sequence[SearchRecord]
) -> dict[tuple[int, int], float]:
    """The p-value of each ranked trial's difference to the first of them, where one can be had."""
    if not ranked:
        return {}
    home = ranked[0][0]
    shares_folds = [not differing([records[home], record]) for record in records]
    measured = [
        Measured(
            values=trial.fold_values,
            divisions=records[place].divisions,
            test_share=records[place].test_share,
            shares_folds=shares_folds[place],
        )
        for place, trial in ranked
    ]
    found = adjusted_p_values(measured[0], measured[1:])
    return {_name(one): p for one, p in zip(ranked[1:], found, strict=True) if p is not None}


def _interval(trial: TrialRecord, record: SearchRecord) -> tuple[float, float] | None:
    values = by_division(trial.fold_values, record.divisions)
    if trial.state != "COMPLETE" or len(values) < 2:
        return None
    return corrected_interval(values, test_share=record.test_share)

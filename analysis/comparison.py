"""Is one trial better than another, or one search than another at equal cost? By how much, and how sure is that?

Differences are turned so that a positive one speaks for the first. Reads no files and writes no text.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Any, Literal

from analysis.incumbent import CostUnit, Ended, best_by, cost_unit, course
from analysis.records import SearchRecord, TrialRecord
from analysis.statistics import LEVEL, Test, holm, percentiles, unpaired
from analysis.ties import Measured, difference
from analysis.yardstick import differing, must_compare
from spaces.errors import SpecError

Verdict = Literal["first", "second", "undecided", "unknown"]
"""`unknown`: nothing is known of how much values vary."""
_DRAWS = 2000
_SHARES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """Two things side by side."""

    first: str
    """One of them."""
    second: str
    """The other."""
    difference: float | None
    """How much better the first is; None where one of them has no value."""
    low: float | None = None
    """Where the difference lies with 95% confidence: from here"""
    high: float | None = None
    """to here. None where nothing is known of how much values vary."""
    p_value: float | None = None
    """How likely a difference as large would be if there were none; with several contrasts all taken together."""
    method: str = ""
    """How that was found."""
    count: int = 0
    """On how many folds, seeds or searches."""
    chance: float | None = None
    """Of searches: in which share of resamples the first one is better."""

    @property
    def verdict(self) -> Verdict:
        """Which is better, as far as can be told."""
        if self.difference is None or self.p_value is None:
            return "unknown"
        if self.p_value > LEVEL or self.difference == 0.0:
            return "undecided"
        return "first" if self.difference > 0 else "second"

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` has it."""
        return {**asdict(self), "verdict": self.verdict}


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A trial to compare."""

    name: str
    """As a person calls it."""
    record: SearchRecord
    """Its search."""
    trial: TrialRecord
    """The trial, finished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialComparison:
    """Trials side by side."""

    candidates: Sequence[Candidate]
    """The trials."""
    contrasts: Sequence[Contrast]
    """Each pair of them."""
    warnings: Sequence[str] = ()
    """Why values may not compare."""

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` has it."""
        return {
            "metric": self.candidates[0].record.metric,
            "mode": self.candidates[0].record.mode,
            "trials": [
                {"name": each.name, "search": each.record.name, "number": each.trial.number, "value": each.trial.value,
                 "params": each.trial.params, "seconds": each.trial.seconds, "gpu_hours": each.trial.gpu_hours}
                for each in self.candidates
            ],
            "contrasts": [contrast.to_json() for contrast in self.contrasts],
            "warnings": list(self.warnings),
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """A search to compare, or several that differ in their seed only."""

    name: str
    """As a person calls it."""
    records: Sequence[SearchRecord]
    """One, or its repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a side stands."""

    name: str
    """The side."""
    num_trials: int
    """Trials that ended, of all repeats."""
    num_finished: int
    """Those that trained to their end."""
    spent: float
    """What a search of it has spent in all, on average."""
    value: float | None
    """The best value at its own end, on average."""
    at_shares: Sequence[float | None]
    """The best value, on average, when a quarter, a half, three quarters and all of the shared budget was spent."""
    spent_for_best: float | None
    """What had been spent when its best trial ended, on average."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchComparison:
    """Searches side by side at equal cost."""

    metric: str
    """The objective."""
    mode: Literal["min", "max"]
    """Which way it is better."""
    unit: CostUnit
    """What costs are counted in."""
    budget: float
    """What each search has spent at least: the budget at which they are compared."""
    standings: Sequence[Standing]
    """Each side."""
    contrasts: Sequence[Contrast]
    """Each pair of sides, by the best value when the shared budget was spent."""
    best_trials: Sequence[Contrast]
    """Each pair of sides, by their best trials; empty with repeats."""
    warnings: Sequence[str] = ()
    """Why values may not compare."""

    def to_json(self) -> dict[str, Any]:
        """As `compare --json` has it."""
        return {
            "metric": self.metric,
            "mode": self.mode,
            "unit": self.unit,
            "budget": self.budget,
            "searches": [asdict(standing) for standing in self.standings],
            "contrasts": [contrast.to_json() for contrast in self.contrasts],
            "best_trials": [contrast.to_json() for contrast in self.best_trials],
            "warnings": list(self.warnings),
        }


def compare_trials(candidates: Sequence[Candidate], *, test: Test = "t") -> TrialComparison:
    """Each pair of `candidates`, on the folds or seeds that they have trained, by `test`.

    Raises:
        SpecError: their searches optimise different things, or a trial has not finished.
    """
    records = [each.record for each in candidates]
    must_compare(records)
    for each in candidates:
        if each.trial.value is None:
            raise SpecError(f"{each.name} has not trained to its end: its value is no result to compare.")
    warnings = differing(records)
    contrasts = [_of_trials(*pair, test=test) for pair in combinations(candidates, 2)]
    return TrialComparison(candidates=candidates, contrasts=_together(contrasts), warnings=warnings)


def compare_searches(sides: Sequence[Side]) -> SearchComparison:
    """Each pair of `sides` when the same was spent on each.

    A search alone is compared by resampling its trials: how much of the difference is the luck of which configurations
    came up. With repeats on both sides the search is the unit, and nothing is resampled.

    Raises:
        SpecError: they optimise different things or several at once, or one of them has no finished trial.
    """
    records = [record for side in sides for record in side.records]
    must_compare(records)
    if records[0].objectives:
        raise SpecError("searches with several objectives have no one best value to compare: compare trials of them.")
    for record in records:
        if record.best is None:
            raise SpecError(f"`{record.name}` has no finished trial yet: there is nothing to compare.")
    unit = cost_unit(records)
    courses = {side.name: [course(record, unit) for record in side.records] for side in sides}
    budget = min(_spent(each) for several in courses.values() for each in several)
    if budget <= 0:
        raise SpecError("a search without costs cannot be compared at equal cost: its trials have no `seconds`.")
    sign = 1.0 if records[0].mode == "max" else -1.0
    contrasts, best_trials = [], []
    for one, other in combinations(sides, 2):
        own, others = courses[one.name], courses[other.name]
        if min(len(own), len(others)) > 1:
            contrasts.append(_of_repeats(one.name, other.name, own, others, budget, sign))
        else:
            contrasts.append(_of_resamples(one.name, other.name, own[0], others[0], budget, sign))
            best_trials.append(_of_trials(_best_of(one), _best_of(other)))
    return SearchComparison(
        metric=records[0].metric,
        mode=records[0].mode,
        unit=unit,
        budget=budget,
        standings=[_standing(side.name, courses[side.name], budget) for side in sides],
        contrasts=_together(contrasts),
        best_trials=_together(best_trials),
        warnings=differing(records),
    )


# --- pairs -----------------------------------------------------------------------------------------------


def _of_trials(first: Candidate, second: Candidate, *, test: Test = "t") -> Contrast:
    sign = 1.0 if first.record.mode == "max" else -1.0
    shares_folds = not differing([first.record, second.record])
    one, other = (
        Measured(
            values=[sign * value for value in each.trial.fold_values],
            divisions=each.record.divisions,
            test_share=each.record.test_share,
            shares_folds=shares_folds,
        )
        for each in (first, second)
    )
    plain = Contrast(
        first=first.name,
        second=second.name,
        difference=sign * ((first.trial.value or 0.0) - (second.trial.value or 0.0)),
    )
    found = difference(one, other, test=test)
    if found is None:
        return plain
    corrected = ", corrected for the data that folds share" if first.record.test_share and test == "t" else ""
    return replace(
        plain,
        difference=found.mean,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        method=f"{found.method} on {found.count} {first.record.fold_kind}s{corrected}",
        count=found.count,
    )


def _of_repeats(
    first: str, second: str, own: Sequence[list[Ended]], others: Sequence[list[Ended]], budget: float, sign: float
) -> Contrast:
    one, other = ([sign * _value_at(each, budget) for each in several] for several in (own, others))
    found = unpaired(one, other)
    assert found is not None  # both have at least two
    return Contrast(
        first=first, second=second, difference=found.mean, low=found.low, high=found.high, p_value=found.p_value,
        method=f"{found.method} on repeated searches", count=found.count,
    )  # fmt: skip


def _of_resamples(
    first: str, second: str, own: Sequence[Ended], others: Sequence[Ended], budget: float, sign: float
) -> Contrast:
    import numpy as np

    generator = np.random.default_rng(0)
    draws = _resampled(own, budget, sign, generator) - _resampled(others, budget, sign, generator)
    low, high = percentiles(draws)
    wins = float(np.mean(draws > 0) + np.mean(draws == 0) / 2)
    # Never below what so many draws can tell apart from nothing.
    p_value = max(min(1.0, 2 * min(wins, 1 - wins)), 1 / _DRAWS)
    return Contrast(
        first=first,
        second=second,
        difference=sign * (_value_at(own, budget) - _value_at(others, budget)),
        low=low,
        high=high,
        p_value=p_value,
        method="bootstrap over trials",
        count=min(len(own), len(others)),
        chance=wins,
    )


def _resampled(ended: Sequence[Ended], budget: float, sign: float, generator: Any) -> Any:
    """The best value (larger is better) of searches whose trials are drawn from these until the budget is spent. A
    search that none finishes in has the worst value that was seen."""
    import numpy as np

    worst = min(sign * each.value for each in ended if each.value is not None)
    costs = np.array([each.cost for each in ended])
    values = np.array([worst if each.value is None else sign * each.value for each in ended])
    best = np.empty(_DRAWS)
    # About what is needed and a margin: another block is drawn where it was not enough.
    block = max(8, int(1.25 * budget / max(costs.mean(), 1e-12)) + 1)
    for draw in range(_DRAWS):
        spent, found = 0.0, worst
        while spent <= budget:
            picked = generator.integers(len(ended), size=min(block, 100_000))
            sums = spent + np.cumsum(costs[picked])
            inside = sums <= budget * (1 + 1e-9)
            if inside.any():
                found = max(found, values[picked[inside]].max())
            spent = sums[-1]
        best[draw] = found
    return best


def _together(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """With the p-values that count when all are looked at."""
    known = [contrast for contrast in contrasts if contrast.p_value is not None]
    adjusted = iter(holm([contrast.p_value or 0.0 for contrast in known]))
    return [
        contrast if contrast.p_value is None else replace(contrast, p_value=next(adjusted)) for contrast in contrasts
    ]


# --- sides -----------------------------------------------------------------------------------------------


def _best_of(side: Side) -> Candidate:
    record = side.records[0]
    assert record.best is not None  # asked for before
    return Candidate(name=f"trial {record.best.number} of {side.name}", record=record, trial=record.best)


def _standing(name: str, courses: Sequence[list[Ended]], budget: float) -> Standing:
    at_shares = []
    for share in _SHARES:
        found = [best_by(each, share * budget) for each in courses]
        known = [value for value in found if value is not None]
        at_shares.append(fmean(known) if len(known) == len(found) else None)
    return Standing(
        name=name,
        num_trials=sum(len(each) for each in courses),
        num_finished=sum(ended.value is not None for each in courses for ended in each),
        spent=fmean(_spent(each) for each in courses),
        value=fmean(each[-1].best or 0.0 for each in courses),
        at_shares=at_shares,
        spent_for_best=fmean(next(one.spent for one in each if one.best == each[-1].best) for each in courses),
    )


def _spent(ended: Sequence[Ended]) -> float:
    return ended[-1].spent if ended else 0.0


def _value_at(ended: Sequence[Ended], budget: float) -> float:
    """The best value when the budget was spent; where nothing had finished by then, the first that did."""
    found = best_by(ended, budget)
    return found if found is not None else next(each.best for each in ended if each.best is not None)

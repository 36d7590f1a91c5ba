"""What a spec says of a search's budget, and the account that decides by it whether another trial may start.

Pure: it is told what happens and at what time, by a search or by a rehearsal. A trial that cannot be expected to finish
within what is left is not started.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from cluster.resources import ResourcesConfig
from search.units import Seconds, WattHours, show_seconds
from spaces.errors import SpecError
from trainables.metrics import Mode
from trainables.section import Section

Limit = Literal["time", "gpu_hours", "cost", "energy"]
State = Literal["COMPLETE", "PRUNED", "FAIL"]
_QUANTILE = 0.8
"""Of the times of finished trials: what the next one is expected to take when nothing stops it early."""
_FEW = 5


class PlateauConfig(Section):
    """When a search no longer gets better."""

    trials: PositiveInt
    """So many trials in a row without a better one end the search."""
    min_change: NonNegativeFloat = 0.0
    """By how much the objective must get better to count."""


class BudgetConfig(Section):
    """What ends a search before all its trials were run. A trial that cannot be expected to finish within what is left
    is not started; when a limit is reached all the same, what runs is left unfinished and can go on later."""

    time: Seconds | None = None
    """Wall time of the search, such as `2h`, interruptions left out."""
    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    """GPUs times their hours, of all trials together."""
    cost: Annotated[float, Field(gt=0)] | None = None
    """Money, in `resources.currency`; needs `resources.price_per_hour`."""
    energy: WattHours | None = None
    """Energy of all trials together as far as it is measured, such as `500Wh`."""
    target: float | None = None
    """The search ends when a finished trial is at least as good as this."""
    plateau: PlateauConfig | None = None
    """The search ends when it no longer gets better."""

    @property
    def limits(self) -> dict[Limit, float]:
        """The limits that are set."""
        found: dict[Limit, float | None] = {
            "time": self.time, "gpu_hours": self.gpu_hours, "cost": self.cost, "energy": self.energy
        }  # fmt: skip
        return {name: limit for name, limit in found.items() if limit is not None}


def check_budget(budget: BudgetConfig, resources: ResourcesConfig) -> None:
    """Refuse limits that nothing would ever reach.

    Raises:
        SpecError: at `search.budget...`.
    """
    if budget.cost is not None and not resources.price_per_hour:
        raise SpecError(
            "a limit in money needs to know what a trial costs: set `resources.price_per_hour`.",
            path="search.budget.cost",
        )
    if budget.gpu_hours is not None and not resources.gpus_per_worker:
        raise SpecError(
            "trials have no GPU here (`resources.gpus_per_worker`), so they use no GPU-hours: limit `time` instead.",
            path="search.budget.gpu_hours",
        )


def rates_of(resources: ResourcesConfig) -> dict[Limit, float]:
    """What a second of a trial takes of each limit."""
    gpus = resources.workers * resources.gpus_per_worker
    return {"time": 1.0, "gpu_hours": gpus / 3600, "cost": (resources.price_per_hour or 0.0) / 3600}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether another trial may start."""

    action: Literal["start", "wait", "end"]
    """`wait`: not now, but perhaps when a trial that runs has ended. `end`: never."""
    reason: str = ""
    """What stands in its way, for a person."""


@dataclass
class _Running:
    """A trial that runs: what it took up to a moment."""

    at: float
    seconds: float = 0.0
    energy: float = 0.0


@dataclass
class Account:
    """What a search has spent, and what its trials take."""

    budget: BudgetConfig
    mode: Mode
    rates: Mapping[Limit, float]
    """What a second of a trial takes of each limit."""
    currency: str = "USD"
    """Of `cost`."""
    stops_early: bool = False
    """Whether a scheduler may stop trials: then the next one is expected to take what they take on average."""
    spent: dict[Limit, float] = field(default_factory=dict)
    """By trials that have ended; `time` is not kept here."""
    seconds: dict[State, list[float]] = field(default_factory=lambda: {"COMPLETE": [], "PRUNED": [], "FAIL": []})
    """Whole durations of trials that have ended."""
    energies: list[float] = field(default_factory=list)
    """Energies of those that finished or were stopped early."""
    bests: list[float | None] = field(default_factory=list)
    """The best objective after each trial that has ended."""
    best: float | None = None
    """The best objective so far, that of inherited trials included."""
    running: dict[int, _Running] = field(default_factory=dict)

    def started(self, number: int, *, now: float) -> None:
        """Trial `number` starts, or goes on."""
        self.running[number] = _Running(at=now)

    def progressed(self, number: int, *, now: float, seconds: float, energy: float = 0.0) -> None:
        """Trial `number` has taken so much in this search so far."""
        self.running[number] = _Running(at=now, seconds=seconds, energy=energy)

    def ended(
        self,
        number: int,
        *,
        state: State,
        value: float | None,
        seconds: float | None,
        energy: float | None = None,
        own_share: float = 1.0,
    ) -> None:
        """Trial `number` has ended.

        Args:
            number: The trial.
            state: How.
            value: The objective, of a finished trial.
            seconds: Its whole duration, also of what an earlier trial did for it.
            energy: Its whole energy in watt-hours.
            own_share: The part of both that this search has spent.
        """
        self.running.pop(number, None)
        if seconds is not None:
            self.seconds[state].append(seconds)
            for name in ("gpu_hours", "cost"):
                self._spend(name, seconds * own_share * self.rates.get(name, 0.0))
        if energy is not None:
            self._spend("energy", energy * own_share)
            if state != "FAIL":
                self.energies.append(energy)
        if state == "COMPLETE" and value is not None:
            self.inherited(value)
        self.bests.append(self.best)

    def inherited(self, value: float) -> None:
        """A finished trial has this objective."""
        better = min if self.mode == "min" else max
        self.best = value if self.best is None else better(self.best, value)

    def used(self, *, now: float) -> dict[Limit, float]:
        """What was spent of every limit by `now`, trials that run included."""
        running = [one.seconds + now - one.at for one in self.running.values()]
        total: dict[Limit, float] = {"time": now, "energy": self.spent.get("energy", 0.0)}
        total["energy"] += sum(one.energy for one in self.running.values())
        for name in ("gpu_hours", "cost"):
            total[name] = self.spent.get(name, 0.0) + sum(running) * self.rates.get(name, 0.0)
        return total

    def exhausted(self, *, now: float) -> str | None:
        """Why all must stop now, also what runs; None while there is no reason."""
        if self.budget.target is not None and self.best is not None:
            sign = 1.0 if self.mode == "min" else -1.0
            if sign * self.best <= sign * self.budget.target:
                return f"search.budget.target: {self.best:g} reaches {self.budget.target:g}"
        limits = self.budget.limits
        used = self.used(now=now) if limits else {}
        for name, limit in limits.items():
            if used[name] >= limit:
                return f"search.budget.{name}: {self._show(name, limit)} are used"
        return None

    def verdict(self, *, now: float) -> Verdict:
        """Whether another trial may start."""
        reason = self.exhausted(now=now)
        if reason is not None:
            return Verdict(action="end", reason=reason)
        reason = self._plateau() or self._too_little(now=now)
        if reason is None:
            return Verdict(action="start")
        return Verdict(action="wait" if self.running else "end", reason=reason)

    @property
    def expected_seconds(self) -> float | None:
        """How long the next trial takes; None before one has ended."""
        return self._expected(self.seconds["COMPLETE"], self.seconds["PRUNED"])

    def _expected(self, finished: list[float], stopped: list[float]) -> float | None:
        if self.stops_early and finished + stopped:
            return statistics.fmean(finished + stopped)
        if not finished:
            return None
        ordered = sorted(finished)
        # Of a few trials the longest: a quantile of them says little.
        return ordered[-1 if len(ordered) < _FEW else math.ceil(_QUANTILE * len(ordered)) - 1]

    def _too_little(self, *, now: float) -> str | None:
        """The limit that the next trial is expected to break; None when it fits into all."""
        if not self.budget.limits:
            return None
        expected = self.expected_seconds
        elapsed = [one.seconds + now - one.at for one in self.running.values()]
        if expected is None:
            expected = max(elapsed, default=0.0)  # it takes that long at least
        used = self.used(now=now)
        rest = sum(max(0.0, expected - seconds) for seconds in elapsed)
        for name, limit in self.budget.limits.items():
            if name == "energy":
                each = self._expected(self.energies, []) or 0.0
                committed = sum(max(0.0, each - one.energy) for one in self.running.values())
            else:
                each = expected * self.rates.get(name, 0.0)
                committed = 0.0 if name == "time" else rest * self.rates.get(name, 0.0)
            left = limit - used[name] - committed
            if each > left:
                return (
                    f"search.budget.{name}: a trial takes about {self._show(name, each)}, and "
                    f"{self._show(name, max(0.0, left))} of {self._show(name, limit)} are left"
                )
        return None

    def _plateau(self) -> str | None:
        plateau = self.budget.plateau
        if plateau is None or len(self.bests) <= plateau.trials:
            return None
        before, best = self.bests[-1 - plateau.trials], self.best
        if before is None or best is None or abs(before - best) > plateau.min_change:
            return None
        return f"search.budget.plateau: {plateau.trials} trials in a row were no better than {before:g}"

    def _show(self, name: Limit, amount: float) -> str:
        return show_amount(name, amount, currency=self.currency)

    def _spend(self, name: Limit, amount: float) -> None:
        self.spent[name] = self.spent.get(name, 0.0) + amount


def show_amount(name: Limit, amount: float, *, currency: str) -> str:
    """An amount of a limit for a person."""
    if name == "time":
        return show_seconds(amount)
    return f"{amount:.3g} {'GPU-hours' if name == 'gpu_hours' else 'Wh' if name == 'energy' else currency}"

"""What a confirmation showed: configurations trained again with fresh seeds, on validation and on the test split.

One file a confirmation, `confirmation.json`, holds all that was measured; intervals and comparisons follow from it when
it is read. Seeds are the unit: they share no draw, so that their values are independent. Knows no search and no spec.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from analysis.records import replace_text
from analysis.statistics import LEVEL, Difference, corrected_interval, holm, paired
from spaces.objectives import OF_A_TRIAL, TEST, Objective, name_on_test

FILE = "confirmation.json"
"""In the folder of a confirmation."""

Kind = Literal["trial", "published", "base"]
"""A trial of the search, the best point of a published grid, or the spec as it stands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedRun:
    """One training of one configuration."""

    seed: int
    """Its seed."""
    state: Literal["COMPLETE", "FAIL", "RUNNING"]
    """How it ended; RUNNING when it has not, or has not begun."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of its end: `eval/...` on validation, `test/...` on the test split, `trial/...` what it took."""
    error: str | None = None
    """Why it failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """One configuration and all its trainings."""

    name: str
    """Such as `trial 7`."""
    kind: Kind
    """Where it comes from."""
    trial: int | None
    """Its number, of a trial of the search."""
    params: dict[str, Any]
    """What it was given."""
    searched: dict[str, float]
    """Its objectives as the search measured them; empty for what the search has not measured."""
    runs: tuple[SeedRun, ...]
    """One a seed."""

    def values(self, metric: str) -> dict[int, float]:
        """Seed -> value, of the trainings that came to their end."""
        return {run.seed: run.metrics[metric] for run in self.runs if run.state == "COMPLETE" and metric in run.metrics}

    @property
    def num_failed(self) -> int:
        """Trainings without a result."""
        return sum(run.state == "FAIL" for run in self.runs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over seeds."""

    mean: float
    """The mean."""
    interval: tuple[float, float] | None
    """Where it lies with 95% confidence; None for one seed."""
    count: int
    """Seeds."""

    @property
    def half_width(self) -> float | None:
        """Half of the interval."""
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One configuration by one objective."""

    configuration: Configuration
    """Which."""
    searched: float | None
    """What the search measured."""
    validation: Estimate | None
    """With fresh seeds on validation; None where all but test was trained on."""
    test: Estimate | None
    """With fresh seeds on the test split; None for what a training takes, which no split changes."""
    winners_curse: float | None
    """By how much the search's value was better than fresh seeds are on validation: it was chosen for being good."""
    optimism: float | None
    """By how much validation is better than test with the same seeds; after a cross-validation, by how much the
    search's value is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The search's winner against another configuration, on the same seeds."""

    first: str
    """The winner."""
    second: str
    """The other one."""
    gain: Difference | None
    """By how much the winner is better on the test split (below 0: worse); None for fewer than two seeds."""
    adjusted_p: float | None
    """The p-value as it counts among all comparisons (Holm)."""

    @property
    def is_decided(self) -> bool:
        """Whether they can be told apart."""
        return self.adjusted_p is not None and self.adjusted_p < LEVEL


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """All that was measured."""

    number: int
    """1 for the first confirmation of the search: so often was the test split looked at by then."""
    search: str
    """Name of the search."""
    metric: str
    """Its objective."""
    objectives: tuple[Objective, ...]
    """All of them; one where there is one."""
    seeds: tuple[int, ...]
    """The fresh seeds."""
    configurations: tuple[Configuration, ...]
    """The search's winner first, the baseline last."""
    trained_on_validation: bool
    """Whether all but test was trained on, as after a cross-validation."""
    created: str
    """When it was begun, in ISO 8601."""
    guess_name: str = ""
    """How guessing without a model guesses."""
    guess: dict[str, float] = field(default_factory=dict)
    """What that reaches, on validation and on test."""
    notes: tuple[str, ...] = ()
    """What a reader should know, in sentences."""
    directory: Path | None = None
    """Its folder."""

    @property
    def is_complete(self) -> bool:
        """Whether every training has ended."""
        return all(run.state != "RUNNING" for each in self.configurations for run in each.runs)

    @property
    def has_looked(self) -> bool:
        """Whether anything was measured on the test split."""
        runs = [run for each in self.configurations for run in each.runs]
        return any(name.startswith(TEST) for run in runs for name in run.metrics)

    def summaries(self, objective: Objective | None = None) -> list[Summary]:
        """Each configuration by `objective` (default: the first), the winner first."""
        wanted = objective or self.objectives[0]
        return [_summary(each, wanted, self.trained_on_validation) for each in self.configurations]

    def comparisons(self, objective: Objective | None = None) -> list[Comparison]:
        """The winner against each other configuration on the test split, on the seeds that both came to an end with.
        What a training takes is compared as it is."""
        wanted = objective or self.objectives[0]
        name = wanted.name if wanted.name.startswith(OF_A_TRIAL) else name_on_test(wanted.name)
        winner, *others = self.configurations
        gains = [_gain(winner.values(name), other.values(name), sign=-wanted.sign) for other in others]
        adjusted = iter(holm([gain.p_value for gain in gains if gain is not None]))
        return [
            Comparison(
                first=winner.name,
                second=other.name,
                gain=gain,
                adjusted_p=None if gain is None else next(adjusted),
            )
            for other, gain in zip(others, gains, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """The documented form of `confirm --json`, and of confirmation.json."""
        return {
            "number": self.number,
            "search": self.search,
            "directory": str(self.directory) if self.directory else None,
            "created": self.created,
            "complete": self.is_complete,
            "metric": self.metric,
            "objectives": [asdict(objective) for objective in self.objectives],
            "seeds": list(self.seeds),
            "trained_on_validation": self.trained_on_validation,
            "guess": {"name": self.guess_name, "metrics": self.guess},
            "notes": list(self.notes),
            "configurations": [asdict(each) for each in self.configurations],
            "results": {objective.name: self._results(objective) for objective in self.objectives},
        }

    def _results(self, objective: Objective) -> dict[str, Any]:
        return {
            "configurations": [
                {"name": each.configuration.name, "searched": each.searched, "winners_curse": each.winners_curse,
                 "optimism": each.optimism, "validation": _estimate_json(each.validation),
                 "test": _estimate_json(each.test)}
                for each in self.summaries(objective)
            ],
            "comparisons": [
                {"first": each.first, "second": each.second, "decided": each.is_decided,
                 "gain": None if each.gain is None else each.gain.mean,
                 "interval": None if each.gain is None else [each.gain.low, each.gain.high],
                 "seeds": 0 if each.gain is None else each.gain.count,
                 "p_value": None if each.gain is None else each.gain.p_value, "adjusted_p_value": each.adjusted_p}
                for each in self.comparisons(objective)
            ],
        }  # fmt: skip


def write_confirmation(confirmation: Confirmation, directory: Path) -> Path:
    """Write confirmation.json, all or nothing. Gives the file."""
    replace_text(directory / FILE, json.dumps(confirmation.to_json(), indent=2))
    return directory / FILE


def read_confirmation(directory: Path) -> Confirmation:
    """The confirmation in `directory`."""
    told = json.loads((directory / FILE).read_text("utf-8"))
    return Confirmation(
        **{name: told[name] for name in ("number", "search", "metric", "trained_on_validation", "created")},
        objectives=tuple(Objective(**each) for each in told["objectives"]),
        seeds=tuple(told["seeds"]),
        configurations=tuple(
            Configuration(**each | {"runs": tuple(SeedRun(**run) for run in each["runs"])})
            for each in told["configurations"]
        ),
        guess_name=told["guess"]["name"],
        guess=told["guess"]["metrics"],
        notes=tuple(told["notes"]),
        directory=directory,
    )


def read_confirmations(search: Path) -> list[Confirmation]:
    """All confirmations of the search in this folder, the first one first; empty where there was none."""
    found = [read_confirmation(file.parent) for file in search.glob(f"confirmation-*/{FILE}")]
    return sorted(found, key=lambda each: each.number)


# --- details ---------------------------------------------------------------------------------------------


def _summary(each: Configuration, objective: Objective, trained_on_validation: bool) -> Summary:
    is_cost = objective.name.startswith(OF_A_TRIAL)
    searched = each.searched.get(objective.name)
    validation = None if trained_on_validation and not is_cost else estimate(list(each.values(objective.name).values()))
    test = None if is_cost else estimate(list(each.values(name_on_test(objective.name)).values()))
    measured = validation.mean if validation else searched
    return Summary(
        configuration=each,
        searched=searched,
        validation=validation,
        test=test,
        winners_curse=_better_by(searched, validation, objective),
        optimism=None if test is None else _better_by(measured, test, objective),
    )


def _better_by(value: float | None, than: Estimate | None, objective: Objective) -> float | None:
    return None if value is None or than is None else objective.sign * (than.mean - value)


def estimate(values: Sequence[float]) -> Estimate | None:
    """The mean of independent values; None where there are none."""
    if not values:
        return None
    interval = corrected_interval(values, test_share=0.0) if len(values) > 1 else None
    return Estimate(mean=mean(values), interval=interval, count=len(values))


def _gain(first: dict[int, float], second: dict[int, float], *, sign: float) -> Difference | None:
    seeds = [seed for seed in first if seed in second]
    return paired([sign * first[seed] for seed in seeds], [sign * second[seed] for seed in seeds], test_share=0.0)


def _estimate_json(found: Estimate | None) -> dict[str, Any] | None:
    return None if found is None else {"mean": found.mean, "interval": found.interval, "seeds": found.count}

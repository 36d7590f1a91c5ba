"""The record of a search: where its files lie, and what is in them. Written by search/, read by everyone.

Knows neither ray nor torch nor W&B.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from analysis.lazy_curve import LazyCurve
from analysis.lineage import Origin
from spaces.folds import FoldKind
from spaces.objectives import Mode, Objective
from spaces.reports import FailureKind, Row
from spaces.usage import TrialUsage
from spaces.whole_text import replace_text as replace_text

TrialState = Literal["COMPLETE", "PRUNED", "FAIL", "RUNNING"]


@dataclass(frozen=True)
class TrialFiles:
    """The folder of one trial, as the search writes it."""

    path: Path

    @property
    def document(self) -> Path:
        """trial.yaml: all that is needed to run the trial again."""
        return self.path / "trial.yaml"

    @property
    def history(self) -> Path:
        """history.jsonl: one line a row."""
        return self.path / "history.jsonl"

    @property
    def error(self) -> Path:
        """error.txt: why the trial failed, with the traceback."""
        return self.path / "error.txt"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """samples.jsonl: texts that the model produced in its last evaluation, where its task generates some."""
        return self.path / "samples.jsonl"

    def write_samples(self, samples: Iterable[Mapping[str, str]]) -> None:
        """Replace the samples, all or nothing."""
        replace_text(self.samples, "".join(json.dumps(dict(sample), ensure_ascii=False) + "\n" for sample in samples))

    def read_samples(self) -> list[dict[str, str]]:
        """The samples; none where no text was generated."""
        if not self.samples.is_file():
            return []
        return [json.loads(line) for line in self.samples.read_text("utf-8").split("\n") if line]

    def append_history(self, rows: Iterable[Row]) -> None:
        """Add `rows` in one write, so that a kill tears at most the last line."""
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if text:
            with self.history.open("a", encoding="utf-8") as file:
                file.write(text)

    def read_history(self) -> list[Row]:
        """All rows; a line that a kill has torn is left out."""
        return list(_rows(self.history))

    def rewrite_history(self, rows: Iterable[Row]) -> None:
        """Replace the history by `rows`, all or nothing."""
        replace_text(self.history, "".join(json.dumps(row) + "\n" for row in rows))


@dataclass(frozen=True)
class SearchFiles:
    """The folder of one search."""

    path: Path

    @property
    def spec(self) -> Path:
        """spec.yaml: the spec as resolved."""
        return self.path / "spec.yaml"

    @property
    def study(self) -> Path:
        """study.db: the Optuna storage."""
        return self.path / "study.db"

    @property
    def study_pointer(self) -> Path:
        """study.json: where the study is, of a search that keeps it in a database elsewhere."""
        return self.path / "study.json"

    @property
    def leaderboard(self) -> Path:
        """leaderboard.csv, written when the search ends."""
        return self.path / "leaderboard.csv"

    @property
    def data_card(self) -> Path:
        """data_card.json: what is in the prepared data, in numbers."""
        return self.path / "data_card.json"

    @property
    def report(self) -> Path:
        """report.html, written when the search ends."""
        return self.path / "report.html"

    @property
    def lock(self) -> Path:
        """Held by the process that conducts the search."""
        return self.path / ".lock"

    @property
    def control(self) -> Path:
        """Folder of requests to the process that conducts the search."""
        return self.path / "control"

    def trial(self, number: int) -> TrialFiles:
        """The files of trial `number`."""
        return TrialFiles(self.path / "trials" / str(number))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One trial as it was recorded."""

    number: int
    """Its number in the study."""
    state: TrialState
    """COMPLETE trained to its end; PRUNED was stopped early; FAIL has an error; RUNNING runs or was interrupted."""
    value: float | None
    """The objective at the last evaluation of a COMPLETE trial, else None."""
    values: tuple[float, ...] = ()
    """All objectives of a COMPLETE trial, `value` first; empty where the search has only one."""
    params: dict[str, Any]
    """Dotted path -> value, for what the space varies and this trial has."""
    intermediate: Mapping[int, float]
    """Objective by training step, in the study's step unit, in order. May be read when it is first looked into."""
    steps: int | None = None
    """Optimizer steps done."""
    epochs: float | None = None
    """Passes over the training data."""
    tokens: int | None = None
    """Training tokens seen."""
    seconds: float | None = None
    """Wall time, interruptions left out."""
    gpu_hours: float | None = None
    """Wall time times GPUs."""
    usage: TrialUsage = field(default_factory=TrialUsage)
    """Energy, memory and speed, as far as they were measured."""
    cost: float | None = None
    """Wall time times the price of the trial's resources, where the spec gives one."""
    metrics: dict[str, float] = field(default_factory=dict)
    """All metrics of the last evaluation."""
    fold_values: tuple[float, ...] = ()
    """The objective in each fold, or with each seed, that has trained to its end."""
    clock: dict[str, Any] = field(default_factory=dict)
    """Of the last attempt: `began_at` (first training step) and `ended_at` in Unix time, `process` (host:pid)."""
    checkpoint: str | None = None
    """Folder of the last checkpoint, where it was kept."""
    error: str | None = None
    """Why it failed, in one line."""
    failure: FailureKind | None = None
    """What kind of failure that was. `out_of_memory` says of a configuration that it cannot run here."""
    stopped_because: str | None = None
    """Why it was stopped early, in a few words."""
    lineage: tuple[dict[str, Any], ...] = ()
    """Each time it went on from another trial's checkpoint: `at` (amount of training), `from_trial`, the `params` that
    it went on with, and `seconds` of training that it gave up. `params` of the trial are the last of them."""
    stopped_by: str | None = None
    """`user` when a person has stopped it."""
    origin: Origin | None = None
    """Where it comes from, when no algorithm suggested it: a retry, an extension, another search."""
    superseded_by: int | None = None
    """The later trial that runs it again or goes on from it, and stands for it now."""

    @property
    def own_share(self) -> float:
        """The part of its time that this search spent on it: an earlier trial, or another search, spent the rest."""
        if self.origin is None or not self.seconds:
            return 1.0
        return 0.0 if self.origin.kind == "inherited" else max(0.0, 1.0 - self.origin.seconds_before / self.seconds)

    @property
    def last_value(self) -> float | None:
        """The objective at the last evaluation, of a trial in any state."""
        return last[1] if (last := self.last) is not None else None

    @property
    def last(self) -> tuple[int, float] | None:
        """Step and objective of the last evaluation; reads no curve for it where they are known without."""
        if isinstance(self.intermediate, LazyCurve):
            return self.intermediate.last
        return max(self.intermediate.items(), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterRange:
    """What one parameter could be, as far as the record says it."""

    low: float | None = None
    """Smallest value, of a number."""
    high: float | None = None
    """Largest value, of a number."""
    is_log: bool = False
    """Whether it was drawn on a log scale."""
    is_choice: bool = False
    """Whether it was one of listed values, which may be numbers."""


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """A search as it was recorded. What follows from its trials is found once: reports ask often."""

    name: str
    """Its name."""
    directory: Path | None
    """Its folder, of one that is kept in a folder of ours."""
    metric: str
    """The objective."""
    mode: Mode
    """Which way it is better."""
    objectives: tuple[Objective, ...] = ()
    """All that the search optimises, the one above first; empty where there is only one."""
    trials: list[TrialRecord]
    """All trials, by number."""
    num_planned: int | None
    """How many trials the search is to have."""
    currency: str = "USD"
    """Of each trial's cost."""
    baseline: dict[str, float] = field(default_factory=dict)
    """What guessing without a model reaches, by metric."""
    baseline_name: str = ""
    """How it guesses, such as `majority class`."""
    trainings: int = 1
    """Folds or seeds that a trial trains."""
    fold_kind: FoldKind = "fold"
    """What these are called."""
    divisions: int = 1
    """Divisions of the data among them; with several seeds each comes again."""
    test_share: float = 0.0
    """Held-out documents over documents trained on in a fold, by which folds share what they learn from; 0 for
    seeds."""
    yardstick: Mapping[str, Any] = field(default_factory=dict)
    """What values are measured with: `task`, `data`, `folds`, as the spec has them; empty where that is not known."""
    seconds: float = 0.0
    """Wall time of the search, interruptions left out."""
    notes: tuple[str, ...] = ()
    """What the search has found out about itself, in sentences."""
    ended_by: str | None = None
    """What ended it before all its trials were run: which budget."""
    unit: Literal["epochs", "steps", "tokens"] = "epochs"
    """What training is counted in for a person: the scheduler's unit, where trials are recorded in it."""
    space: Mapping[str, ParameterRange] = field(default_factory=dict)
    """What the parameters could be, by path; those that are missing are judged by their values."""
    default: Mapping[str, Any] = field(default_factory=dict)
    """What the spec has where the parameters vary, by path: the configuration without a search."""
    spec_of: Callable[[], Mapping[str, Any] | None] = lambda: None
    """Reads the spec, of a search of ours that is not kept in a folder; a folder has spec.yaml."""
    document_of: Callable[[int], Mapping[str, Any] | None] = lambda number: None
    """Reads what a trial was run with, by its number: its whole document, or the config of a run that is not ours. A
    folder has trial.yaml instead."""
    history_of: Callable[[int], Sequence[Row]] = lambda number: ()
    """Reads the rows of a trial's history by its number, when they are asked for; empty where none were kept."""

    @cached_property
    def current(self) -> list[TrialRecord]:
        """The trials for which no later one stands."""
        return [trial for trial in self.trials if trial.superseded_by is None]

    def count(self, state: TrialState) -> int:
        """Trials in `state`; those that another search ran, or for which a later one stands, are not counted."""
        return sum(
            trial.state == state and (trial.origin is None or trial.origin.kind != "inherited")
            for trial in self.current
        )

    @cached_property
    def best(self) -> TrialRecord | None:
        """The best COMPLETE trial by the first objective, of equals by the next; the earlier one of equals in all."""
        done = [trial for trial in self.current if trial.state == "COMPLETE" and trial.value is not None]
        objectives = self.objectives or (Objective(name=self.metric, mode=self.mode),)

        def key(trial: TrialRecord) -> tuple[list[float], int]:
            values = trial.values or (trial.value or 0.0,)
            return [each.sign * value for each, value in zip(objectives, values, strict=True)], trial.number

        return min(done, key=key, default=None)


def _rows(path: Path) -> Iterator[Row]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)

"""A study as it is stored, and the record that it makes. Knows what our searches write, but not where it is kept.

The same study can lie in a database, in W&B and in files of offline runs: all are read into these nouns first, so that
the record is the same to the digit.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from analysis.lineage import LENGTHENED_AT, Origin, lineage
from analysis.records import ParameterRange, SearchRecord, TrialRecord, TrialState
from spaces.folds import fold_values
from spaces.objectives import Mode, Objective
from spaces.reports import Row
from spaces.store import is_store
from spaces.usage import TrialUsage

NUM_TRIALS = "num_trials"
"""User attribute of a study: how many trials the search is to have. Every search of ours has it."""
_UNNAMED = "value"
"""What the objective is called of which nothing but its value is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTrial:
    """One trial of a study."""

    number: int
    """Its number in the study."""
    state: TrialState
    """How it is, or how it ended."""
    values: tuple[float, ...] = ()
    """Its objectives, of one that is COMPLETE."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What the database has as its parameters; `assignment` of the attributes is more precise where there is one."""
    intermediate: Mapping[int, float] = field(default_factory=dict)
    """The first objective by step, in order."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Its user attributes."""
    started: datetime | None = None
    """When it began."""
    ended: datetime | None = None
    """When it ended."""

    def to_text(self) -> str:
        """As JSON, for a search of ours: without what only foreign studies need."""
        return json.dumps(
            {
                "number": self.number,
                "state": self.state,
                "values": list(self.values),
                "intermediate": [list(pair) for pair in self.intermediate.items()],
                "attributes": dict(self.attributes),
            }
        )

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "StoredTrial":
        """The reverse, of what the text says."""
        return StoredTrial(
            number=content["number"],
            state=content["state"],
            values=tuple(content["values"]),
            intermediate={int(step): value for step, value in content["intermediate"]},
            attributes=content["attributes"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredStudy:
    """A study."""

    name: str
    """Its name."""
    modes: tuple[Mode, ...]
    """Which way each objective is better."""
    metrics: tuple[str, ...] = ()
    """What they are called; empty where nobody named them."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Its user attributes."""
    space: Mapping[str, ParameterRange] = field(default_factory=dict)
    """What its parameters could be."""
    trials: Sequence[StoredTrial] = ()
    """Its trials, by number."""

    @property
    def is_ours(self) -> bool:
        """Whether a search of ours has written it."""
        return NUM_TRIALS in self.attributes

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives."""
        count = len(self.modes)
        names = self.metrics or ((_UNNAMED,) if count == 1 else tuple(f"{_UNNAMED}_{n}" for n in range(count)))
        return tuple(Objective(name=name, mode=mode) for name, mode in zip(names, self.modes, strict=True))

    def to_text(self) -> str:
        """As JSON, without its trials."""
        return json.dumps(
            {
                "name": self.name,
                "modes": list(self.modes),
                "metrics": list(self.metrics),
                "space": {path: asdict(each) for path, each in self.space.items()},
                "attributes": dict(self.attributes),
            }
        )

    @staticmethod
    def from_text(text: str, *, trials: Sequence[StoredTrial]) -> "StoredStudy":
        """The reverse."""
        content = json.loads(text)
        return StoredStudy(
            name=content["name"],
            modes=tuple(content["modes"]),
            metrics=tuple(content["metrics"]),
            space={path: ParameterRange(**each) for path, each in content["space"].items()},
            attributes=content["attributes"],
            trials=trials,
        )


def record_of(
    study: StoredStudy,
    *,
    directory: Path | None = None,
    spec_of: Callable[[], Mapping[str, Any] | None] = lambda: None,
    document_of: Callable[[int], Mapping[str, Any] | None] = lambda number: None,
    history_of: Callable[[int], Sequence[Row]] = lambda number: (),
) -> SearchRecord:
    """The record of a search of ours."""
    attributes = study.attributes
    gpus = float(attributes.get("gpus_per_trial", 0.0))
    first, *others = study.objectives
    return SearchRecord(
        name=study.name,
        directory=directory,
        metric=first.name,
        mode=first.mode,
        objectives=(first, *others) if others else (),
        trials=_related([_trial_record(trial, metric=first.name, gpus=gpus) for trial in study.trials], attributes),
        num_planned=attributes.get(NUM_TRIALS),
        currency=attributes.get("currency", "USD"),
        baseline=attributes.get("baseline", {}),
        baseline_name=attributes.get("baseline_name", ""),
        **attributes.get("folds", {}),
        yardstick=attributes.get("yardstick", {}),
        seconds=attributes.get("seconds", 0.0),
        ended_by=attributes.get("ended_by"),
        notes=tuple(attributes.get("notes", ())),
        space=study.space,
        default=attributes.get("defaults", {}),
        unit=unit if (unit := attributes.get("step_unit")) in ("steps", "tokens") else "epochs",
        spec_of=spec_of,
        document_of=document_of,
        history_of=history_of,
    )


def _related(trials: list[TrialRecord], attributes: Mapping[str, Any]) -> list[TrialRecord]:
    """The trials with what follows from their origins."""
    found = lineage(
        {trial.number: trial.origin for trial in trials if trial.origin is not None},
        completed=[trial.number for trial in trials if trial.state == "COMPLETE"],
        lengthened_at=attributes.get(LENGTHENED_AT),
    )
    related = [
        replace(trial, superseded_by=found.superseded[trial.number]) if trial.number in found.superseded else trial
        for trial in trials
    ]
    # Where others train for longer, a trial that ended where all once ended has stopped early.
    return [
        replace(trial, state="PRUNED", value=None) if trial.number in found.shortened else trial for trial in related
    ]


def _trial_record(trial: StoredTrial, *, metric: str, gpus: float) -> TrialRecord:
    result = trial.attributes.get("result", {})
    checkpoint = result.get("checkpoint")
    seconds = result.get("seconds")
    metrics = result.get("metrics", {})
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        value=trial.values[0] if trial.values else None,
        values=trial.values if len(trial.values) > 1 else (),
        params=dict(trial.attributes.get("assignment", trial.params)),
        intermediate=trial.intermediate,
        steps=result.get("steps"),
        epochs=result.get("epochs"),
        tokens=result.get("tokens"),
        seconds=seconds,
        gpu_hours=None if seconds is None else seconds * gpus / 3600,
        usage=TrialUsage(**result.get("usage", {})),
        cost=result.get("cost"),
        metrics=metrics,
        fold_values=tuple(fold_values(metrics, metric)[: result.get("folds_ended", 0)]),
        clock=result.get("clock", {}),
        checkpoint=checkpoint if checkpoint and (is_store(checkpoint) or Path(checkpoint).is_dir()) else None,
        error=result.get("error"),
        failure=result.get("failure"),
        stopped_by=result.get("stopped_by"),
        origin=Origin.from_attributes(trial.attributes),
        stopped_because=result.get("stopped_because"),
        lineage=tuple(trial.attributes.get("lineage", ())),
    )


def record_of_foreign_study(study: StoredStudy) -> SearchRecord:
    """The record of a study that others have made: what Optuna itself keeps of it. Numbers among a trial's user
    attributes are its metrics, and the time between its start and its end is its length."""
    first, *others = study.objectives
    return SearchRecord(
        name=study.name,
        directory=None,
        metric=first.name,
        mode=first.mode,
        objectives=(first, *others) if others else (),
        trials=[_foreign_trial(trial, first.name) for trial in study.trials],
        num_planned=None,
        space=study.space,
        unit="steps",
    )


def _foreign_trial(trial: StoredTrial, metric: str) -> TrialRecord:
    known = trial.started is not None and trial.ended is not None
    value = trial.values[0] if trial.state == "COMPLETE" and trial.values else None
    numbers = {
        name: float(each)
        for name, each in trial.attributes.items()
        if isinstance(each, int | float) and not isinstance(each, bool)
    }
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        value=value,
        values=trial.values if value is not None and len(trial.values) > 1 else (),
        params=dict(trial.params),
        intermediate=trial.intermediate,
        steps=max(trial.intermediate, default=None),
        seconds=(trial.ended - trial.started).total_seconds() if known else None,  # type: ignore[operator]  # both are known
        metrics=numbers | ({} if value is None else {metric: value}),
    )

"""The story of a nested cross-validation: one search for each outer fold, then its winner on what it never saw.

The searches and the last trainings are searches like any other, each in a folder of its own: all of it can be
interrupted, and goes on where it was.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console

from analysis.kept import NESTED, kept_in, place_of, store_late
from analysis.records import SearchFiles, TrialRecord, replace_text
from analysis.statistics import corrected_interval
from search.load import validate
from search.mirroring import begin_store
from search.plan import Plan
from search.recorded_spec import resolved_spec
from search.run import shortest
from search.spec import SearchSpec
from search.stages import plan_of, run_stage
from search.storage import moved
from search.yaml_text import parse_yaml, to_yaml
from spaces.documents import set_path
from spaces.errors import SpecError
from spaces.shelf import note_shelf
from spaces.store import Store, is_store
from trainables.fold_sections import FoldConfig

SPEC_FILE, RESULT_FILE = NESTED, "nested.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class OuterFold:
    """What one search found, and what that was worth."""

    index: int
    """Which outer fold."""
    best: int
    """The winner's number in its search."""
    params: dict[str, Any]
    """What it was given."""
    inner_value: float
    """The objective by which it won."""
    outer_value: float
    """The objective on the outer fold, after it was trained on all the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NestedOutcome:
    """What is known of the procedure."""

    directory: Path
    """The folder of all of it."""
    metric: str
    """The objective."""
    folds: list[OuterFold]
    """Those that are done."""
    num_folds: int
    """Those that there will be."""
    was_interrupted: bool
    """Whether the user stopped it before its end."""

    @property
    def value(self) -> float | None:
        """The mean over the outer folds, once all are done."""
        return mean(fold.outer_value for fold in self.folds) if len(self.folds) == self.num_folds else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where it lies, with 95% confidence."""
        if self.value is None:
            return None
        return corrected_interval([fold.outer_value for fold in self.folds], test_share=1 / (self.num_folds - 1))

    def to_json(self) -> dict[str, Any]:
        """The documented form of `run --json`, and of nested.json."""
        return {
            "directory": str(self.directory),
            "interrupted": self.was_interrupted,
            "metric": self.metric,
            "outer_folds": self.num_folds,
            "value": self.value,
            "interval": list(self.interval) if self.interval else None,
            "folds": [asdict(fold) for fold in self.folds],
        }


def is_nested(spec: SearchSpec) -> bool:
    """Whether the spec asks for several searches."""
    return spec.search.cross_validation is not None and spec.search.cross_validation.outer_folds is not None


def start_nested(plan: Plan, *, address: str | None = None, console: Console) -> NestedOutcome:
    """Run a new nested cross-validation.

    Raises:
        SpecError: its folder exists already, or its data cannot be read.
        ClusterError: Ray cannot be reached.
    """
    directory, url = plan.files.path, f"{plan.spec.storage.path}/{plan.spec.name}"
    if is_store(url):
        begin_store(plan.files, url)
        note_shelf(directory, Store.at(url))
    elif directory.exists() and any(directory.iterdir()):
        raise SpecError(
            f"`{directory}` exists already. Go on with it by `tunesmith resume {shortest(directory)}`, or give it "
            "another name (`--set name=...`).",
            path="name",
        )
    directory.mkdir(parents=True, exist_ok=True)
    replace_text(directory / SPEC_FILE, to_yaml(resolved_spec(plan.spec)))
    store_late(directory / SPEC_FILE)
    return _conduct(plan.spec, directory, address=address, console=console)


def resume_nested(directory: Path, *, address: str | None = None, console: Console) -> NestedOutcome:
    """Go on with an interrupted one: what is done stays."""
    directory = directory.expanduser().resolve()
    content, _ = parse_yaml((directory / SPEC_FILE).read_text("utf-8"))
    spec = validate(content | {"storage": moved(content.get("storage"), kept_in(SearchFiles(directory)))})
    return _conduct(spec, directory, address=address, console=console)


def _conduct(spec: SearchSpec, directory: Path, *, address: str | None, console: Console) -> NestedOutcome:
    done: list[OuterFold] = []
    assert spec.search.cross_validation is not None, "this is a nested cross-validation"
    num_folds = spec.search.cross_validation.outer_folds or 0
    was_interrupted = False
    for index, inner in enumerate(inner_specs(spec, place_of(SearchFiles(directory)), num_folds)):
        console.print(f"outer fold {index + 1} of {num_folds}: searching", style="bold", highlight=False)
        found = run_stage(inner, address=address, console=console)
        if (was_interrupted := found.was_interrupted) or (best := found.record.best) is None:
            break
        console.print(f"outer fold {index + 1} of {num_folds}: training the winner", style="bold", highlight=False)
        last = run_stage(final_spec(inner, best), address=address, console=console)
        measured = last.record.best
        if (was_interrupted := last.was_interrupted) or measured is None:
            break
        done.append(_outer_fold(index, best, measured))
    outcome = NestedOutcome(
        directory=directory, metric=spec.metric, folds=done, num_folds=num_folds, was_interrupted=was_interrupted
    )
    replace_text(directory / RESULT_FILE, json.dumps(outcome.to_json(), indent=2))
    store_late(directory / RESULT_FILE)
    return outcome


def _outer_fold(index: int, best: TrialRecord, measured: TrialRecord) -> OuterFold:
    assert best.value is not None, "the best trial has finished"
    assert measured.value is not None, "the best trial has finished"
    return OuterFold(
        index=index, best=best.number, params=best.params, inner_value=best.value, outer_value=measured.value
    )


def inner_specs(spec: SearchSpec, place: str, num_folds: int) -> Iterator[SearchSpec]:
    """The search of each outer fold, whose documents are its test split. `place` is a folder or a URL."""
    for index in range(num_folds):
        raw = _raw(spec, name=f"{spec.name}-outer-{index}", storage=place)
        set_path(raw, "search.cross_validation.outer_folds", None)
        set_path(raw, "data.splits.test_fold", FoldConfig(index=index, of=num_folds).model_dump())
        yield validate(raw)


def final_spec(inner: SearchSpec, best: TrialRecord) -> SearchSpec:
    """One training of the winner on all that its search could see, measured on what it could not."""
    plan = plan_of(inner)
    document = plan.space.apply(best.params)
    raw = _raw(inner, name=f"{inner.name}-winner", storage=inner.storage.path)
    raw |= {section: document[section] for section in document if section != "folds"}
    for section in ("space", "constraints", "derive"):
        raw.pop(section, None)
    # The winner is trained to its end: nothing is compared any more, and nothing may be chosen by this value.
    raw["search"] = {"metric": inner.metric, "seeds": inner.search.seeds}
    assert inner.data is not None, "only a task is nested"
    assert inner.data.splits.test_fold is not None, "the outer fold is the test split"
    outer = inner.data.splits.test_fold.model_dump()
    set_path(raw, "data.splits.fold", outer)
    set_path(raw, "data.splits.test_fold", None)
    set_path(raw, "data.splits.test", 0.0)
    return validate(raw)


def _raw(spec: SearchSpec, *, name: str, storage: str) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(json.dumps(resolved_spec(spec)))
    return raw | {"name": name, "storage": moved(raw.get("storage"), storage)}

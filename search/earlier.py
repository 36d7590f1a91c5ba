"""A search that a new one learns from, wherever it is kept: its record, what it asked for, what its trials ran with.

What a folder of ours has in files, W&B has in the runs of ours. Of runs, studies and tables of others only parameters
and values are known, and the names of their parameters may be the ends of ours.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.kept import brought_here, place_of
from analysis.records import SearchFiles, SearchRecord, TrialRecord
from analysis.sources import is_folder, read_records
from search.load import LoadedSpec, load_spec, validate
from search.plan import Plan, make_plan
from search.yaml_text import parse_yaml
from spaces.documents import get_path, has_path
from spaces.errors import SpecError
from spaces.objectives import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlierSearch:
    """Another search."""

    source: str
    """Where it is kept: an absolute folder, its URL, or the name of another source."""
    record: SearchRecord
    """What was recorded of it."""
    plan: Plan | None
    """What it asked for; None where that is not known, or cannot be planned here."""

    def document(self, trial: TrialRecord) -> Mapping[str, Any] | None:
        """As the trial ran: what is written of it, else what its search makes of it; None where neither is known."""
        if self.plan is None:
            return None
        if self.record.directory is None:
            return self.record.document_of(trial.number)
        with contextlib.suppress(FileNotFoundError):
            document: Mapping[str, Any] = self._trial_file(trial.number)["document"]
            return document
        return self.plan.space.apply(trial.params)

    def trial_file(self, trial: TrialRecord) -> Mapping[str, Any] | None:
        """What its trial.yaml has, or would have; None where there is none."""
        if self.record.directory is not None:
            with contextlib.suppress(FileNotFoundError):
                return self._trial_file(trial.number)
            return None
        document = self.document(trial)
        if self.plan is None or document is None:
            return None
        resources = self.plan.spec.resources
        facts = {"metric": self.record.metric, "mode": self.record.mode}
        return {**facts, "cpus": resources.cpus_per_worker, "workers": resources.workers, "document": document}

    def values(self, trial: TrialRecord, paths: Sequence[str]) -> dict[str, Any]:
        """Those of `paths` that the search varied -> what the trial had there."""
        document = self.document(trial)
        if document is not None:
            return {
                path: get_path(document, path) for path in paths if path in trial.params and has_path(document, path)
            }
        named = {path: _name_of(path, list(trial.params)) for path in paths}
        return {path: trial.params[name] for path, name in named.items() if name is not None}

    def _trial_file(self, number: int) -> dict[str, Any]:
        assert self.record.directory is not None
        content: dict[str, Any] = parse_yaml(
            SearchFiles(self.record.directory).trial(number).document.read_text("utf-8")
        )[0]
        return content


def open_earlier(source: str, *, metric: str, mode: Mode) -> EarlierSearch:
    """The search at `source`, read by `metric` where it does not say itself what was optimised.

    Raises:
        SpecError: it cannot be read.
    """
    if is_folder(source):
        directory = brought_here(source).expanduser().resolve()
        return EarlierSearch(
            source=place_of(SearchFiles(directory)), record=read_records(directory), plan=_plan_of(directory)
        )
    record = read_records(source, metric=metric, mode=mode)
    spec = record.spec_of()
    return EarlierSearch(source=source, record=record, plan=_planned(spec, source) if spec is not None else None)


def _plan_of(directory: Path) -> Plan:
    spec = SearchFiles(directory).spec
    if not spec.is_file():
        raise SpecError(f"`{directory}` is no search: it has no {spec.name}.")
    return make_plan(load_spec(spec))


def _planned(spec: Mapping[str, Any], source: str) -> Plan | None:
    """None for what is not here: a function, a file. Then there is nothing that a document could be compared with."""
    with contextlib.suppress(SpecError):
        return make_plan(LoadedSpec(spec=validate(spec), raw=dict(spec), lines={}, source=source))
    return None


def _name_of(path: str, names: Sequence[str]) -> str | None:
    """The name that stands for `path`: itself, the only one that is the end of it, or that ends alike."""
    if path in names:
        return path
    ends = [name for name in names if path.endswith(f".{name}")]
    alike = [name for name in names if name.rpartition(".")[2] == path.rpartition(".")[2]]
    return next((found[0] for found in (ends, alike) if len(found) == 1), None)

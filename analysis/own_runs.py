"""The runs that a search of ours leaves in W&B <-> the search: what their summaries say so that it can be read back.

The text of a summary is the trial as the study has it, in JSON: whatever W&B does to names and numbers, the record is
the one of the folder, to the digit. Knows no W&B: runs come from a server as well as from files.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.lazy_curve import LazyCurve
from analysis.records import SearchRecord
from analysis.runs import Run
from analysis.stored import StoredStudy, StoredTrial, record_of
from spaces.redaction import redact
from spaces.reports import Progress, Row, recorded_step

RECORD = "tunesmith/record"
"""Key of a trial's summary: the trial as the study has it."""
STUDY = "tunesmith/study"
"""Key of the search's summary: the study, without the trials."""
INHERITED = "tunesmith/inherited/"
"""Keys of the search's summary that begin so: trials of other searches, which have no run in this one."""
ADDED = "tunesmith"
"""Key of a config with what is no part of the document."""
_PER_TEXT = 100  # W&B wants values of less than a megabyte
_RUN_ID = re.compile(r"(?P<search>.+)-(?:search|\d{4,})(?:-off)?")
_AXES = "progress/"


def trial_summary(trial: StoredTrial) -> dict[str, str]:
    """What the summary of a trial's run says of it."""
    return {RECORD: _without_secrets(trial).to_text()}


def search_summary(study: StoredStudy) -> dict[str, str]:
    """What the summary of the search's own run says of it, and of the trials that it never ran."""
    texts = [_without_secrets(trial).to_text() for trial in study.trials if _is_inherited(trial)]
    parts = [texts[start : start + _PER_TEXT] for start in range(0, len(texts), _PER_TEXT)]
    inherited = {f"{INHERITED}{index}": f"[{', '.join(part)}]" for index, part in enumerate(parts)}
    return {STUDY: replace(study, attributes=redact(study.attributes)).to_text(), **inherited}


def is_own(run: Run) -> bool:
    """Whether the run is a trial of ours, or the search itself."""
    return (RECORD in run.summary or STUDY in run.summary) and _RUN_ID.fullmatch(run.id) is not None


def search_of(run: Run) -> str:
    """What the ids of all runs of its search begin with."""
    found = _RUN_ID.fullmatch(run.id)
    assert found is not None, "it is a run of ours"
    return found["search"]


def record_of_own_runs(runs: Sequence[Run]) -> SearchRecord | None:
    """The record of one search of ours; None without the search's own run, which alone knows what was asked."""
    search = next((run for run in runs if STUDY in run.summary), None)
    if search is None:
        return None
    study = StoredStudy.from_text(search.summary[STUDY], trials=())
    of_trials = {trial.number: (trial, run) for run in runs if (trial := _trial_of(run)) is not None}
    unit = str(study.attributes.get("step_unit", "epochs"))
    metric = study.objectives[0].name
    trials = [_with_curve(trial, run, metric=metric, unit=unit) for trial, run in of_trials.values()]
    trials = sorted([*trials, *_inherited(search)], key=lambda trial: trial.number)

    def history_of(number: int) -> list[Row]:
        return list(_rows(of_trials[number][1])) if number in of_trials else []

    def document_of(number: int) -> Mapping[str, Any] | None:
        return _document(of_trials[number][1]) if number in of_trials else None

    return record_of(
        replace(study, trials=trials),
        spec_of=lambda: _document(search),
        document_of=document_of,
        history_of=history_of,
    )


def _is_inherited(trial: StoredTrial) -> bool:
    return trial.attributes.get("origin", {}).get("kind") == "inherited"


def _inherited(search: Run) -> Iterator[StoredTrial]:
    for key, text in search.summary.items():
        if key.startswith(INHERITED):
            yield from (StoredTrial.from_json(content) for content in json.loads(text))


def _trial_of(run: Run) -> StoredTrial | None:
    return StoredTrial.from_json(json.loads(run.summary[RECORD])) if RECORD in run.summary else None


def _with_curve(trial: StoredTrial, run: Run, *, metric: str, unit: str) -> StoredTrial:
    """The trial; of one that still runs with what it has reported since its run was opened."""
    if trial.state != "RUNNING":
        return trial
    return replace(trial, intermediate=LazyCurve(lambda: {**_curve(_rows(run), metric, unit), **trial.intermediate}))


def _curve(rows: Iterable[Row], metric: str, unit: str) -> dict[int, float]:
    curve: dict[int, float] = {}
    for row in rows:
        value = row.get(metric)
        if "evaluation" in row and isinstance(value, int | float) and math.isfinite(value):
            progress = Progress(
                step=int(row.get("step") or 0),
                epoch=float(row.get("epoch") or 0.0),
                tokens=int(row.get("tokens") or 0),
                evaluation=int(row["evaluation"] or 0),
            )
            curve.setdefault(recorded_step(progress, unit), float(value))
    return curve


def _rows(run: Run) -> Iterator[Row]:
    """Rows as history.jsonl has them; what had no value is not in them."""
    for row in run.rows():
        own = {name.removeprefix(_AXES): value for name, value in row.items() if not name.startswith("_")}
        if "step" in own:  # else it is a table of samples
            yield own


def _document(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.config.items() if key not in (ADDED, "_wandb")}


def _without_secrets(trial: StoredTrial) -> StoredTrial:
    attributes = dict(trial.attributes)
    if "assignment" in attributes:
        attributes["assignment"] = redact(attributes["assignment"])
    return replace(trial, attributes=attributes)

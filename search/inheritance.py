"""What a new search learns from earlier ones: their trials as evidence where only the space differs, else their points.

A trial of another search is evidence when some configuration of the new space makes the very same trial document, and
both searches judge by the same metric. It is looked up once, when the search starts; the study keeps it.
"""

import contextlib
import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from analysis.lineage import ORIGIN, Origin
from analysis.records import SearchFiles, TrialRecord, replace_text
from search.drafts import given_draft, key_of
from search.earlier import EarlierSearch, open_earlier
from search.ledger import ASSIGNMENT, RESULT, WARM_POINTS
from search.plan import Plan
from search.warm_start import WarmStartConfig
from search.yaml_text import to_yaml
from spaces.errors import SpecError
from spaces.space import Assignment, Space


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """A trial of another search that counts as one of this search."""

    assignment: Assignment
    """What it is in the new space."""
    trial: TrialRecord
    """What was recorded of it."""
    keeps_curve: bool
    """Whether its evaluations are counted in the unit of the new search."""
    search: EarlierSearch
    """The other search."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inheritance:
    """All that a new search starts with."""

    evidence: Sequence[Evidence] = ()
    """The earlier trials, each configuration once."""
    points: Sequence[Assignment] = ()
    """What is tried first, best first; may leave parameters out."""
    words: Sequence[str] = ()
    """One line for each other search, for a person."""


def find_inheritance(plan: Plan) -> Inheritance:
    """What `search.warm_start` brings.

    Raises:
        SpecError: at `search.warm_start.N`, a search cannot be read, or nothing of it fits the space.
    """
    evidence: dict[str, Evidence] = {}
    points: dict[str, Assignment] = {}
    words = []
    for index, wanted in enumerate(plan.spec.search.warm_start):
        try:
            found, tried, said = _from_search(plan, wanted)
        except SpecError as error:
            raise SpecError(error.message, path=f"search.warm_start.{index}") from None
        evidence |= {key_of(each.assignment): each for each in found if key_of(each.assignment) not in evidence}
        points |= {key_of(point): point for point in tried}
        words.append(said)
    rest = max(0, plan.num_trials - len(plan.spec.search.start_from))
    new = [point for key, point in points.items() if key not in evidence]
    return Inheritance(evidence=list(evidence.values()), points=new[:rest], words=words)


def write_inheritance(inheritance: Inheritance, study: optuna.Study, space: Space, files: SearchFiles) -> None:
    """Put it into a new search. The last thing that is written are the points: with them it is whole."""
    for number, each in enumerate(inheritance.evidence):
        draft = given_draft(space, each.assignment)
        trial = each.trial
        _write_document(files, number, each, draft.assignment)
        origin = Origin(kind="inherited", trial=trial.number, search=each.search.source)
        study.add_trial(
            create_trial(
                state=TrialState[trial.state],
                value=trial.value,
                params=draft.params,
                distributions=draft.distributions,
                intermediate_values=dict(trial.intermediate) if each.keeps_curve else {},
                user_attrs={ASSIGNMENT: draft.assignment, RESULT: _result(trial), ORIGIN: origin.to_json()},
            )
        )
    study.set_user_attr(WARM_POINTS, list(inheritance.points))


def is_whole(study: optuna.Study) -> bool:
    """Whether all that a new search starts with was written."""
    return WARM_POINTS in study.user_attrs


def _write_document(files: SearchFiles, number: int, each: Evidence, assignment: Assignment) -> None:
    """trial.yaml and the history, as its own search has them: the trial can be run again from here, too."""
    own = files.trial(number)
    own.path.mkdir(parents=True, exist_ok=True)
    if (content := each.search.trial_file(each.trial)) is not None:
        header = {**content, "number": number, "params": assignment, "search": files.path.name}
        replace_text(own.document, to_yaml({**header, "document": content["document"]}))
    own.rewrite_history(each.search.record.history_of(each.trial.number))


def _from_search(plan: Plan, wanted: WarmStartConfig) -> tuple[list[Evidence], list[Assignment], str]:
    earlier = open_earlier(wanted.search, metric=plan.spec.metric, mode=plan.spec.mode)
    record, before = earlier.record, earlier.plan
    if record.metric != plan.spec.metric or record.mode != plan.spec.mode:
        raise SpecError(
            f"`{wanted.search}` optimises {record.metric} ({record.mode}), but this search optimises "
            f"{plan.spec.metric} ({plan.spec.mode}): what was best there says nothing of what is best here."
        )
    ended = [trial for trial in record.current if trial.state != "RUNNING"]
    evidence = []
    if wanted.evidence and before is not None:
        same_unit = before.step_unit == plan.step_unit
        for trial in ended:
            document = earlier.document(trial)
            assignment = None if document is None else plan.space.assignment_of(document)
            if assignment is not None and (same_unit or trial.state != "PRUNED"):
                evidence.append(Evidence(assignment=assignment, trial=trial, keeps_curve=same_unit, search=earlier))
    points = _points(plan, earlier, wanted, known={each.trial.number for each in evidence})
    if not evidence and not points:
        raise SpecError(
            f"nothing of `{wanted.search}` fits: it has {len(ended)} trials that ended, and no value of theirs is in "
            "this space."
        )
    return evidence, points, _in_words(wanted, earlier, evidence, points, len(ended))


def _points(plan: Plan, earlier: EarlierSearch, wanted: WarmStartConfig, *, known: Collection[int]) -> list[Assignment]:
    """The best configurations as far as they fit, best first; of those that are evidence (`known`) nothing is left to
    try."""
    sign = 1.0 if earlier.record.mode == "min" else -1.0
    finished = [
        trial
        for trial in earlier.record.current
        if trial.state == "COMPLETE" and trial.value is not None and trial.number not in known
    ]
    finished.sort(key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    found: dict[str, Assignment] = {}
    for trial in finished:
        # What the earlier search did not vary says nothing of what is good.
        varied = earlier.values(trial, plan.space.paths)
        point = {path: copy.deepcopy(value) for path, value in varied.items() if plan.space.holds(path, value)}
        if point and len(found) < wanted.points:
            with contextlib.suppress(SpecError):
                completed = plan.space.complete(point, Random(0), only_active=True)
                point = {path: completed[path] for path in point if path in completed}
                found.setdefault(key_of(point), point)
    return list(found.values())


def _result(trial: TrialRecord) -> dict[str, Any]:
    """What is known of it, without its checkpoint, which its own search may remove."""
    facts = {
        "steps": trial.steps, "epochs": trial.epochs, "tokens": trial.tokens, "seconds": trial.seconds,
        "metrics": trial.metrics, "error": trial.error, "checkpoint": None,
    }  # fmt: skip
    return facts | ({"failure": trial.failure} if trial.failure else {})


def _in_words(
    wanted: WarmStartConfig,
    earlier: EarlierSearch,
    evidence: Sequence[Evidence],
    points: Sequence[Assignment],
    num_ended: int,
) -> str:
    if evidence:
        return f"{wanted.search}: {len(evidence)} of {num_ended} trials count here, the rest of the document is equal"
    reason = "another document or unit" if wanted.evidence else "as was asked"
    if wanted.evidence and earlier.plan is None:
        reason = "what else its trials were run with is not known here"
    return f"{wanted.search}: {len(points)} points to try first, no evidence ({reason})"

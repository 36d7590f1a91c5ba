"""The study database of one search: ask for a trial, record its reports, tell how it ended. The truth of a search.

One Optuna study in `study.db`. Early-stopped trials are PRUNED with all their values, failures are FAIL with their
reason. Knows no ray, no folders of trials and no W&B.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.lineage import LENGTHENED_AT, Lineage, Origin, lineage
from analysis.records import SearchFiles
from analysis.stored import StoredTrial
from analysis.study_place import study_place
from search.algorithms import AlgorithmConfig
from search.drafts import Draft
from search.lease import Lease
from search.lessons import EndState, Lessons
from search.proposers import Proposer
from search.samplers import make_proposer
from search.spec import SearchSpec
from search.study_storage import Patience, new_file, open_storage
from spaces.errors import SpecError
from spaces.reports import Progress, TrialReport
from spaces.space import Assignment, Space

STUDY_FILE = "study.db"
ASSIGNMENT, RESULT = "assignment", "result"
"""User attributes of a trial: what it was given, and what it cost and left behind."""
WARM_POINTS = "warm_points"
"""User attribute of a study: points of other searches that come after those of the spec."""
LINEAGE = "lineage"
"""User attribute of a trial that went on from others' checkpoints: one mapping each time, see `Recorder.hand_over`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A trial of the study that waits to run."""

    number: int
    """Its number in the study."""
    assignment: Assignment
    """What it was given."""


@dataclass(kw_only=True, slots=True)
class _OpenTrial:
    """A trial that has not ended, as the study has it. Nobody else writes to it, so it is never read again."""

    trial_id: int
    """What the database calls it."""
    attributes: dict[str, Any]
    """Its user attributes."""
    reported: dict[int, float] = field(default_factory=dict)
    """The objective by step."""

    @staticmethod
    def from_study(trial: FrozenTrial) -> "_OpenTrial":
        """What was written in this session or an earlier one."""
        attributes, reported = dict(trial.user_attrs), dict(trial.intermediate_values)
        return _OpenTrial(trial_id=trial._trial_id, attributes=attributes, reported=reported)

    def stored(self, number: int, state: TrialState, values: Sequence[float] = ()) -> StoredTrial:
        """The trial as readers of the study find it, but for its times and ranges."""
        return StoredTrial(
            number=number,
            state=state.name,
            values=tuple(values),
            intermediate=dict(sorted(self.reported.items())),
            attributes=dict(self.attributes),
        )


class Ledger:
    """Ask, report, tell. Only one process writes a search at a time.

    Samplers read the whole history at each suggestion and leave notes of their own, so they work on lessons in memory;
    the database sees each trial appear once, with all its parameters.
    """

    def __init__(
        self, study: optuna.Study, *, proposer: Proposer, metric: str, step_of: Callable[[Progress], int]
    ) -> None:
        history = study.get_trials(deepcopy=False)
        related = lineage_of(study)
        self._study = study
        self._storage = study._storage
        self._lessons = Lessons(
            proposer,
            directions=["minimize" if each.name == "MINIMIZE" else "maximize" for each in study.directions],
            history=history,
            notes=_notes(study),
            superseded=related.superseded,
            shortened=related.shortened,
            num_suggested=len(history) - len(related.adopted),
        )
        self._metric = metric
        self._step_of = step_of
        self._open: dict[int, _OpenTrial] = {}
        self._is_exhausted = False
        self.num_trials = len(history)
        """Trials the study holds, in any state."""
        self.num_suggested = len(history) - len(related.adopted)
        """Those of them that the algorithm suggested."""

    def ask(self) -> Proposal | None:
        """A new trial, in the study as RUNNING; None when the space has no configuration left."""
        if self._is_exhausted:
            return None
        draft = self._draft()
        if draft is None:
            self._is_exhausted = True
            return None
        trial = create_trial(
            state=TrialState.RUNNING,
            params=draft.params,
            distributions=draft.distributions,
            user_attrs={ASSIGNMENT: draft.assignment},
            system_attrs=self._lessons.marks(self.num_trials),
        )
        # In one transaction: a kill leaves the whole trial or none of it. As `Study.add_trial`, which keeps the id.
        trial_id = self._storage.create_new_trial(self._study._study_id, template_trial=trial)
        self._open[self.num_trials] = _OpenTrial(trial_id=trial_id, attributes={ASSIGNMENT: draft.assignment})
        number, self.num_trials = self.num_trials, self.num_trials + 1
        self.num_suggested += 1
        return Proposal(number=number, assignment=draft.assignment)

    def _draft(self) -> Draft | None:
        before = self._lessons.notes
        draft = self._lessons.draft()
        # A quasi-random sequence notes its position: a resumed search goes on from there.
        for name, note in self._lessons.notes.items():
            if before.get(name) != note:
                self._storage.set_study_system_attr(self._study._study_id, name, note)
        return draft

    def unfinished(self) -> list[Proposal]:
        """Trials that an interrupted session left running, in order."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [Proposal(number=trial.number, assignment=trial.user_attrs[ASSIGNMENT]) for trial in running]

    def proposal(self, number: int) -> Proposal:
        """What a trial that has not ended was given last."""
        return Proposal(number=number, assignment=self._trial(number).attributes[ASSIGNMENT])

    def recorded(self, number: int) -> StoredTrial:
        """A trial that has not ended, as the study has it."""
        return self._trial(number).stored(number, TrialState.RUNNING)

    def reassign(self, number: int, assignment: Assignment, *, lineage: Sequence[Mapping[str, Any]]) -> None:
        """What a trial goes on with, and where that and its weights came from."""
        self._note(number, LINEAGE, [dict(each) for each in lineage])
        self._note(number, ASSIGNMENT, assignment)

    def lineage(self, number: int) -> list[dict[str, Any]]:
        """Where the weights of a trial that has not ended came from, besides its own training."""
        return list(self._trial(number).attributes.get(LINEAGE, []))

    def report(self, number: int, report: TrialReport) -> None:
        """Record the objective at an evaluation. One that is recorded already is left as it is."""
        value = report.metrics.get(self._metric)
        step = self._step_of(report.progress)
        if value is not None and math.isfinite(value):
            self.record_value(number, step=step, value=value)

    def record_value(self, number: int, *, step: int, value: float) -> None:
        """Record an intermediate value at `step`, unless there is one."""
        trial = self._trial(number)
        if step not in trial.reported:
            # Not by `Trial.report`, which a study of several objectives refuses.
            self._storage.set_trial_intermediate_value(trial.trial_id, step, value)
            trial.reported[step] = value

    def pause(self, number: int) -> None:
        """Trial `number` waits: the sampler learns from what it has reported so far."""
        if reported := self._trial(number).reported:
            self._lessons.pause(number, last=max(reported.items()))

    def finish(
        self, number: int, *, state: EndState, values: Sequence[float] | None, result: Mapping[str, Any]
    ) -> StoredTrial:
        """Tell how trial `number` ended. `values` are its objectives, for COMPLETE only. Gives the trial as the study
        has it from now on."""
        trial = self._trial(number)
        told = [float(value) for value in values] if state == "COMPLETE" and values is not None else None
        last = max(trial.reported.items(), default=None)
        if state == "COMPLETE" and (told is None or any(math.isnan(value) for value in told)):
            raise ValueError(f"trial {number} is complete with the objectives {told}")
        self._note(number, RESULT, dict(result))
        # As `Study.tell`, which reads the trial again before and after; there, too, the last value of one that was
        # stopped becomes its result, which it cannot where there are several objectives.
        is_shortened = state == "PRUNED" and last is not None and len(self._study.directions) == 1
        shown = [last[1]] if is_shortened and last is not None else told
        self._storage.set_trial_state_values(trial.trial_id, TrialState[state], shown)
        self._lessons.finish(number, state=state, values=told, last=last)
        return self._open.pop(number).stored(number, TrialState[state], told or ())

    def _note(self, number: int, name: str, value: Any) -> None:
        trial = self._trial(number)
        self._storage.set_trial_user_attr(trial.trial_id, name, value)
        trial.attributes[name] = value

    def _trial(self, number: int) -> _OpenTrial:
        """The writable trial. One that an earlier session began is read from the database, once."""
        if number not in self._open:
            self._open[number] = _OpenTrial.from_study(self._study.get_trials(deepcopy=False)[number])
        return self._open[number]


def lineage_of(study: optuna.Study) -> Lineage:
    """How the trials of `study` hang together."""
    trials = study.get_trials(deepcopy=False)
    found = {trial.number: Origin.from_attributes(trial.user_attrs) for trial in trials}
    return lineage(
        {number: origin for number, origin in found.items() if origin is not None},
        completed=[trial.number for trial in trials if trial.state == TrialState.COMPLETE],
        lengthened_at=study.user_attrs.get(LENGTHENED_AT),
    )


def _notes(study: optuna.Study) -> dict[str, Any]:
    """What samplers have written down in the study itself."""
    notes = study._storage.get_study_system_attrs(study._study_id)
    return {name: note for name, note in notes.items() if not name.startswith("study:")}


def create_study(
    directory: Path,
    spec: SearchSpec,
    *,
    attributes: Mapping[str, Any],
    patience: Patience | None = None,
    lease: Lease | None = None,
) -> optuna.Study:
    """The study of the new search in `directory`."""
    files = SearchFiles(directory)
    place = study_place(files)
    if place is None:
        with new_file(files) as storage:
            _fill(storage, spec.name, spec, attributes)
        return open_study(directory)
    return _fill(open_storage(files, patience=patience, lease=lease), place.study or spec.name, spec, attributes)


def _fill(storage: BaseStorage, name: str, spec: SearchSpec, attributes: Mapping[str, Any]) -> optuna.Study:
    directions = ["minimize" if objective.mode == "min" else "maximize" for objective in spec.objectives]
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(
            [objective.name for objective in spec.objectives]
        )  # so that optuna-dashboard names the objective
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    return study


def open_study(directory: Path, *, patience: Patience | None = None, lease: Lease | None = None) -> optuna.Study:
    """The study of an existing search.

    Raises:
        SpecError: there is none in `directory`, or it cannot be reached.
    """
    files = SearchFiles(directory)
    place = study_place(files)
    if place is None:
        raise SpecError(f"`{directory}` is no search: it has no {STUDY_FILE}.")
    storage = open_storage(files, patience=patience, lease=lease)
    names = [place.study] if place.study else optuna.get_all_study_names(storage)
    if len(names) != 1:
        raise SpecError(f"`{directory / STUDY_FILE}` holds {len(names)} studies, but a search has exactly one.")
    try:
        return optuna.load_study(study_name=names[0], storage=storage)
    except KeyError:
        raise SpecError(f"{place.url} holds no study `{names[0]}` (any more), which `{directory}` needs.") from None


def open_ledger(
    study: optuna.Study,
    spec: SearchSpec,
    space: Space,
    *,
    step_of: Callable[[Progress], int],
    algorithm: AlgorithmConfig,
    start_from: Sequence[Mapping[str, Any]] = (),
) -> Ledger:
    """The ledger of `study`, suggesting as `algorithm` does, the points of `start_from` and of other searches first."""
    points = (*start_from, *study.user_attrs.get(WARM_POINTS, ()))
    proposer = make_proposer(space, algorithm, seed=spec.search.seed, start_from=points)
    return Ledger(study, proposer=proposer, metric=spec.metric, step_of=step_of)

"""What a search will do, after every check that costs no training. Imports neither torch nor ray nor optuna."""

from dataclasses import dataclass
from typing import Any

from analysis.records import SearchFiles
from search.algorithms import FINITE, AlgorithmConfig, with_startup_trials
from search.auto import Situation, chosen
from search.budget import check_budget
from search.confirmation_sections import ConfirmationConfig
from search.confirmation_space import ConfirmationSpace, confirming
from search.first_guesses import FirstGuess, first_guesses
from search.fold_checks import check_folds
from search.load import LoadedSpec, line_of
from search.objective_checks import check_objectives
from search.presets import AppliedPreset, without_forbidden_points
from search.priors import check_priors
from search.resource_checks import check_precision, check_resources
from search.scheduler_checks import check_scheduler
from search.space_checks import check_candidates, check_paths, edge_values
from search.spec import DEFAULT_TRIALS, SearchSpec
from search.start_points import check_start_points
from search.trial_documents import base_document, check_base, errors_in
from search.yaml_text import Lines
from spaces.errors import SpecError
from spaces.reports import Progress, recorded_step
from spaces.space import Space
from trainables.arguments import resolved_training
from trainables.data.card import DataCard
from trainables.preparation import cached_card
from trainables.task_sections import PromptConfig
from trainables.tasks.registry import TASKS

_MOST_POINTS_COUNTED = 100_000
_MILLI = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A search that can start."""

    spec: SearchSpec
    """The spec."""
    space: Space
    """What varies, over the base document."""
    num_trials: int
    """Trials the search will have."""
    grid_size: int | None
    """Points of the grid; None when the space is not finite, or too large to count what its constraints leave."""
    max_resource: float | None
    """The most training a trial gets, in the scheduler's unit, where it is known."""
    has_whole_epochs: bool
    """Whether every evaluation ends an epoch."""
    files: SearchFiles
    """Where the search will lie."""
    preset: AppliedPreset | None = None
    """What a preset has given to the spec."""

    @property
    def document(self) -> dict[str, Any]:
        """The trial document that the space overrides."""
        return base_document(self.spec)

    def resolved_algorithm(self, algorithm: AlgorithmConfig | None = None, *, num_parallel: int = 1) -> AlgorithmConfig:
        """The spec's algorithm, or another one, with what it leaves open decided: `auto`, and the number of startup
        trials."""
        wanted, situation = algorithm or self.spec.search.algorithm, self.situation(num_parallel=num_parallel)
        return with_startup_trials(chosen(wanted, situation)[0], self.num_trials)

    def situation(self, *, num_parallel: int = 1) -> Situation:
        """What `auto` looks at."""
        return Situation(
            num_trials=self.num_trials,
            grid_size=self.grid_size,
            num_parallel=num_parallel,
            has_priors=self.space.has_priors,
        )

    def step_of(self, progress: Progress) -> int:
        """The step at which the study records an evaluation: the unit of the scheduler, whole numbers."""
        return recorded_step(progress, self.step_unit)

    def resource_of(self, step: int) -> float:
        """The amount of training, in the scheduler's unit, that `step_of` made `step` from."""
        return step / _MILLI if self.step_unit == "milliepochs" else float(step)

    @property
    def step_unit(self) -> str:
        """What the study's steps count."""
        unit = self.spec.search.scheduler.unit
        return "milliepochs" if unit == "epochs" and not self.has_whole_epochs else unit

    def is_at_end(self, progress: Progress) -> bool:
        """Whether a trial has had all the training that any trial gets."""
        return self.max_resource is not None and progress.resource(self.spec.search.scheduler.unit) >= self.max_resource

    def first_guesses(self) -> list[FirstGuess] | None:
        """`start_from: scaling_laws`: a point from each law; None while the tokens of the data are not known."""
        return first_guesses(self.spec, self.space, self.document, card=self.cached_data())

    def start_points(self) -> list[dict[str, Any]]:
        """The points that are tried first; those of scaling laws once the data is prepared.

        Raises:
            SpecError: it is not, and its size is needed.
        """
        if not isinstance(self.spec.search.start_from, str):
            return list(self.spec.search.start_from)
        found = self.first_guesses()
        if found is None:
            raise SpecError(
                "how many tokens there are is known once the data is prepared, by a first `run` or `trial`: until "
                "then give points of your own, or none (`[]`).",
                path="search.start_from",
            )
        return [guess.point for guess in found][: self.num_trials]

    def cached_data(self) -> DataCard | None:
        """Sizes of the data, if it was prepared before."""
        if self.spec.task is None or self.spec.model is None or self.spec.data is None:
            return None
        return cached_card(self.spec.task, self.spec.model, self.spec.data)


def make_plan(loaded: LoadedSpec) -> Plan:
    """Check all that can be checked without data and devices.

    Raises:
        SpecError: the first thing that cannot work, with its line.
    """
    spec = loaded.spec
    if spec.confirmation is not None:
        return _plan_confirmation(spec, spec.confirmation)
    try:
        check_base(spec)
        check_paths(spec)
        space = Space.parse(spec.space, constraints=spec.constraints, derive=spec.derive, document=base_document(spec))
        check_candidates(spec, space)
        check_objectives(spec)
        check_folds(spec)
        check_scheduler(spec, space)
        check_resources(spec, space)
        check_precision(spec, space)
        check_budget(spec.search.budget, spec.resources)
        grid_size = _grid_size(spec, space)
        num_trials = _num_trials(spec, grid_size)
        if loaded.preset is not None:
            spec = without_forbidden_points(spec, space)
        check_priors(spec.search.algorithm, space, num_objectives=len(spec.objectives))
        check_start_points(spec, space, num_trials=num_trials)
        return Plan(
            spec=spec,
            space=space,
            num_trials=num_trials,
            grid_size=grid_size,
            max_resource=_max_resource(spec, space),
            has_whole_epochs=_has_whole_epochs(spec, space),
            files=files_of(spec),
            preset=loaded.preset,
        )
    except SpecError as error:
        raise _with_line(error, loaded.lines) from None


def _plan_confirmation(spec: SearchSpec, confirmation: ConfirmationConfig) -> Plan:
    """Every configuration with every seed. Raises SpecError for one that cannot be trained here."""
    for index, each in enumerate(confirmation.configurations):
        for error in errors_in(confirming(each.document, seed=confirmation.seeds[0])):
            raise error.at(f"confirmation.configurations.{index}.document")
    check_resources(spec, space := ConfirmationSpace(confirmation))
    return Plan(
        spec=spec,
        space=space,
        num_trials=confirmation.num_trainings,
        grid_size=confirmation.num_trainings,
        max_resource=None,
        has_whole_epochs=False,
        files=files_of(spec),
    )


def files_of(spec: SearchSpec) -> SearchFiles:
    """Where a search lies."""
    return spec.storage.files(spec.name)


def _grid_size(spec: SearchSpec, space: Space) -> int | None:
    if not space.is_finite:
        return None
    num_points = space.grid_size(constrained=False)
    if not space.constraints:
        return num_points
    if num_points <= _MOST_POINTS_COUNTED:
        return space.grid_size()
    if spec.search.algorithm.name in FINITE:
        raise SpecError(
            f"the grid has {num_points:,} points before the constraints, and at most {_MOST_POINTS_COUNTED:,} are "
            "tried one by one: make the space smaller, or use `random` or `tpe`.",
            path="search.algorithm",
        )
    return None


def _num_trials(spec: SearchSpec, grid_size: int | None) -> int:
    wanted, algorithm = spec.search.trials, spec.search.algorithm.name
    if algorithm in FINITE and grid_size is None:
        raise SpecError(
            f"`{algorithm}` needs a finite space: give every range a `step` or `num`, or use `choice`.",
            path="search.algorithm",
        )
    if grid_size == 0:
        raise SpecError("no point of the grid meets all constraints.", path="constraints")
    if not spec.space:
        return 1  # nothing varies: one trial says it all
    if wanted is None:
        wanted = grid_size if algorithm in FINITE and grid_size is not None else DEFAULT_TRIALS
    return wanted if grid_size is None else min(wanted, grid_size)  # no point is run twice


def _max_resource(spec: SearchSpec, space: Space) -> float | None:
    scheduler = spec.search.scheduler
    if scheduler.name == "none":
        return scheduler.max
    # a trial ends by its own training, however large `max` is
    planned = min(filter(None, (scheduler.max, _planned_resource(spec, space))), default=None)
    if planned is None and not scheduler.has_rungs:
        return None
    if planned is None:
        raise SpecError(
            f"how many {scheduler.unit} a trial gets at most is not known before it runs: give it here.",
            path="search.scheduler.max",
        )
    if (first := scheduler.first_decision) >= planned:
        name = "interval" if scheduler.is_population else "grace"
        so = "go on from another's checkpoint" if scheduler.is_population else "be stopped early"
        raise SpecError(
            f"`{name} < max` must hold, but got {name}={first:g} and at most {planned:g} {scheduler.unit} a "
            f"trial: no trial would ever {so}.",
            path=f"search.scheduler.{name}",
        )
    return planned


def _planned_resource(spec: SearchSpec, space: Space) -> float | None:
    if spec.task is None:
        return None
    unit = spec.search.scheduler.unit
    if not TASKS[spec.task].trains:
        return _planned_asking(spec, unit)
    if {"training.num_train_epochs", "training.max_steps", "training.eval_strategy"} & space.derive.keys():
        return None
    training = resolved_training(spec.training)
    trainings = spec.search.trainings
    epochs = trainings * _largest(space, "training.num_train_epochs", training["num_train_epochs"])
    steps = trainings * _largest(space, "training.max_steps", training["max_steps"])
    if unit == "steps":
        return steps if steps > 0 else None
    if steps > 0:
        return None  # how many epochs or evaluations that makes depends on the data
    if unit == "epochs" or (unit == "evaluations" and training["eval_strategy"] == "epoch"):
        return epochs
    return None


def _planned_asking(spec: SearchSpec, unit: str) -> float | None:
    """An epoch is one pass over the questions; how many steps and tokens that is depends on the data."""
    prompt = spec.prompt or PromptConfig()
    planned = {"epochs": 1.0, "evaluations": float(prompt.evaluations)}.get(unit)
    return planned and planned * spec.search.trainings


def _largest(space: Space, path: str, fixed: float) -> float:
    for parameter in space.parameters:
        if parameter.path == path:
            return float(max(edge_values(parameter.distribution)))
    return float(fixed)


def _has_whole_epochs(spec: SearchSpec, space: Space) -> bool:
    if spec.task is None or not TASKS[spec.task].trains:
        return False
    varied = {"training.eval_strategy", "training.eval_steps"} & {*space.paths, *space.derive}
    return resolved_training(spec.training)["eval_strategy"] == "epoch" and not varied


def _with_line(error: SpecError, lines: Lines) -> SpecError:
    return (
        error if error.line is not None else SpecError(error.message, path=error.path, line=line_of(error.path, lines))
    )

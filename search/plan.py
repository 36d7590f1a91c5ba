"""Every check that costs no training, and what a search will do. Imports neither torch nor ray nor optuna."""

import copy
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any

from pydantic import ValidationError

from analysis.records import SearchFiles
from analysis.wording import show_value
from search.algorithms import FINITE, AlgorithmConfig, with_startup_trials
from search.auto import Situation, chosen
from search.budget import check_budget
from search.confirmation_sections import ConfirmationConfig
from search.confirmation_space import ConfirmationSpace, confirming
from search.first_guesses import FirstGuess, first_guesses
from search.fold_checks import check_folds
from search.load import LoadedSpec, explain, line_of, models_in
from search.objective_checks import check_objectives
from search.presets import AppliedPreset, without_forbidden_points
from search.priors import check_priors
from search.scheduler_checks import check_scheduler
from search.spec import DEFAULT_TRIALS, SearchSpec
from search.start_points import check_start_points
from search.yaml_text import Lines
from spaces.distributions import Choice, Distribution
from spaces.documents import get_path, has_path, overlap, set_path
from spaces.errors import SpecError, did_you_mean
from spaces.reports import Progress, recorded_step
from spaces.space import Space
from trainables.arguments import check_training_name, resolved_training
from trainables.checks import check_trial
from trainables.config import (
    CustomTrialConfig,
    DataConfig,
    ModelConfig,
    RegularizationConfig,
    StoppingConfig,
    TrialConfig,
)
from trainables.data.card import DataCard
from trainables.huggingface import architecture, training_argument_fields
from trainables.model_checks import check_pretrained_field
from trainables.preparation import cached_card
from trainables.sharding import check_sharding_resources
from trainables.task_sections import FIXED_FOR_A_SEARCH, SECTIONS, PromptConfig, section_of
from trainables.tasks.registry import TASKS
from trainables.training_checks import check_needs_no_gpu
from trainables.user_functions import check_trainable

_SECTIONS = {
    "model": ModelConfig, "data": DataConfig, "stopping": StoppingConfig, "regularization": RegularizationConfig,
}  # fmt: skip
_VARYING_SECTIONS = ("model", "data", "training", "stopping", "regularization")
_EXAMPLES = {"model": "config.hidden_size", "data": "max_length", "training": "learning_rate", "config": "seed",
             "stopping": "patience", "regularization": "l1", "preference": "beta", "prompt": "shots"}  # fmt: skip
_SAMPLES_CHECKED = 50
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
        _check_base(spec)
        _check_paths(spec)
        space = Space.parse(spec.space, constraints=spec.constraints, derive=spec.derive, document=base_document(spec))
        _check_candidates(spec, space)
        check_objectives(spec)
        check_folds(spec)
        check_scheduler(spec, space)
        _check_resources(spec, space)
        _check_precision(spec, space)
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
        for error in _errors_in(confirming(each.document, seed=confirmation.seeds[0])):
            raise error.at(f"confirmation.configurations.{index}.document")
    _check_resources(spec, space := ConfirmationSpace(confirmation))
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


def base_document(spec: SearchSpec) -> dict[str, Any]:
    """The trial document of the spec with nothing varied, defaults filled in. Changing it changes no spec."""
    folds = spec.search.folds
    repeated = {} if folds is None else {"folds": folds.model_dump(mode="json")}
    if spec.trainable is not None:
        return {"trainable": spec.trainable, "config": copy.deepcopy(spec.config), **repeated}
    assert spec.model is not None, "a task has a model"
    assert spec.data is not None, "a task has data"
    document = {
        "task": spec.task,
        "model": spec.model.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json"),
        "training": copy.deepcopy(resolved_training(spec.training)),
        "stopping": spec.stopping.model_dump(mode="json"),
        "regularization": spec.regularization.model_dump(mode="json"),
        **repeated,
    }
    own = section_of(spec.task)
    if own is None:
        return document
    return document | {own: (getattr(spec, own) or SECTIONS[own][1]()).model_dump(mode="json")}


def _check_base(spec: SearchSpec) -> None:
    if spec.trainable is not None:
        try:
            check_trainable(spec.trainable)
        except SpecError as error:
            raise error.at("trainable") from None
        return
    assert spec.model is not None
    assert spec.data is not None
    assert spec.task is not None
    if spec.data.splits.train_on_validation:
        raise SpecError("only a confirmation may: see `tunesmith confirm`.", path="data.splits.train_on_validation")
    check_trial(
        TrialConfig(
            task=spec.task, model=spec.model, data=spec.data, training=spec.training, stopping=spec.stopping,
            regularization=spec.regularization, preference=spec.preference, prompt=spec.prompt,
        )
    )  # fmt: skip


def _check_paths(spec: SearchSpec) -> None:
    for origin, paths in (("space", list(spec.space)), ("derive", list(spec.derive))):
        for path in paths:
            try:
                _check_path(spec, path)
            except SpecError as error:
                raise SpecError(error.message, path=f"{origin}.{path}") from None


def _check_path(spec: SearchSpec, path: str) -> None:
    section, _, rest = path.partition(".")
    own = section_of(spec.task)
    sections = ("config",) if spec.trainable else (*_VARYING_SECTIONS, *([own] if own else []))
    if section in sections and not rest:
        raise SpecError(f"a whole section cannot vary: name a field of it, such as `{section}.{_EXAMPLES[section]}`.")
    if section not in sections:
        near = did_you_mean(section, sections)
        if not near and spec.task and section in training_argument_fields():
            near = f" Did you mean `training.{path}`?"
        raise SpecError(f"a path starts with {' or '.join(f'`{name}.`' for name in sections)}.{near}")
    if path in FIXED_FOR_A_SEARCH:
        raise SpecError(f"this cannot vary: {FIXED_FOR_A_SEARCH[path]}.")
    if section == "config":
        if not has_path({"config": spec.config}, path):
            raise SpecError(f"`config` has no such entry: give it a default there.{did_you_mean(rest, spec.config)}")
    elif section == "training":
        check_training_name(rest.partition(".")[0])
    elif path.startswith("model.config."):
        _check_model_field(spec, path.removeprefix("model.config."))
    else:
        known = _SECTIONS | {name: section for name, (_, section) in SECTIONS.items()}
        _check_entries(base_document(spec), path)
        _check_typed_path(known[section], rest)


def _check_model_field(spec: SearchSpec, field: str) -> None:
    assert spec.model is not None
    if spec.model.architecture is None:
        check_pretrained_field("", field)
        return
    known = architecture(spec.model.architecture)
    if known is not None and field not in known.fields:
        raise SpecError(
            f"the configuration of `{spec.model.architecture}` has no such field.{did_you_mean(field, known.fields)}"
        )


def _check_entries(document: dict[str, Any], path: str) -> None:
    """A number names an entry of a list, and nothing else does."""
    *sections, _ = (parts := path.split("."))
    for depth, part in enumerate(parts[1:], 1):
        way = ".".join(sections[:depth])
        if not has_path(document, way):
            return  # what stands there is made by the path, or its keys are checked elsewhere
        node = get_path(document, way)
        if isinstance(node, list) and not part.isdecimal():
            raise SpecError(
                f"`{way}` is a list of {len(node)}: name an entry by its number, from 0, such as `{way}.0`."
            )
        if part.isdecimal() and not isinstance(node, list | NoneType):
            raise SpecError(f"`{way}` is no list, so it has no entry {part}.")


def _check_typed_path(model: Any, rest: str) -> None:
    candidates = [model]
    for part in rest.split("."):
        if part.isdecimal() and candidates:
            continue  # an entry of a list; whether there is one is known where the path is set
        known = {name for candidate in candidates for name in candidate.model_fields}
        if not known:
            raise SpecError(f"`{part}` leads too far: what stands before it has no keys.")
        if part not in known:
            raise SpecError(f"there is no `{part}`.{did_you_mean(part, known)} Known here: {', '.join(sorted(known))}.")
        candidates = [
            inner
            for candidate in candidates
            if part in candidate.model_fields
            for inner in models_in(candidate.model_fields[part].annotation)
        ]


def _check_candidates(spec: SearchSpec, space: Space) -> None:
    """Every value that a parameter may take must make a valid document, and so must some whole configurations."""
    for parameter in space.parameters:
        for value in _edge_values(parameter.distribution):
            document = base_document(spec)
            set_path(document, parameter.path, value)
            for error in _errors_in(document):
                # an error elsewhere is not this parameter's: the value may be valid together with others
                if error.path == parameter.path or error.path.startswith(f"{parameter.path}."):
                    raise SpecError(
                        f"a value is not allowed: {_below(parameter.path, error)}", path=f"space.{parameter.path}"
                    )
    generator = random.Random(spec.search.seed)
    for _ in range(_SAMPLES_CHECKED if space.paths else 1):
        assignment = space.sample(generator)
        for error in _errors_in(space.apply(assignment)):
            shown = ", ".join(f"{path}={show_value(value)}" for path, value in assignment.items())
            raise SpecError(
                f"the space holds a configuration that cannot work: {error} It has {shown or 'derived values only'}. "
                "Narrow the space, or forbid it by a constraint.",
                path=_blamed(space, error.path),
            )


def _below(path: str, error: SpecError) -> str:
    inside = error.path.removeprefix(path).removeprefix(".")
    return f"{inside}: {error.message}" if inside else error.message


def _blamed(space: Space, path: str) -> str:
    """Where in the spec the value at `path` comes from."""
    for section, paths in (("space", space.paths), ("derive", tuple(space.derive))):
        for known in paths:
            if overlap(known, path):
                return f"{section}.{known}"
    return "space"


def _edge_values(distribution: Distribution) -> Iterator[Any]:
    if isinstance(distribution, Choice):
        yield from distribution.values
        return
    for name in ("low", "high"):
        value = getattr(distribution, name)
        if value is not None:  # a normal distribution may be open
            yield value


def _errors_in(document: dict[str, Any]) -> list[SpecError]:
    model = CustomTrialConfig if "trainable" in document else TrialConfig
    try:
        trial = model.model_validate(document)
        if isinstance(trial, TrialConfig):
            check_trial(trial)
    except ValidationError as error:
        return explain(error, document, model=model)
    except SpecError as error:
        return [error]
    return []


def _check_resources(spec: SearchSpec, space: Space) -> None:
    # Worker groups run our own loop only.
    if spec.trainable is not None and spec.resources.workers != 1:
        raise SpecError(
            f"a `trainable` trains in one worker, but got {spec.resources.workers}: its function would have to be "
            "started on each, and tunesmith does so for a `task` only. Run more trials at once instead.",
            path="resources.workers",
        )
    searched = next((each.distribution for each in space.parameters if each.path == "training.fsdp"), None)
    shards = spec.training.get("fsdp") or "training.fsdp" in space.derive
    if shards or (searched is not None and any(_edge_values(searched))):
        check_sharding_resources(
            workers=spec.resources.workers, gpus_per_worker=spec.resources.gpus_per_worker
        )  # fmt: skip
    gpus = spec.resources.gpus_per_worker
    if gpus > 1 and not gpus.is_integer():
        raise SpecError(
            f"a trial takes a part of one GPU or whole ones, but got {gpus:g}.", path="resources.gpus_per_worker"
        )
    if spec.model is not None and spec.model.quantization is not None and not gpus:
        raise SpecError(
            "loading in 4 or 8 bits needs a GPU: set `resources.gpus_per_worker`.", path="model.quantization"
        )


def _check_precision(spec: SearchSpec, space: Space) -> None:
    """What needs a GPU is refused before a search without one begins. Ray knows nothing of an Apple GPU."""
    if spec.task is None or spec.resources.gpus_per_worker or sys.platform == "darwin":
        return
    try:
        check_needs_no_gpu(spec.training)
    except SpecError as error:
        raise error.at("training") from None
    for parameter in space.parameters:
        section, _, name = parameter.path.partition(".")
        if section != "training":
            continue
        for value in _edge_values(parameter.distribution):
            try:
                check_needs_no_gpu({name: value})
            except SpecError as error:
                raise SpecError(error.message, path=f"space.{parameter.path}") from None


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
            return float(max(_edge_values(parameter.distribution)))
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

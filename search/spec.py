"""What a user asks for: one search. The sections of a trial document, and how to vary them."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from cluster.resources import ResourcesConfig
from search.algorithms import AlgorithmConfig, AlgorithmName
from search.budget import BudgetConfig
from search.confirmation_sections import ConfirmationConfig
from search.fold_sections import Repetition
from search.stopping import SchedulerConfig, SchedulerName
from search.storage import Storage, StorageConfig
from search.units import Bytes
from search.warm_start import WarmStartConfig, as_warm_start
from spaces.errors import SpecError
from spaces.objectives import TRIAL_MODES, Objective
from trainables.config import (
    DataConfig,
    ModelConfig,
    RegularizationConfig,
    Section,
    StoppingConfig,
    TaskName,
    Trainable,
)
from trainables.metrics import MODES, Mode
from trainables.task_sections import PreferenceConfig, PromptConfig, check_sections
from trainables.tasks.registry import TASKS

DEFAULT_TRIALS = 20
"""Of a search that says nothing of its length, unless it is a grid."""


def _name_as_mapping(value: Any) -> Any:
    """`tpe` is short for `{name: tpe}`."""
    return {"name": value} if isinstance(value, str) else value


class SearchConfig(Repetition):
    """The search itself."""

    algorithm: Annotated[
        AlgorithmConfig, BeforeValidator(_name_as_mapping, json_schema_input_type=AlgorithmName | AlgorithmConfig)
    ] = AlgorithmConfig()
    """A name, or a mapping with `name` and its arguments."""
    metric: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """What is optimised, such as `eval/loss`. Default: the task's first metric. A list asks for all that nothing beats
    in every respect: metrics, and what a trial takes, such as `[eval/loss, trial/tokens_per_second]`."""
    mode: Mode | tuple[Mode, ...] | None = None
    """`min` or `max`; with several metrics one for each. Default: follows from the metric."""
    trials: PositiveInt | None = None
    """How many trials. Default: all points of a grid; 20 otherwise."""
    start_from: Literal["scaling_laws"] | tuple[dict[str, Any], ...] = ()
    """Points that are tried first, such as `[{training.learning_rate: 3e-4}]`. What a point leaves out is drawn.
    `scaling_laws`: a point from each of the published laws, for pretraining. Default: those of `space.preset`, or
    none."""
    seed: NonNegativeInt = 0
    """Seed of the suggestions. Trials have their own, `training.seed`."""
    scheduler: Annotated[
        SchedulerConfig, BeforeValidator(_name_as_mapping, json_schema_input_type=SchedulerName | SchedulerConfig)
    ] = SchedulerConfig()
    """A name, or a mapping with `name` and its arguments."""
    budget: BudgetConfig = BudgetConfig()
    """What ends the search before all its trials were run."""
    warm_start: tuple[
        Annotated[WarmStartConfig, BeforeValidator(as_warm_start, json_schema_input_type=str | WarmStartConfig)], ...
    ] = ()
    """Other searches to learn from: their folders, or mappings with `search` and how."""
    stop_trial_when: tuple[str, ...] = ()
    """Conditions that end a trial early, besides the scheduler: expressions over its metrics and `epochs`, `steps`,
    `tokens`, `evaluations` and `seconds`, such as `eval/loss > 10 and epochs >= 1`. Checked at each report, for all
    rows since the one before. Default: none."""


class CheckpointsConfig(Section):
    """What is kept of the trained models."""

    save: bool = True
    """Save with each evaluation, so that an interrupted trial goes on from there."""
    keep: NonNegativeInt = 1
    """Checkpoints of this many best finished trials are kept, and the last one of a trial that failed for another
    reason than divergence, for `tunesmith retry`; the others are removed when their trial ends."""
    max_disk: Bytes | None = None
    """What all checkpoints of the search may take together, on disk or in its object store, such as `20GB`. Above it
    the kept ones go, the worst first and the best never; no trial starts whose checkpoints would not fit. Default: no
    limit."""


class WandbConfig(Section):
    """Weights & Biases."""

    mode: Literal["offline", "online", "disabled"] = "offline"
    """`offline` writes runs to disk, to be synced later."""
    project: str = "tunesmith"
    """The W&B project."""
    entity: str | None = None
    """The W&B user or team. Default: your default entity."""
    tags: tuple[str, ...] = ()
    """Tags of every run."""
    log_model: Literal["none", "best"] = "none"
    """`best` sends the model of the best trial as an artifact when the search is over. Default: models stay here."""
    max_model_size: Bytes = 5e9
    """A larger model is not sent, and a warning says so. Default: 5 GB."""


class TrackingConfig(Section):
    """Where runs are logged besides the search's own folder."""

    wandb: WandbConfig = WandbConfig()
    """Weights & Biases."""


class SearchSpec(Section):
    """A whole search."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """Name of the search, of its folder and of its W&B group."""
    task: TaskName | None = None
    """What is learned."""
    model: ModelConfig | None = None
    """Which model learns it."""
    data: DataConfig | None = None
    """From which text."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Any field of transformers.TrainingArguments."""
    stopping: StoppingConfig = StoppingConfig()
    """When a trial ends itself because it no longer improves."""
    regularization: RegularizationConfig = RegularizationConfig()
    """What is added to the training loss."""
    preference: PreferenceConfig | None = None
    """`task: preference`: what a pair teaches. Default: DPO."""
    prompt: PromptConfig | None = None
    """`task: few_shot`: how a text is put to the model."""
    trainable: Trainable | None = None
    """Instead of a task: `module:function` (beside the spec, in the folder you start from, or installed) or
    `folder/file.py:function`. Called as `function(config, report)`, or, when it has one parameter, as an unchanged
    Ray Train loop that calls `ray.train.report`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """With `trainable`: the mapping that the function is handed. `seed` in it seeds Python, NumPy and torch, too
    (default 42)."""
    space: dict[str, Any] = Field(default_factory=dict)
    """Dotted path -> what it may be, such as `training.learning_rate: {log_uniform: [1e-5, 1e-3]}`."""
    constraints: tuple[str, ...] = ()
    """Conditions that every configuration must meet, such as `a.b * c.d <= 256`."""
    derive: dict[str, str] = Field(default_factory=dict)
    """Dotted path -> an expression over other paths."""
    search: SearchConfig = SearchConfig()
    """How to search."""
    confirmation: ConfirmationConfig | None = None
    """Instead of a search: configurations to be trained again, as `tunesmith confirm` writes them."""
    resources: ResourcesConfig = ResourcesConfig()
    """What a trial takes."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    """What is kept of the trained models."""
    tracking: TrackingConfig = TrackingConfig()
    """Where runs are logged."""
    storage: Storage = StorageConfig()
    """Where the search is kept: a folder that holds its folder, or a mapping."""

    @model_validator(mode="after")
    def _task_or_trainable(self) -> "SearchSpec":
        if (self.task is None) == (self.trainable is None):
            raise SpecError(
                "give either `task` or `trainable`, " + ("but both are set." if self.task else "but neither is set.")
            )
        if self.trainable is not None:
            sections = ("model", "data", "training", "stopping", "regularization", "preference", "prompt")
            given = [
                name for name in sections if getattr(self, name) not in (type(self).model_fields[name].default, {})
            ]
            if given:
                raise SpecError(f"`{given[0]}` belongs to a `task`; a `trainable` gets all it needs by `config`.")
            if self.search.metric is None:
                raise SpecError("a `trainable` needs `search.metric`: only you know what it reports.")
        else:
            check_sections(self.task, {"preference": self.preference, "prompt": self.prompt})
            missing = [name for name in ("model", "data") if getattr(self, name) is None]
            if missing:
                raise SpecError(f"`task: {self.task}` needs the section `{missing[0]}`.")
            if self.config:
                raise SpecError("`config` belongs to a `trainable`; a task has `model`, `data` and `training`.")
        if self.confirmation is not None and self.space:
            raise SpecError("a confirmation searches nothing: leave it out.", path="space")
        return self

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All that is optimised, the one that trials report first."""
        given = self.search.metric
        names = given if isinstance(given, tuple) else (self.metric,)
        modes = self.search.mode if isinstance(self.search.mode, tuple) else (self.search.mode,) * len(names)
        return tuple(
            Objective(name=name, mode=mode or self._natural_mode(name)) for name, mode in zip(names, modes, strict=True)
        )

    @property
    def metric(self) -> str:
        """The name of the first objective."""
        if self.search.metric is not None:
            return self.search.metric if isinstance(self.search.metric, str) else self.search.metric[0]
        assert self.task is not None, "a trainable names its metric"
        assert self.data is not None, "a task has data"
        return TASKS[self.task].metrics(self.data)[0]

    @property
    def mode(self) -> Mode:
        """Which way the first objective is better."""
        return self.objectives[0].mode

    def _natural_mode(self, name: str) -> Mode:
        known = TRIAL_MODES | MODES if self.task else TRIAL_MODES
        return known.get(name, "min")

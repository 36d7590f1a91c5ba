"""The `training` section: names and types checked against TrainingArguments. Imports no torch."""

import math
import re
from collections.abc import KeysView, Mapping, Sequence
from typing import Any

from spaces.errors import SpecError, did_you_mean
from trainables.huggingface import Field, optimizer_names, training_argument_fields
from trainables.sharding import check_sharding

# What tunesmith decides itself, with what a user should write instead.
_OWNED = {
    "output_dir": "tunesmith chooses the folder of each trial (`storage`)",
    "run_name": "W&B runs are named after the search and the trial (`name`)",
    "report_to": "use `tracking.wandb.mode`",
    "project": "use `tracking.wandb.project`",
    "trackio_space_id": "use `tracking.wandb`",
    "trackio_bucket_id": "use `tracking.wandb`",
    "trackio_static_space_id": "use `tracking.wandb`",
    "save_strategy": "a checkpoint goes with each evaluation (`checkpoints.save`)",
    "save_steps": "a checkpoint goes with each evaluation (`training.eval_steps`)",
    "save_total_limit": "use `checkpoints.keep`",
    "save_only_model": "use `checkpoints.save`",
    "save_on_each_node": "use `checkpoints.save`",
    "enable_jit_checkpoint": "a checkpoint goes with each evaluation (`checkpoints.save`)",
    "load_best_model_at_end": "the best checkpoints of the search are kept (`checkpoints.keep`)",
    "metric_for_best_model": "use `search.metric`",
    "greater_is_better": "use `search.mode`",
    "resume_from_checkpoint": "use `tunesmith resume`",
    "do_train": "a trial always trains",
    "do_eval": "use `training.eval_strategy`",
    "do_predict": "the test split stays hidden from a search",
    "disable_tqdm": "tunesmith shows the progress of the search",
    "log_level": "tunesmith shows the progress of the search",
    "log_level_replica": "tunesmith shows the progress of the search",
    "log_on_each_node": "tunesmith shows the progress of the search",
    "push_to_hub": "publish the best model after the search, from its checkpoint folder",
    "auto_find_batch_size": "it changes the effective batch, so trials could not be compared",
    "local_rank": "it is set by the launcher",
    "deepspeed": "trials run in one process for now",
    "ddp_backend": "workers use nccl on GPUs and gloo on CPUs",
    "ddp_timeout": "use `resources.collective_timeout_seconds`",
    "parallelism_config": "trials run in one process for now",
    "prediction_loss_only": "the task computes its metrics at each evaluation",
    "label_names": "the task sets it",
    "remove_unused_columns": "the task sets it",
    "restore_callback_states_from_checkpoint": "use `tunesmith resume`",
    "ignore_data_skip": "a trial that goes on sees each example as often as one that was never interrupted",
    "skip_memory_metrics": "each trial's memory is measured (`system/peak_memory_gib`)",
    "batch_eval_metrics": "the task computes its metrics at each evaluation",
    "eval_do_concat_batches": "the task computes its metrics at each evaluation",
    "include_for_metrics": "the task computes its metrics at each evaluation",
    "accelerator_config": "data is ordered so that a trial that was interrupted goes on exactly where it was",
    "dataloader_persistent_workers": "a trial that was interrupted would go on with other random numbers",
    "debug": "run the trial by itself with a debugger: `tunesmith trial`",
}
_OWNED |= {
    f"hub_{name}": "publish the best model after the search, from its checkpoint folder"
    for name in ("token", "private_repo", "model_id", "strategy", "always_push", "revision")
}

# Where tunesmith's default differs from transformers': a search compares evaluations, so there is one an epoch,
# and its curves are read, so there is a row every ten steps.
DEFAULTS: dict[str, Any] = {"eval_strategy": "epoch", "logging_steps": 10, "logging_nan_inf_filter": False}

_CHOICES = {
    "eval_strategy": ("epoch", "steps"),
    "logging_strategy": ("no", "epoch", "steps"),
    "lr_scheduler_type": (
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup",
        "inverse_sqrt", "reduce_lr_on_plateau", "cosine_with_min_lr", "cosine_warmup_with_min_lr",
        "warmup_stable_decay", "greedy",
    ),
}  # fmt: skip
# Where transformers still takes an older way to say it.
_NARROWER = {"fsdp": "bool | None", "fsdp_config": "dict | None"}
_MOST_LISTED = 12
_POSITIVE = {
    "learning_rate", "num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size",
    "gradient_accumulation_steps", "logging_steps", "eval_steps",
}  # fmt: skip
_NON_NEGATIVE = {"weight_decay", "warmup_steps", "max_grad_norm", "adam_epsilon", "label_smoothing_factor"}


def check_training(section: Mapping[str, Any]) -> None:
    """Raise SpecError, with the field as path, for the first field that cannot be right."""
    for name, value in section.items():
        check_training_field(name, value)
    check_sharding(section)
    if section.get("eval_strategy") == "steps" and section.get("eval_steps") is None:
        raise SpecError(
            "`eval_strategy: steps` needs `eval_steps`, the number of steps between evaluations.",
            path="eval_strategy",
        )
    if section.get("eval_steps") is not None and section.get("eval_strategy", "epoch") != "steps":
        raise SpecError(
            "`eval_steps` needs `eval_strategy: steps`; the default is one evaluation an epoch.",
            path="eval_steps",
        )


def check_training_name(name: str) -> Field:
    """The training argument `name`. Raises SpecError when there is none, or it is not the user's to set."""
    if name in _OWNED:
        raise SpecError(f"this is not set here: {_OWNED[name]}.", path=name)
    field = training_argument_fields().get(name)
    if field is None:
        known = set(training_argument_fields()) - set(_OWNED)
        raise SpecError(f"transformers.TrainingArguments has no such field.{did_you_mean(name, known)}", path=name)
    return field


def check_training_field(name: str, value: Any) -> None:
    """Raise SpecError when `name` is no training argument of the user's, or `value` is not of its type."""
    annotation = _NARROWER.get(name) or check_training_name(name).annotation
    if not has_type(value, annotation):
        raise SpecError(f"expected {type_in_words(annotation)}, but got {value!r}.", path=name)
    _check_range(name, value)


def has_type(value: Any, annotation: str) -> bool:
    """Whether a YAML value fits a type as written in transformers' source. A class of its own may be given by a name
    or a mapping."""
    kinds = _kinds(annotation)
    has_own_class = bool(kinds - _PLAIN.keys())
    if value is None:
        return "None" in kinds
    if isinstance(value, bool):
        return "bool" in kinds
    if isinstance(value, int):
        return bool(kinds & {"int", "float"})
    if isinstance(value, float):
        return math.isfinite(value) and ("float" in kinds or ("int" in kinds and value.is_integer()))
    if isinstance(value, str):
        return "str" in kinds or has_own_class
    if isinstance(value, Mapping):
        return "dict" in kinds or has_own_class
    return bool(kinds & {"list", "tuple"})


def type_in_words(annotation: str) -> str:
    """A type as written in transformers' source, for a person."""
    kinds = _kinds(annotation)
    if "float" in kinds:
        kinds = {kind: None for kind in kinds if kind != "int"}.keys()
    # null last: it is seldom what was meant
    ordered = sorted(kinds, key=lambda kind: kind == "None")
    return " or ".join(dict.fromkeys(_PLAIN.get(kind, "a name") for kind in ordered))


_PLAIN = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "dict": "a mapping",
          "list": "a list", "tuple": "a list", "None": "null"}  # fmt: skip


def _kinds(annotation: str) -> KeysView[str]:
    """`dict[str, list[int]] | None` -> dict, None; in their order."""
    without_brackets = re.sub(r"\[[^\[\]]*\]", "", annotation)
    if without_brackets != annotation:
        return _kinds(without_brackets)
    return {part.strip(): None for part in annotation.split("|")}.keys()


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _MOST_LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_LISTED])}, ... ({len(names)} in all)"


def _check_range(name: str, value: Any) -> None:
    allowed = sorted(optimizer_names()) if name == "optim" else _CHOICES.get(name, ())
    if allowed and value not in allowed:
        raise SpecError(
            f"expected one of {_listed(allowed)}, but got {value!r}.{did_you_mean(str(value), allowed)}", path=name
        )
    if name in _POSITIVE and value is not None and not value > 0:
        raise SpecError(f"`{name} > 0` must hold, but got {value}.", path=name)
    if name in _NON_NEGATIVE and value is not None and value < 0:
        raise SpecError(f"`{name} >= 0` must hold, but got {value}.", path=name)


# Fields that are written into every trial's document even when the user left them out: a trial must be repeatable
# when a later transformers has other defaults, and constraints speak of them.
_RESOLVED = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "max_steps",
    "per_device_train_batch_size", "gradient_accumulation_steps", "weight_decay", "adam_beta1", "adam_beta2",
    "adam_epsilon", "max_grad_norm", "label_smoothing_factor", "bf16", "fp16", "seed",
)  # fmt: skip


def resolved_training(section: Mapping[str, Any]) -> dict[str, Any]:
    """`section` with the defaults that matter filled in."""
    fields = training_argument_fields()
    return {**{name: fields[name].default for name in _RESOLVED}, **DEFAULTS, **section}

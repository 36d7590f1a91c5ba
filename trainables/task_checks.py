"""What can be said of chats, preferences and prompts before a trial runs. Imports no torch.

Every error carries the key path within the trial document.
"""

from collections.abc import Mapping
from typing import Any

from spaces.errors import SpecError, did_you_mean
from trainables.arguments import DEFAULTS, resolved_training
from trainables.config import TrialConfig
from trainables.data.chat import CHAT_TEMPLATES
from trainables.huggingface import modeling_source
from trainables.tasks.registry import TASKS

# What a trial that only asks may set: all else is about steps that it never takes.
_ASKING = {"per_device_eval_batch_size", "seed"}
# A state that runs through a whole row cannot be told that another example begins.
_RUNNING_STATES = ("causal_conv1d", "mamba", "Mamba", "linear_attn", "recurrent")


def check_task(trial: TrialConfig) -> None:
    """Raise SpecError for what the task of `trial` cannot do."""
    if trial.data.chat_template is not None:
        _check_template(trial.data.chat_template)
    if trial.data.messages is not None:
        _check_messages(trial)
    if trial.task == "preference" and trial.training.get("label_smoothing_factor"):
        raise SpecError(
            "tokens are not smoothed here: `preference.label_smoothing` is for pairs.",
            path="training.label_smoothing_factor",
        )
    if not TASKS[trial.task].trains:
        _check_asking(trial)


def check_packing(trial: TrialConfig, model_type: str) -> None:
    """Raise SpecError when the model cannot keep packed examples apart; `model_type` is empty when not known."""
    if not trial.data.pack:
        return
    source = modeling_source(model_type) if model_type else ""
    keeps_apart = "create_causal_mask" in source and "position_ids" in source
    if model_type and (not keeps_apart or any(word in source for word in _RUNNING_STATES)):
        raise SpecError(
            f"`{model_type}` cannot keep packed examples apart: one would see another. Leave this out.",
            path="data.pack",
        )
    adapter = trial.model.adapter
    if adapter is not None and adapter.method in ("prefix_tuning", "prompt_tuning"):
        raise SpecError(
            f"`{adapter.method}` puts learned tokens in front of a row, not of each example in it: leave this out.",
            path="data.pack",
        )


def _check_template(template: str) -> None:
    from jinja2 import Environment, TemplateSyntaxError

    path = "data.chat_template"
    if "{" not in template:
        if template not in CHAT_TEMPLATES:
            raise SpecError(
                f"expected one of {', '.join(CHAT_TEMPLATES)}, or a Jinja text, but got {template!r}."
                f"{did_you_mean(template, CHAT_TEMPLATES)}",
                path=path,
            )
        return
    if "generation %}" not in template.replace("-%}", "%}"):  # a tag of transformers' own
        try:
            Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
        except TemplateSyntaxError as error:
            raise SpecError(
                f"this is no Jinja template: {error.message} (its line {error.lineno}).", path=path
            ) from None
    if "messages" not in template:
        raise SpecError("a chat template goes through `messages`, but this one never names them.", path=path)


def _check_messages(trial: TrialConfig) -> None:
    defaults = type(trial.data).model_fields
    for name in ("prompt", "response", "system"):
        if getattr(trial.data, name) != defaults[name].default:
            raise SpecError("`messages` holds whole conversations: leave this out.", path=f"data.{name}")


def _check_asking(trial: TrialConfig) -> None:
    if trial.model.pretrained is None:
        raise SpecError("few_shot asks a model that was trained before: give `pretrained`.", path="model.architecture")
    fields = type(trial.model).model_fields
    for name in ("adapter", "quantization", "freeze", "unfreeze", "layer_decay"):
        if getattr(trial.model, name) != fields[name].default:
            raise SpecError("few_shot does not train: leave this out.", path=f"model.{name}")
    plain: Mapping[str, Any] = resolved_training({}) | DEFAULTS
    for name, value in trial.training.items():
        if name not in _ASKING and (name not in plain or value != plain[name]):
            raise SpecError(
                f"few_shot does not train, so it reads only {' and '.join(sorted(_ASKING))}: leave this out.",
                path=f"training.{name}",
            )
    assert trial.prompt is not None, "a trial of this task has the section"
    for name in ("words", "calibrate"):
        if trial.data.answer == "target" and getattr(trial.prompt, name):
            raise SpecError("this is for labels, but `data.answer` is `target`: leave it out.", path=f"prompt.{name}")

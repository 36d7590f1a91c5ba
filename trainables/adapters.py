"""Small trainable additions to a pretrained model, by PEFT. Knows no training and no files but its checkpoints.

The base stays frozen; the addition, the task's head and weights that no checkpoint brought do train. A checkpoint holds
what trained, and names the base in `adapter_config.json`.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import TaskName
from trainables.layers import head_modules
from trainables.model_sections import AdapterConfig

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import nn
    from transformers import PreTrainedModel

_TASK_TYPES: dict[TaskName, str | None] = {
    "causal_lm": "CAUSAL_LM",
    "masked_lm": None,  # peft has no name for it and none is needed
    "seq2seq_lm": "SEQ_2_SEQ_LM",
    "sequence_classification": "SEQ_CLS",
    "token_classification": "TOKEN_CLS",
    "instruction_tuning": "CAUSAL_LM",
    "preference": "CAUSAL_LM",
    "few_shot": "CAUSAL_LM",
}
_CLASSIFIERS = ("SEQ_CLS", "TOKEN_CLS")
_PRETRAINED_HEADS = {"causal_lm", "masked_lm", "seq2seq_lm", "instruction_tuning", "preference", "few_shot"}


def add_adapter(
    model: "PreTrainedModel", config: AdapterConfig, *, task: TaskName, new: frozenset[str] = frozenset()
) -> "PeftModel":
    """`model` with the addition in it. `new` are the names of weights that no checkpoint brought.

    Raises:
        SpecError: the model has no such layers, or PEFT does not know how to adapt it.
    """
    from peft import get_peft_model

    # An output layer that generates text was trained with the model; a classifier starts anew.
    heads = [] if task in _PRETRAINED_HEADS else head_modules(model)
    trained = sorted({*heads, *(name.rpartition(".")[0] for name in new)} - {""})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT corrects `fan_in_fan_out` for GPT-2 by itself, and says so
            adapted = get_peft_model(model, _peft_config(model, config, task=task, trained=trained))
    except (ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SpecError(f"this model cannot be adapted so: {reason}", path="model.adapter") from error
    if config.method == "prompt_tuning" and _TASK_TYPES[task] == "CAUSAL_LM":
        adapted.register_forward_pre_hook(_leave_first_token_out, with_kwargs=True)
    return adapted


def _peft_config(
    model: "PreTrainedModel", config: AdapterConfig, *, task: TaskName, trained: list[str]
) -> "PeftConfig":
    import peft

    common: dict[str, Any] = {"task_type": _TASK_TYPES[task]}
    if config.method in ("prefix_tuning", "prompt_tuning"):
        kind = peft.PrefixTuningConfig if config.method == "prefix_tuning" else peft.PromptTuningConfig
        return kind(num_virtual_tokens=config.virtual_tokens, **common)
    common |= {"modules_to_save": trained or None, "exclude_modules": _linear_in(model, trained) or None}
    if config.method == "ia3":
        return peft.IA3Config(**_ia3_modules(config), **common)
    named = list(config.target_modules) if isinstance(config.target_modules, tuple) else "all-linear"
    return peft.LoraConfig(
        r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout, use_dora=config.dora,
        use_rslora=config.rslora, target_modules=named, **common,
    )  # fmt: skip


def _ia3_modules(config: AdapterConfig) -> dict[str, Any]:
    if config.target_modules is None:
        return {}  # PEFT knows them for the model type
    if config.target_modules == "all-linear":
        return {"target_modules": "all-linear", "feedforward_modules": []}
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEED_FORWARD

    # The factors of a feed-forward layer stand before it, as in the paper; those of others behind.
    known = {name for names in FEED_FORWARD.values() for name in names}
    named = list(config.target_modules)
    return {"target_modules": named, "feedforward_modules": [name for name in named if name in known]}


def _linear_in(model: "nn.Module", modules: list[str]) -> list[str]:
    """Layers within `modules`: they train as a whole, so nothing is added to them."""
    from torch import nn

    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and any(name == outer or name.startswith(f"{outer}.") for outer in modules)
    ]


def _leave_first_token_out(_: "nn.Module", args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    # Behind learned tokens the first token of a block is predicted too. Without them nobody predicts it, and a loss
    # with one token more could not be compared.
    labels = kwargs.get("labels")
    if labels is not None:
        kwargs["labels"] = labels.index_fill(1, labels.new_zeros(1), -100)
    return args, kwargs


def save_labels(model: Any, folder: Path) -> None:
    """Write a classifier's configuration beside its adapter: it names the labels, which the base does not know.

    Beside the adapter of a language model there is none, so that `AutoModel...from_pretrained` finds the base.
    """
    from peft import PeftModel

    if isinstance(model, PeftModel) and model.active_peft_config.task_type in _CLASSIFIERS:
        model.get_base_model().config.save_pretrained(folder)

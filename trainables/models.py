"""From a model configuration to a model: from scratch or pretrained, with frozen parts. Knows no training."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.adapters import add_adapter
from trainables.config import DataConfig, ModelConfig
from trainables.conversion import standard_folder
from trainables.data.card import DataCard
from trainables.huggingface import RECURRENT
from trainables.parametrization import base_model
from trainables.places import resolve_pretrained
from trainables.quantization import bitsandbytes_config
from trainables.tasks.task import Task

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def build_model(
    task: Task,
    model: ModelConfig,
    *,
    data: DataConfig,
    card: DataCard,
    tokenizer: "PreTrainedTokenizerBase",
) -> "PreTrainedModel | PeftModel":
    """A model for `task` on the CPU. Random weights come from torch's global generator: seed it first."""
    import transformers

    # torch waits until a model is built; our own architectures are known from this import on
    import trainables.recurrent  # noqa: F401
    from trainables.freezing import freeze
    from trainables.initialization import initialize
    from trainables.mup import parametrize

    auto_class = getattr(transformers, task.auto_class)
    head = dict(task.head_fields(card, data))
    if model.architecture is not None:
        head |= task.scratch_fields(tokenizer)
        configure = partial(_scratch_config, tokenizer=tokenizer, max_length=_longest(task, data), head=head)
        fresh = auto_class.from_config(configure(model))
        initialize(fresh, model.initialization)
        if model.parametrization.scheme == "mup":
            parametrize(fresh, configure(base_model(model)))
        return _with_known_loss(fresh, task)
    place = standard_folder(resolve_pretrained(str(model.pretrained)))
    config = _pretrained_config(model, place=place, head=head)
    # Weights train in 32 bits unless the spec says otherwise, however they were stored: in 16 bits small updates
    # are rounded away. Mixed precision is `training.bf16`.
    built, loaded = auto_class.from_pretrained(
        place,
        config=config,
        dtype=model.config.get("dtype", "float32"),
        trust_remote_code=model.trust_remote_code,
        output_loading_info=True,
        # A classifier of other labels gives its body; its head is drawn anew.
        ignore_mismatched_sizes=bool(head),
        **_quantized(model),
    )
    _check_body(built, loaded["mismatched_keys"])
    _check_vocabulary(built, tokenizer)
    if built.config.pad_token_id is None:
        built.config.pad_token_id = tokenizer.pad_token_id  # decoder classifiers look for the last real token
    new = frozenset({*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])})
    if model.freeze is not None:
        freeze(built, model.freeze, new=new)
    built = _with_known_loss(built, task)
    return built if model.adapter is None else add_adapter(built, model.adapter, task=task.name, new=new)


def _longest(task: Task, data: DataConfig) -> int:
    """Tokens that the model has to have positions for."""
    if "max_target_length" not in task.options:
        return data.max_length
    if task.head == "CAUSAL_LM":  # what it generates stands behind the prompt
        return data.max_length + data.max_target_length
    return max(data.max_length, data.max_target_length)


def _scratch_config(
    model: ModelConfig, *, tokenizer: "PreTrainedTokenizerBase", max_length: int, head: dict[str, Any]
) -> Any:
    from transformers import AutoConfig

    fields: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **head,
        **model.config,
    }
    if model.architecture not in RECURRENT and not {"max_position_embeddings", "n_positions"} & set(model.config):
        # Two more than needed: RoBERTa counts positions from the padding id on.
        fields["max_position_embeddings"] = max_length + 2
    try:
        return AutoConfig.for_model(str(model.architecture), **fields)
    except Exception as error:
        # transformers raises various types for a configuration it refuses; the last line says what is wrong
        raise SpecError(
            f"transformers refuses this configuration: {str(error).strip().splitlines()[-1].strip()}",
            path="model.config",
        ) from error


def _quantized(model: ModelConfig) -> dict[str, Any]:
    if model.quantization is None:
        return {}
    # To the one device there is: weights of few bits cannot be moved later.
    return {"quantization_config": bitsandbytes_config(model.quantization), "device_map": {"": 0}}


def _pretrained_config(model: ModelConfig, *, place: str, head: dict[str, Any]) -> Any:
    """The checkpoint's own configuration with the spec's fields over it, such as another dropout."""
    from transformers import AutoConfig

    config, unused = AutoConfig.from_pretrained(
        place, trust_remote_code=model.trust_remote_code, return_unused_kwargs=True, **head, **model.config
    )
    if unused:
        name = next(iter(unused))
        raise SpecError("the pretrained model's configuration has no such field.", path=f"model.config.{name}")
    return config


def _check_body(model: "PreTrainedModel", mismatched: Iterable[tuple[str, Any, Any]]) -> None:
    for name, stored, expected in mismatched:
        if name.startswith(f"{model.base_model_prefix}."):
            raise SpecError(
                f"the weights do not fit their configuration: `{name}` is stored as {tuple(stored)}, but "
                f"{tuple(expected)} is expected.",
                path="model.pretrained",
            )


def _check_vocabulary(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    num_embeddings = int(model.get_input_embeddings().weight.shape[0])
    if len(tokenizer) > num_embeddings:
        raise SpecError(
            f"the tokenizer has {len(tokenizer)} tokens, but the pretrained model knows {num_embeddings}. "
            "Leave `data.tokenizer` out to use the model's own.",
            path="data.tokenizer",
        )


def _with_known_loss(model: "PreTrainedModel", task: Task) -> "PreTrainedModel":
    # GPT-2 and other `...LMHeadModel`s name no loss. They compute the right one, but the Trainer then takes the first
    # token of a block for one that is predicted, and all their losses come out too small by 1/length.
    if task.head == "CAUSAL_LM" and model.loss_type is None:
        model.loss_type = "ForCausalLM"
    return model


def num_parameters(model: "PreTrainedModel") -> tuple[int, int]:
    """Weights of a model as it is loaded: all, and those that train. Shared ones count once."""
    if hasattr(model, "get_nb_trainable_parameters"):  # of an adapter's: it knows what lies packed in 4 bits
        trainable, everything = model.get_nb_trainable_parameters()
        return int(everything), int(trainable)
    return int(model.num_parameters()), int(model.num_parameters(only_trainable=True))

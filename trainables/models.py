"""From a model configuration to a model: from scratch or pretrained, with frozen parts. Knows no training."""

from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import FreezeConfig, ModelConfig
from trainables.data.card import DataCard
from trainables.places import resolve_pretrained
from trainables.tasks.task import Task

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def build_model(
    task: Task,
    model: ModelConfig,
    *,
    card: DataCard,
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
) -> "PreTrainedModel":
    """A model for `task` on the CPU. Random weights come from torch's global generator: seed it first."""
    import transformers

    auto_class = getattr(transformers, task.auto_class)
    head = dict(task.head_fields(card))
    if model.architecture is not None:
        config = _scratch_config(model, tokenizer=tokenizer, max_length=max_length, head=head)
        return _with_known_loss(auto_class.from_config(config), task)
    place = resolve_pretrained(str(model.pretrained))
    config = _pretrained_config(model, place=place, head=head)
    # Weights train in 32 bits unless the spec says otherwise, however they were stored: in 16 bits small updates
    # are rounded away. Mixed precision is `training.bf16`.
    built = auto_class.from_pretrained(
        place, config=config, dtype=model.config.get("dtype", "float32"), trust_remote_code=model.trust_remote_code
    )
    _check_vocabulary(built, tokenizer)
    if built.config.pad_token_id is None:
        built.config.pad_token_id = tokenizer.pad_token_id  # decoder classifiers look for the last real token
    if model.freeze is not None:
        freeze(built, model.freeze)
    return _with_known_loss(built, task)


def freeze(model: "PreTrainedModel", config: FreezeConfig) -> None:
    """Take the embeddings or the first blocks out of training."""
    body = model.base_model
    if config.embeddings:
        embeddings = getattr(body, "embeddings", None) or body.get_input_embeddings()
        embeddings.requires_grad_(False)
    if config.layers:
        blocks = transformer_blocks(body)
        if config.layers > len(blocks):
            raise SpecError(
                f"the model has {len(blocks)} blocks, but {config.layers} are to be frozen.",
                path="model.freeze.layers",
            )
        for block in blocks[: config.layers]:
            block.requires_grad_(False)


def transformer_blocks(body: "nn.Module") -> "nn.ModuleList":
    """The stack of blocks: the module list that holds most parameters."""
    from torch import nn

    stacks = [module for module in body.modules() if isinstance(module, nn.ModuleList)]
    if not stacks:
        raise SpecError("this model has no stack of blocks to freeze.", path="model.freeze.layers")
    return max(stacks, key=lambda stack: sum(weight.numel() for weight in stack.parameters()))


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
    if not {"max_position_embeddings", "n_positions"} & set(model.config):
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
    if task.name == "causal_lm" and model.loss_type is None:
        model.loss_type = "ForCausalLM"
    return model

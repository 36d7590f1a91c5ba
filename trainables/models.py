"""From a model configuration to a model: from scratch or pretrained, with frozen parts. Knows no training."""

from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import FreezeConfig, ModelConfig, TaskName
from trainables.data.card import DataCard
from trainables.places import resolve_pretrained

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def build_model(
    task: TaskName,
    model: ModelConfig,
    *,
    card: DataCard,
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
) -> "PreTrainedModel":
    """A model for `task` on the CPU. Random weights come from torch's global generator: seed it first."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto_class = {
        "causal_lm": AutoModelForCausalLM,
        "sequence_classification": AutoModelForSequenceClassification,
    }[task]
    head = _labels(card) if task == "sequence_classification" else {}
    if model.architecture is not None:
        config = _scratch_config(model, tokenizer=tokenizer, max_length=max_length, head=head)
        return auto_class.from_config(config)
    built = auto_class.from_pretrained(
        resolve_pretrained(str(model.pretrained)), trust_remote_code=model.trust_remote_code, **head
    )
    if built.config.pad_token_id is None:
        built.config.pad_token_id = tokenizer.pad_token_id  # decoder classifiers look for the last real token
    if model.freeze is not None:
        freeze(built, model.freeze)
    return built


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


def _labels(card: DataCard) -> dict[str, Any]:
    names = list(card.labels)
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}

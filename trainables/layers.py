"""The layers of a model from the bottom up: embeddings, blocks, and what lies above them. Changes nothing.

One numbering serves freezing, gradual unfreezing and learning rates by layer: 0 for the embeddings, 1 for the first
block, up to `Layers.top` for the head. The blocks of a decoder lie above those of its encoder, whose output they read:
with two of each, block 3 is the decoder's first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

# Parts of an embedding that are called otherwise, such as GPT-2's.
_EMBEDDING_NAMES = {"wte", "wpe", "shared"}


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The depth of each trainable thing of one model."""

    num_blocks: int
    """Blocks of the model; 0 when it has none."""
    depths: dict[str, int]
    """Parameter name -> depth."""

    @property
    def top(self) -> int:
        """The depth of the head and of all else that lies above the blocks."""
        return self.num_blocks + 1


def layers_of(model: "nn.Module") -> Layers:
    """The depths of all parameters of `model`, an adapter around it included.

    A weight that head and embeddings share belongs to the embeddings. What an encoder has above its blocks, such as a
    last norm, has the depth of its last block: what freezes all of them freezes the encoder.
    """
    stacks = block_stacks(model)
    depth_of: dict[int, int] = {}
    num_blocks = 0
    for stack in stacks:
        for depth, block in enumerate(stack.blocks, start=num_blocks + 1):
            depth_of |= {id(parameter): depth for parameter in block.parameters()}
        num_blocks += len(stack.blocks)
        if stack is not stacks[-1]:
            depth_of = {id(parameter): num_blocks for parameter in stack.part.parameters()} | depth_of
    in_embeddings = {id(parameter) for parameter in embedding_parameters(model)}
    depths = {
        name: 0 if id(parameter) in in_embeddings else depth_of.get(id(parameter), num_blocks + 1)
        for name, parameter in model.named_parameters()
    }
    return Layers(num_blocks=num_blocks, depths=depths)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Blocks that follow each other."""

    part: "nn.Module"
    """What they are the stack of: an encoder, a decoder, or the model."""
    blocks: "nn.ModuleList"
    """The module list of `part` that holds most parameters."""
    reads_other: bool = False
    """Whether each block attends to the output of another stack too."""


def block_stacks(model: "nn.Module") -> list[Stack]:
    """The stack of blocks, or an encoder's and above it a decoder's; none when the model has no blocks."""
    from torch import nn

    parts = _encoder_and_decoder(model)
    stacks = []
    for part in parts or [model]:
        lists = [module for module in part.modules() if isinstance(module, nn.ModuleList) and len(module)]
        if lists:
            blocks = max(lists, key=lambda stack: sum(weight.numel() for weight in stack.parameters()))
            stacks.append(Stack(part=part, blocks=blocks, reads_other=bool(parts) and part is parts[-1]))
    return stacks


def _encoder_and_decoder(model: Any) -> "list[nn.Module]":
    """Both, or nothing for a model that is not made of them, such as the encoder of a T5 that labels tokens."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return []
    encoder, decoder = model.get_encoder(), model.get_decoder()
    # transformers gives the model itself for a part that it does not have
    whole = (model, model.base_model)
    return [] if encoder is decoder or encoder in whole or decoder in whole else [encoder, decoder]


def embedding_parameters(model: "nn.Module") -> "Iterator[nn.Parameter]":
    """Parameters below the blocks: of tokens, positions and types, their norms and projections."""
    in_blocks = {id(parameter) for stack in block_stacks(model) for parameter in stack.blocks.parameters()}
    inputs = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    in_inputs = {id(parameter) for parameter in inputs.parameters()} if inputs is not None else set()
    for name, parameter in model.named_parameters():
        named_so = any("embed" in part or part in _EMBEDDING_NAMES for part in name.split("."))
        if id(parameter) in in_inputs or (named_so and id(parameter) not in in_blocks):
            yield parameter


def head_modules(model: "PreTrainedModel") -> list[str]:
    """Names of the modules above the model's body that hold weights, such as `classifier`."""
    return [
        name
        for name, module in model.named_children()
        if module is not model.base_model and any(True for _ in module.parameters())
    ]

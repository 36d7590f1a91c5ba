"""The layers of a model from the bottom up: embeddings, blocks, and what lies above them. Changes nothing.

One numbering serves freezing, gradual unfreezing and learning rates by layer: 0 for the embeddings, 1 for the first
block, up to `Layers.top` for the head.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spaces.errors import SpecError

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

    A weight that head and embeddings share belongs to the embeddings.
    """
    block_of = {
        id(parameter): depth for depth, block in enumerate(_blocks(model), start=1) for parameter in block.parameters()
    }
    num_blocks = max(block_of.values(), default=0)
    in_embeddings = {id(parameter) for parameter in embedding_parameters(model)}
    depths = {
        name: 0 if id(parameter) in in_embeddings else block_of.get(id(parameter), num_blocks + 1)
        for name, parameter in model.named_parameters()
    }
    return Layers(num_blocks=num_blocks, depths=depths)


def transformer_blocks(body: "nn.Module") -> "nn.ModuleList":
    """The stack of blocks: the module list that holds most parameters.

    Raises:
        SpecError: there is none.
    """
    blocks = _blocks(body)
    if not len(blocks):
        raise SpecError("this model has no stack of blocks.")
    return blocks


def embedding_parameters(model: "nn.Module") -> "Iterator[nn.Parameter]":
    """Parameters below the blocks: of tokens, positions and types, their norms and projections."""
    in_blocks = {id(parameter) for block in _blocks(model) for parameter in block.parameters()}
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


def _blocks(model: "nn.Module") -> "nn.ModuleList":
    from torch import nn

    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(stacks, key=lambda stack: sum(weight.numel() for weight in stack.parameters()), default=nn.ModuleList())

"""How the random weights of a model from scratch are drawn. Knows no data and no training.

Matrices of linear and recurrent layers are drawn anew; `scaled` draws embeddings too. Biases, norms and all else stay
as the architecture sets them.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from spaces.errors import SpecError
from trainables.huggingface import RESIDUAL_OUTPUTS
from trainables.layers import block_stacks
from trainables.model_sections import InitializationConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def initialize(model: "PreTrainedModel", config: InitializationConfig) -> None:
    """Draw the weights of `model` as `config` says, from torch's global generator.

    Raises:
        SpecError: `scaled`, and the model has no blocks with layers that are known to write into a residual stream.
    """
    if config.scheme == "default":
        return
    if config.scheme == "scaled":
        _scale(model, std=config.std)
        return
    output = model.get_output_embeddings()
    for matrix, num_inputs, num_outputs in _matrices(model):
        if output is not None and matrix is output.weight and model.config.tie_word_embeddings:
            continue  # it is the embedding: a look-up, which has no inputs to be counted
        variance = 2 / (num_inputs + num_outputs) if config.scheme == "xavier" else 2 / num_inputs
        nn.init.normal_(matrix, std=config.gain * math.sqrt(variance))


def _scale(model: "PreTrainedModel", *, std: float) -> None:
    spread: dict[int, float] = {}
    for stack in block_stacks(model):
        # Radford et al. 2019: each block adds to the stream twice, and the sum should not grow with depth. A block of a
        # decoder that reads an encoder adds a third time. Either stack has a stream of its own.
        num_sums = (3 if stack.reads_other else 2) * len(stack.blocks)
        for name, module in stack.blocks.named_modules():
            if any(f".{name}".endswith(f".{known}") for known in RESIDUAL_OUTPUTS):
                spread[id(module)] = std / math.sqrt(num_sums)
    if not spread:
        raise SpecError(
            "it is not known which layers of this architecture write into the residual stream, so they cannot be "
            "scaled: use `default`, `xavier` or `he`.",
            path="model.initialization.scheme",
        )
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D):
            nn.init.normal_(module.weight, std=spread.get(id(module), std))
        elif isinstance(module, nn.Embedding) and module.weight.requires_grad:  # those of Marian are sines
            nn.init.normal_(module.weight, std=std)
            if module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])


def _matrices(model: nn.Module) -> Iterator[tuple[torch.Tensor, int, int]]:
    """Each weight matrix with its inputs and outputs; each gate of a recurrent layer by itself."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            yield module.weight, module.in_features, module.out_features
        elif isinstance(module, Conv1D):
            yield module.weight, module.nx, module.nf
        elif isinstance(module, nn.RNNBase):
            for name, weight in module.named_parameters():
                if name.startswith("weight"):
                    for gate in weight.chunk(weight.shape[0] // module.hidden_size):
                        yield gate, gate.shape[1], gate.shape[0]

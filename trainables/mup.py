"""muP: how initial weights and learning rates of a model from scratch change with its width. Knows no training loop.

All of it is in the weights and in the optimizer's groups. Where the paper multiplies logits by 1/width and attention by
1/head width, the factor goes into the weights right before, their start and their learning rate: for Adam, which looks
at no scale of a gradient, that is the same training (Yang et al. 2022, arXiv 2203.03466, Lemma J.1). So a checkpoint is
a plain model of transformers. What grows is seen by comparing shapes with those of the base model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from trainables.parametrization import NAMES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ATTRIBUTE = "_width_factors"


@dataclass(frozen=True, kw_only=True, slots=True)
class WidthFactors:
    """What one parameter differs in from that of the base model."""

    start: float = 1.0
    """Its initial values are multiplied by this."""
    rate: float = 1.0
    """Its learning rate is multiplied by this."""

    def times(self, factor: float) -> "WidthFactors":
        """With what it computes multiplied by `factor`, now and after any training by Adam."""
        return WidthFactors(start=self.start * factor, rate=self.rate * factor)


def parametrize(model: "PreTrainedModel", base_config: Any) -> None:
    """Scale the fresh weights of `model` in place, and note on it how fast each learns.

    Args:
        model: From scratch, its weights drawn as always.
        base_config: The configuration of the base model, for which nothing changes.
    """
    with torch.device("meta"):
        base = type(model)(base_config)
    factors = width_factors(model, base)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if (start := factors[name].start) != 1:
                parameter.mul_(start)
    setattr(model, _ATTRIBUTE, factors)


def width_factors(model: "PreTrainedModel", base: "PreTrainedModel") -> dict[str, WidthFactors]:
    """Parameter name -> what differs from `base`, a model that is narrower or wider."""
    base_shapes = {name: parameter.shape for name, parameter in base.named_parameters()}
    inputs_first = _inputs_first(model)
    names = NAMES[model.config.model_type]
    head_factor = math.sqrt(_head_width(base) / _head_width(model))
    factors = {}
    for name, parameter in model.named_parameters():
        growth = [own / other for own, other in zip(parameter.shape, base_shapes[name], strict=True)]
        found = WidthFactors()
        if id(parameter) in inputs_first:
            growth_in, growth_out = growth if inputs_first[id(parameter)] else reversed(growth)
            found = _of_matrix(growth_in, growth_out)
        if names.query is not None and f".{name.rpartition('.')[0]}".endswith(f".{names.query}"):
            found = found.times(head_factor)  # attention by 1/d instead of 1/sqrt(d)
        factors[name] = found
    if _output_is_embedding(model):
        # An embedding stays as it is, so the norm below the output layer brings the 1/width.
        width_growth = model.config.hidden_size / base.config.hidden_size
        for name in factors:
            if f".{name.rpartition('.')[0]}".endswith(f".{names.last_norm}"):
                factors[name] = factors[name].times(1 / width_growth)
    return factors


def split_by_width(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Split each parameter group into one a learning rate, where `model` was parametrized; else nothing changes.

    Weights that learn at the full rate come first: that is the rate that the Trainer logs.
    """
    factors: Mapping[str, WidthFactors] | None = getattr(model, _ATTRIBUTE, None)
    if factors is None:
        return
    rate_of = {id(parameter): factors[name].rate for name, parameter in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        for rate in sorted({rate_of[id(parameter)] for parameter in group["params"]}):
            members = [parameter for parameter in group["params"] if rate_of[id(parameter)] == rate]
            # A step shrinks a weight by rate times decay: that product is the same for all widths.
            changed = {"params": members, "lr": group["lr"] * rate, "weight_decay": group["weight_decay"] / rate}
            groups.append((rate != 1, {**group, **changed}))
    optimizer.param_groups[:] = [group for _, group in sorted(groups, key=lambda pair: pair[0])]


def _of_matrix(growth_in: float, growth_out: float) -> WidthFactors:
    """The factors of a matrix whose inputs and outputs are so many times those of the base model.

    The spectral form of the rule (Yang, Simon and Bernstein 2023, arXiv 2310.17813), which has input, hidden and
    output layers as its cases: the norm of a matrix, and of its change in a step, goes with sqrt(outputs / inputs).
    """
    return WidthFactors(start=min(1.0, math.sqrt(growth_out / growth_in)) / math.sqrt(growth_in), rate=1 / growth_in)


def _inputs_first(model: nn.Module) -> dict[int, bool]:
    """Weight matrix -> whether its first dimension is that of its inputs. Embeddings have tokens as inputs, also when
    they serve as the output layer."""
    found: dict[int, bool] = {}
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            found[id(module.weight)] = True
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D):
            found.setdefault(id(module.weight), isinstance(module, Conv1D))
    return found


def _head_width(model: "PreTrainedModel") -> float:
    config = model.config
    return getattr(config, "head_dim", None) or config.hidden_size / config.num_attention_heads


def _output_is_embedding(model: "PreTrainedModel") -> bool:
    output = model.get_output_embeddings()
    return output is not None and output.weight is model.get_input_embeddings().weight

"""The arithmetic that a model needs for a token of training. Knows no device and no clock."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FORWARD, _TO_INPUTS, _TO_WEIGHTS = 2, 2, 2  # a multiplication and an addition for each, per weight


def flops_per_token(model: "PreTrainedModel", *, length: float) -> float | None:
    """Floating-point operations of one token, forward and backward, in sequences of `length` tokens.

    Six a weight that takes part in a product, and 12 x layers x width x length for attention (PaLM, appendix B:
    arXiv 2204.02311). Embeddings are looked up, not multiplied; an output layer that shares their weights is. Frozen
    weights have no gradient of their own, and pass none on when nothing before them trains. Work that is done twice
    (activation checkpointing) counts once. None where this rule does not hold: encoder-decoders, mixtures of experts.
    """
    config = model.config
    if getattr(config, "is_encoder_decoder", False) or _has_experts(config):
        return None
    layers, width = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    weights, share_with_gradients = _weights(model)
    if layers is None or width is None or getattr(config, "num_attention_heads", None) is None:
        return weights  # recurrent: no attention
    return weights + (4 + 8 * share_with_gradients) * layers * width * length


def _has_experts(config: object) -> bool:
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    return any((getattr(config, name, None) or 0) > 1 for name in names)


def _weights(model: "PreTrainedModel") -> tuple[float, float]:
    """Operations of a token with the weights, and the share of the weights that gradients pass through."""
    from torch import nn

    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    output = model.get_output_embeddings()
    if output is not None and getattr(output, "weight", None) is not None:
        looked_up.discard(id(output.weight))
    operations, multiplied, with_gradients, something_trains = 0.0, 0, 0, False
    # In the order of the forward pass: gradients reach no further back than the first weight that trains.
    for weight in model.parameters():
        something_trains = something_trains or weight.requires_grad
        if id(weight) in looked_up or weight.dim() < 2:
            continue
        multiplied += weight.numel()
        operations += _FORWARD * weight.numel()
        if something_trains:
            with_gradients += weight.numel()
            operations += _TO_INPUTS * weight.numel()
        if weight.requires_grad:
            operations += _TO_WEIGHTS * weight.numel()
    return operations, with_gradients / max(multiplied, 1)

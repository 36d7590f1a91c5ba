"""Discriminative learning rates: lower layers learn slower. Knows optimizers by their parameter groups alone."""

from typing import TYPE_CHECKING

from trainables.layers import layers_of

if TYPE_CHECKING:
    import torch
    from torch import nn


def split_by_layer(optimizer: "torch.optim.Optimizer", model: "nn.Module", *, decay: float) -> None:
    """Split each parameter group into one a layer, its rate `decay` times that of the layer above.

    The head comes first and has the full rate: the rate that the Trainer logs is that of the first group.
    """
    layers = layers_of(model)
    depth_of = {id(parameter): layers.depths[name] for name, parameter in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        for depth in range(layers.top, -1, -1):
            members = [parameter for parameter in group["params"] if depth_of[id(parameter)] == depth]
            if members:
                rate = group["lr"] * decay ** (layers.top - depth)
                groups.append((-depth, {**group, "params": members, "lr": rate}))
    # Sorting is stable: within a layer, weights that decay stay before those that do not.
    optimizer.param_groups[:] = [group for _, group in sorted(groups, key=lambda pair: pair[0])]

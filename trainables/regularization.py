"""Penalties on weights that are part of the training loss. The evaluation loss never has them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class L1Penalty:
    """`strength` times the sum of the absolute values of all weights that train; biases and norms are left out."""

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self._weights: list[Any] | None = None

    def __call__(self, trainer: Any, model: Any) -> "Tensor":
        """The penalty as a part of a loss."""
        import torch

        if self._weights is None:
            # What decays is what may become sparse: transformers leaves out biases and every kind of norm.
            names = set(trainer.get_decay_parameter_names(trainer.model))
            parameters = trainer.model.named_parameters()
            self._weights = [weight for name, weight in parameters if name in names and weight.requires_grad]
        return self.strength * torch.stack([weight.abs().sum() for weight in self._weights]).sum()

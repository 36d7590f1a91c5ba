"""Which weights train, and from when on: frozen parts, gradual unfreezing. Knows no optimizer and no data.

Gradual unfreezing follows Howard and Ruder, "Universal Language Model Fine-tuning" (2018).
"""

import math
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spaces.errors import SpecError
from trainables.layers import embedding_parameters, layers_of
from trainables.model_sections import FreezeConfig, UnfreezeConfig

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

_ALMOST = 1e-6
"""Epochs are sums of fractions: the end of one may be a little less than a whole number."""


def freeze(model: "PreTrainedModel", config: FreezeConfig, *, new: frozenset[str] = frozenset()) -> None:
    """Take weights out of training.

    `new` are the weights that no checkpoint brought: frozen at random they would only do harm, so they train always.
    """
    if config.all_but_head:
        _freeze_body(model, new=new)
    if config.embeddings:
        for parameter in embedding_parameters(model):
            parameter.requires_grad_(False)
    if config.layers:
        layers = layers_of(model)
        if config.layers > layers.num_blocks:
            raise SpecError(
                f"the model has {layers.num_blocks} blocks, but {config.layers} are to be frozen.",
                path="model.freeze.layers",
            )
        for name, parameter in model.named_parameters():
            if 1 <= layers.depths[name] <= config.layers:
                parameter.requires_grad_(False)


def _freeze_body(model: "PreTrainedModel", *, new: frozenset[str]) -> None:
    output = model.get_output_embeddings()
    # A language model's output layer may be its embeddings as well: then these are the head.
    kept = {id(parameter) for parameter in output.parameters()} if output is not None else set()
    body = {id(parameter) for parameter in model.base_model.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) in body and id(parameter) not in kept and name not in new:
            parameter.requires_grad_(False)


class GradualUnfreezing(TrainerCallback):
    """Lets blocks join the training from the top down.

    All weights are in the optimizer from the start; one that is frozen has no gradient, and optimizers pass over it.
    The stage follows from the step alone, so a resumed trial is at the right one.
    """

    def __init__(self, model: "nn.Module", config: UnfreezeConfig) -> None:
        layers = layers_of(model)
        self._config = config
        # What `freeze` took out stays out.
        self._by_depth = [
            (layers.depths[name], parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
        ]
        self._num_blocks = layers.num_blocks
        # Where the head is the embeddings, as in BART, nothing lies above the blocks: the topmost one is there at once.
        self._highest = max((depth for depth, _ in self._by_depth), default=layers.top)
        self._lowest: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freeze what has not joined yet."""
        self._lowest = None
        self._apply(state)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the next blocks join."""
        self._apply(state)

    def _apply(self, state: TrainerState) -> None:
        done = float(state.epoch or 0.0) if self._config.unit == "epochs" else float(state.global_step)
        lowest = min(self._highest, lowest_depth(done, self._config, num_blocks=self._num_blocks))
        if lowest == self._lowest:
            return
        self._lowest = lowest
        for depth, parameter in self._by_depth:
            parameter.requires_grad_(depth >= lowest)


def lowest_depth(done: float, config: UnfreezeConfig, *, num_blocks: int) -> int:
    """The lowest depth that trains after `done` units: blocks first, and the embeddings (0) when all blocks have
    joined."""
    times = math.floor(done / config.every + _ALMOST)
    num_joined = times * config.blocks
    if num_joined <= num_blocks:
        return num_blocks + 1 - num_joined
    # The last blocks may be fewer than `blocks`; the embeddings join one time after them.
    return 0 if times > math.ceil(num_blocks / config.blocks) else 1

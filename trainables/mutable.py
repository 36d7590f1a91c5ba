"""Which paths of a trial document may change in the middle of training, and why the others may not. Imports no torch.

A trial that takes over another one's checkpoint goes on with its weights, its optimizer state and its place in the
data. What is changed must leave all three with their meaning.
"""

from collections.abc import Iterable
from typing import Any

from spaces.errors import SpecError

MUTABLE = (
    "training.learning_rate",
    "training.weight_decay",
    "training.adam_beta1",
    "training.adam_beta2",
    "training.adam_epsilon",
    "training.max_grad_norm",
    "training.label_smoothing_factor",
    "training.neftune_noise_alpha",
    "regularization.l1",
    "model.layer_decay",
    "model.adapter.dropout",
    "data.mask_probability",
    "preference.beta",
    "preference.label_smoothing",
    "preference.margin",
    "preference.sft_weight",
)
"""Besides them: every dropout in `model.config`, and all of a user's own `config`."""
_DROPOUTS = ("dropout", "pdrop", "drop_rate", "layerdrop")
_REASONS = {
    "training.optim": "the state of one optimizer means nothing to another",
    "training.lr_scheduler": "a schedule goes on from where its checkpoint left it",
    "training.warmup": "a schedule goes on from where its checkpoint left it",
    "training.per_device_train_batch_size": "the place in the data is counted in batches",
    "training.gradient_accumulation_steps": "the place in the data is counted in batches",
    "training.num_train_epochs": "all members must have the same length to be compared",
    "training.max_steps": "all members must have the same length to be compared",
    "training.seed": "a checkpoint brings its own random state",
    "training.data_seed": "the place in the data means other examples in another order",
    "training": "nobody knows whether weights, optimizer and place in the data keep their meaning",
    "model": "the weights would not fit, or mean something else",
    "data": "the weights have seen other tokens, and the place in the data would be another",
    "stopping": "it says when a trial ends, and changes no weights",
    "regularization": "nobody knows whether weights keep their meaning",
    "prompt": "a model that is not trained has nothing to hand over",
    "preference": "the loss would be another one",
}
_ADAPTIVE_SCHEDULES = ("reduce_lr_on_plateau", "greedy")


def is_mutable(path: str) -> bool:
    """Whether `path` may change in the middle of training."""
    if path in MUTABLE or path.startswith("config."):
        return True
    return path.startswith("model.config.") and any(word in path.rpartition(".")[2] for word in _DROPOUTS)


def check_mutable(path: str) -> None:
    """Raise SpecError, with the reason, when `path` may not change in the middle of training."""
    if not is_mutable(path):
        reason = next((words for start, words in _REASONS.items() if path.startswith(start)), "nothing is known of it")
        raise SpecError(
            f"`{path}` cannot change in the middle of training: {reason}. What can: {', '.join(MUTABLE)} and the "
            "dropouts in `model.config`."
        )


def check_schedules(names: Iterable[Any], mutated: Iterable[str]) -> None:
    """Raise SpecError when a learning rate is to change that its schedule holds by itself."""
    if not {"training.learning_rate", "model.layer_decay"} & set(mutated):
        return
    for name in names:
        if name in _ADAPTIVE_SCHEDULES:
            raise SpecError(
                f"`lr_scheduler_type: {name}` sets the learning rate by what it has seen, so that a new one would have "
                "no effect. Use a schedule that follows the steps, such as `linear`, `cosine` or `constant`.",
                path="training.lr_scheduler_type",
            )

"""What a batch of pairs costs: the losses of preference tuning, and the reference they are measured against.

Tensors carry their shape: B pairs, 2 answers (the chosen one first), T tokens, V tokens of the vocabulary.
"""

from collections.abc import Callable, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from trainables.config import TrialConfig
from trainables.task_sections import PreferenceConfig, PreferenceLoss
from trainables.tasks.padding import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datasets import Dataset
    from torch import Tensor

# Its own, whatever batch the trial trains with: else the reference of two trials would differ in its last digits.
_REFERENCE_BATCH = 16
_WITHOUT_REFERENCE: set[PreferenceLoss] = {"simpo"}
_MEANS: set[PreferenceLoss] = {"ipo", "simpo"}


def batch_loss(
    model: Any, inputs: Mapping[str, Any], *, trial: TrialConfig, num_items_in_batch: Any
) -> "tuple[Tensor, dict[str, Tensor]]":
    """The mean loss of the pairs, and their rewards (B, 2). `num_items_in_batch` are the pairs of an optimiser step."""
    preference = trial.preference
    assert preference is not None, "a trial of this task has the section"
    sums_B2, counts_B2 = answer_log_probabilities(model, inputs)
    scores_B2 = sums_B2 / counts_B2 if preference.loss in _MEANS else sums_B2
    if "reference" in inputs:
        scores_B2 = scores_B2 - inputs["reference"]
    margins_B = scores_B2[:, 0] - scores_B2[:, 1]
    losses_B = _LOSSES[preference.loss](margins_B, preference)
    if preference.sft_weight:
        losses_B = losses_B - preference.sft_weight * sums_B2[:, 0] / counts_B2[:, 0]
    counted_B = inputs["labels"] != IGNORED_LABEL  # a rank may be given a pair only to have one
    total = (losses_B * counted_B).sum()
    count = counted_B.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    return total / count, {"rewards": (preference.beta * scores_B2).detach()}


def _sigmoid(margins: "Tensor", preference: PreferenceConfig) -> "Tensor":
    """Rafailov et al. 2023, equation 7; with label smoothing the conservative form of Mitchell 2023."""
    from torch.nn.functional import logsigmoid

    scaled, smoothing = preference.beta * margins, preference.label_smoothing
    return -(1 - smoothing) * logsigmoid(scaled) - smoothing * logsigmoid(-scaled)


def _hinge(margins: "Tensor", preference: PreferenceConfig) -> "Tensor":
    """Zhao et al. 2023 (SLiC), on the margin of DPO."""
    return (1 - preference.beta * margins).clamp(min=0)


def _ipo(margins: "Tensor", preference: PreferenceConfig) -> "Tensor":
    """Azar et al. 2023, equation 17; the log-probabilities are means over tokens, as its authors correct."""
    return (margins - 1 / (2 * preference.beta)) ** 2


def _simpo(margins: "Tensor", preference: PreferenceConfig) -> "Tensor":
    """Meng et al. 2024, equation 6."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(preference.beta * margins - preference.margin)


_LOSSES: dict[PreferenceLoss, Callable[["Tensor", PreferenceConfig], "Tensor"]] = {
    "sigmoid": _sigmoid,
    "hinge": _hinge,
    "ipo": _ipo,
    "simpo": _simpo,
}


def answer_log_probabilities(model: Any, inputs: Mapping[str, Any]) -> "tuple[Tensor, Tensor]":
    """Log-probability of each answer (B, 2), and its number of tokens (B, 2)."""
    from torch.nn.functional import cross_entropy

    num_pairs, _, length = inputs["input_ids"].shape
    ids_BT, mask_BT, labels_BT = (
        inputs[name].reshape(2 * num_pairs, length) for name in ("input_ids", "attention_mask", "answers")
    )
    # Behind learned tokens of an adapter; the last token predicts nothing.
    logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT)["logits"][:, -length:-1]
    targets_BT = labels_BT[:, 1:]
    counts_BT = targets_BT != IGNORED_LABEL
    # Only what counts goes through the softmax: prompts and padding may be most of a batch.
    nats = cross_entropy(logits_BTV[counts_BT].float(), targets_BT[counts_BT], reduction="none")
    sums_B = nats.new_zeros(2 * num_pairs).index_add(0, counts_BT.nonzero()[:, 0], -nats)
    return sums_B.reshape(num_pairs, 2), counts_BT.sum(dim=1).clamp(min=1).reshape(num_pairs, 2)


def with_reference(examples: "Dataset", *, model: Any, trial: TrialConfig, collate: Any) -> "Dataset":
    """`examples` with a column `reference`: the scores of both answers before the first step.

    They come from the model as the trial builds it, also when it goes on from a checkpoint; with an adapter from its
    base. Every trial computes them once: no second model has to lie in memory.
    """
    import torch

    preference = trial.preference
    assert preference is not None, "a trial of this task has the section"
    if preference.loss in _WITHOUT_REFERENCE:
        return examples
    scores: list[list[float]] = []
    with _as_it_started(model), torch.no_grad():
        for start in range(0, len(examples), _REFERENCE_BATCH):
            rows = [examples[place] for place in range(start, min(start + _REFERENCE_BATCH, len(examples)))]
            batch = {name: value.to(model.device) for name, value in collate(rows).items()}
            sums_B2, counts_B2 = answer_log_probabilities(model, batch)
            scores += (sums_B2 / counts_B2 if preference.loss in _MEANS else sums_B2).tolist()
    return examples.add_column("reference", scores)


@contextmanager
def _as_it_started(model: Any) -> "Iterator[None]":
    """Without dropout, and without what an adapter adds."""
    was_training = model.training
    model.eval()
    try:
        with model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext():
            yield
    finally:
        model.train(was_training)

"""What a task is: all that differs between learning to classify and learning to speak. Names no task of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainables.config import DataConfig, TaskName, TrialConfig
from trainables.data.card import BaselineFunction, DataCard
from trainables.data.columns import Column

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trainables.data.encode import EncodedPart


class EncodeFunction(Protocol):
    """Makes the examples of one part out of its documents, in an Arrow file."""

    def __call__(  # the class says it
        self,
        documents: "Dataset",
        file: Path,
        *,
        tokenizer: "PreTrainedTokenizerBase",
        data: DataConfig,
        labels: Sequence[str],
    ) -> "EncodedPart": ...


class DerivedMetrics(Protocol):
    """Metrics that follow from others."""

    def __call__(self, metrics: dict[str, float], *, card: DataCard) -> dict[str, float]: ...


class CollatorFactory(Protocol):
    """Makes the function from a list of examples to a batch of tensors."""

    def __call__(
        self, tokenizer: "PreTrainedTokenizerBase", data: DataConfig, *, model: "PreTrainedModel", is_training: bool
    ) -> Any: ...


def nothing_more(metrics: dict[str, float], *, card: DataCard) -> dict[str, float]:
    """No metric follows from others."""
    return {}


def no_fields(*_: Any) -> dict[str, Any]:
    """The model's configuration follows from the spec alone."""
    return {}


def as_it_is(*_: Any) -> None:
    """The tokenizer is complete."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What a model said in an evaluation."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """By name, without prefix."""
    samples: tuple[Mapping[str, str], ...] = ()
    """Texts for human review: `prompt`, `expected`, `generated`."""


class MeasureGenerated(Protocol):
    """Lets the model speak, and measures what it says."""

    def __call__(
        self,
        model: Any,
        tokenizer: "PreTrainedTokenizerBase",
        validation: "Dataset",
        data: DataConfig,
        *,
        batch_size: int,
    ) -> Generated: ...


class BatchLoss(Protocol):
    """The loss of a whole batch, for what more goes into than outputs and labels."""

    def __call__(
        self, model: Any, inputs: Mapping[str, Any], *, trial: TrialConfig, num_items_in_batch: Any
    ) -> "tuple[Tensor, dict[str, Tensor]]": ...


class Annotate(Protocol):
    """Adds to examples what the model thinks of them before it is trained."""

    def __call__(self, examples: "Dataset", *, model: Any, trial: TrialConfig, collate: Any) -> "Dataset": ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of learning. Its functions import torch and transformers when called, never before."""

    name: TaskName
    """As a spec names it."""
    auto_class: str
    """The transformers class that loads a model with the task's head."""
    head: str
    """The head's name in transformers' auto mappings, such as `CAUSAL_LM`."""
    metrics: Callable[[DataConfig], tuple[str, ...]]
    """What each evaluation reports. The first is the default objective."""
    columns: Callable[[DataConfig], tuple[Column, ...]]
    """What is read from the source. Tokenizers are trained on all of its text."""
    encode: EncodeFunction
    """Documents -> examples."""
    baseline: BaselineFunction
    """What guessing scores."""
    collator: CollatorFactory
    """Examples -> batch."""
    options: tuple[str, ...] = ()
    """Keys of `data` that only this and few other tasks have."""
    encoding_options: tuple[str, ...] = ()
    """Those of them that change examples."""
    marks_ends: bool = False
    """Whether a tokenizer trained for it puts [CLS] and [SEP] around each text."""
    needs_mask_token: bool = False
    """Whether the tokenizer must have a token for what is hidden."""
    head_fields: Callable[[DataCard, DataConfig], Mapping[str, Any]] = no_fields
    """Fields of the model's configuration that follow from the data."""
    complete_tokenizer: Callable[["PreTrainedTokenizerBase", DataConfig], None] = as_it_is
    """Adds to the tokenizer what the task needs and its checkpoints should bring, such as a chat template."""
    trains: bool = True
    """Whether the model is trained, or only asked (trainables/prompting.py)."""
    scratch_fields: Callable[["PreTrainedTokenizerBase"], Mapping[str, Any]] = no_fields
    """Fields of a new model's configuration that follow from the tokenizer."""
    compute_loss: Callable[..., Any] | None = None
    """(outputs, labels, num_items_in_batch) -> loss. None: the model's own."""
    batch_loss: BatchLoss | None = None
    """Instead of `compute_loss`: runs the model itself, and gives the loss and what is collected for `compute_metrics`.
    A batch's `labels` are one for each example, and its other tensors have the examples as first dimension."""
    annotate: Annotate | None = None
    """Adds columns to the examples before the first step. Draws no random number."""
    compute_metrics: Callable[..., dict[str, float]] | None = None
    """(EvalPrediction, card=) -> metrics without prefix. None: logits are never collected, the loss says it all."""
    reduce_logits: Callable[[Any, Any], Any] | None = None
    """(logits, labels) -> what is collected for `compute_metrics` instead of the logits."""
    measure_generated: MeasureGenerated | None = None
    """Metrics and samples of what the model says."""
    derived_metrics: DerivedMetrics = nothing_more
    """Metrics that follow from the others."""

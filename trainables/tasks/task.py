"""What a task is: all that differs between learning to classify and learning to speak. Names no task of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainables.config import DataConfig, TaskName
from trainables.data.card import BaselineFunction, DataCard
from trainables.data.columns import Column

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

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

    def __call__(self, tokenizer: "PreTrainedTokenizerBase", *, max_length: int) -> Any: ...


def nothing_more(metrics: dict[str, float], *, card: DataCard) -> dict[str, float]:
    """No metric follows from others."""
    return {}


def no_fields(card: DataCard) -> dict[str, Any]:
    """The head follows from the architecture alone."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of learning. Its functions import torch and transformers when called, never before."""

    name: TaskName
    """As a spec names it."""
    auto_class: str
    """The transformers class that loads a model with the task's head."""
    head: str
    """The head's name in transformers' auto mappings, such as `CAUSAL_LM`."""
    metrics: tuple[str, ...]
    """What each evaluation reports. The first is the default objective."""
    columns: Callable[[DataConfig], tuple[Column, ...]]
    """What is read from the source. The first column is the text that tokenizers are trained on."""
    encode: EncodeFunction
    """Documents -> examples."""
    baseline: BaselineFunction
    """What guessing scores."""
    collator: CollatorFactory
    """Examples -> batch."""
    marks_ends: bool = False
    """Whether a tokenizer trained for it puts [CLS] and [SEP] around each text."""
    head_fields: Callable[[DataCard], Mapping[str, Any]] = no_fields
    """Fields of the model's configuration that follow from the data."""
    compute_loss: Callable[..., Any] | None = None
    """(outputs, labels, num_items_in_batch) -> loss. None: the model's own."""
    compute_metrics: Callable[..., dict[str, float]] | None = None
    """EvalPrediction -> metrics without prefix. None: logits are never collected, the loss says it all."""
    derived_metrics: DerivedMetrics = nothing_more
    """Metrics that follow from the others."""

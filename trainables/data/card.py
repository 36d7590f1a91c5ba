"""What is in prepared data, in numbers, and what guessing without a model scores on it. Reads no text.

Baselines are fitted on train alone; validation only measures them.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.config import TaskName
from trainables.metrics import EVAL_LOSS, bits_per_byte, perplexity

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from trainables.data.encode import EncodedPart


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """The numbers of one prepared data configuration. Mappings go from part (`train`, ...) to a number."""

    fingerprint: str
    """Names the data configuration; equal fingerprints are equal tokens."""
    task: TaskName
    """What the examples are for."""
    source: str
    """The source in a few words."""
    documents: Mapping[str, int]
    """Documents of each part."""
    examples: Mapping[str, int]
    """Rows a model sees: texts for classification, blocks for language models."""
    tokens: Mapping[str, int]
    """Tokens in those examples, special tokens included."""
    text_bytes: Mapping[str, int]
    """UTF-8 bytes of the documents."""
    vocab_size: int
    """Entries of the tokenizer, special and added tokens included."""
    max_length: int
    """The most tokens of an example."""
    tokens_per_byte: float
    """Tokens of the validation documents per byte of their text: turns nats per token into bits per byte."""
    labels: tuple[str, ...] = ()
    """Names of the labels; a label's id is its position. Empty for language models."""
    label_counts: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    """Part -> label -> examples. Empty for language models."""
    majority_accuracy: float | None = None
    """Validation accuracy of always answering train's most frequent label."""
    unigram_loss: float | None = None
    """Validation loss, in nats per predicted token, of train's token frequencies (each counted once more)."""
    unigram_bits_per_byte: float | None = None
    """The same in bits per byte of text."""

    @property
    def baseline(self) -> dict[str, float]:
        """What guessing scores, by metric name."""
        if self.majority_accuracy is not None:
            return {"eval/accuracy": self.majority_accuracy}
        if self.unigram_loss is None or self.unigram_bits_per_byte is None:
            return {}
        return {
            EVAL_LOSS: self.unigram_loss,
            "eval/perplexity": perplexity(self.unigram_loss),
            "eval/bits_per_byte": self.unigram_bits_per_byte,
        }

    @property
    def id2label(self) -> dict[int, str]:
        """Label id -> name."""
        return dict(enumerate(self.labels))

    def to_json(self) -> str:
        """One JSON document that `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "DataCard":
        """The card that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields | {"labels": tuple(fields["labels"])})


def make_card(
    parts: "Mapping[str, EncodedPart]",
    *,
    fingerprint: str,
    task: TaskName,
    source: str,
    vocab_size: int,
    max_length: int,
    labels: tuple[str, ...],
) -> DataCard:
    """Count everything in `parts` and measure the baseline of `task`."""
    validation = parts["validation"]
    tokens_per_byte = validation.num_tokens / validation.text_bytes
    baselines: dict[str, Any] = {}
    if task == "sequence_classification":
        counts = {name: label_counts(part.examples, labels) for name, part in parts.items()}
        baselines = {
            "label_counts": counts,
            "majority_accuracy": majority_accuracy(counts["train"], counts["validation"]),
        }
    else:
        loss = unigram_loss(parts["train"].examples, validation.examples, vocab_size=vocab_size)
        baselines = {
            "unigram_loss": loss,
            "unigram_bits_per_byte": bits_per_byte(loss, tokens_per_byte=tokens_per_byte),
        }
    return DataCard(
        fingerprint=fingerprint,
        task=task,
        source=source,
        documents={name: part.num_documents for name, part in parts.items()},
        examples={name: len(part.examples) for name, part in parts.items()},
        tokens={name: count_tokens(part.examples) for name, part in parts.items()},
        text_bytes={name: part.text_bytes for name, part in parts.items()},
        vocab_size=vocab_size,
        max_length=max_length,
        tokens_per_byte=tokens_per_byte,
        labels=labels,
        **baselines,
    )


def majority_accuracy(train: Mapping[str, int], validation: Mapping[str, int]) -> float:
    """Share of validation that has train's most frequent label (of equals, the first)."""
    answer = max(train, key=lambda label: train[label])
    return validation[answer] / sum(validation.values())


def unigram_loss(train: "Dataset", validation: "Dataset", *, vocab_size: int) -> float:
    """Mean negative log-probability of validation's tokens under train's add-one smoothed frequencies.

    The first token of a block is not counted: no model has to predict it.
    """
    import numpy as np

    seen: np.ndarray = _token_counts(train, vocab_size=vocab_size) + 1
    first: np.ndarray = np.zeros(vocab_size, dtype=np.int64)
    for batch in validation.iter(batch_size=1000):
        np.add.at(first, [block[0] for block in batch["input_ids"]], 1)
    predicted = _token_counts(validation, vocab_size=vocab_size) - first
    if not predicted.sum():
        return math.nan  # a validation block of one token: nothing is predicted
    return float(-(predicted @ np.log(seen / seen.sum())) / predicted.sum())


def label_counts(examples: "Dataset", labels: tuple[str, ...]) -> dict[str, int]:
    """Label name -> number of examples, in the order of ids."""
    import numpy as np

    ids = examples.data.column("labels").to_numpy()
    return dict(zip(labels, np.bincount(ids, minlength=len(labels)).tolist(), strict=True))


def count_tokens(examples: "Dataset") -> int:
    """Tokens in all `input_ids`."""
    return sum(len(chunk.flatten()) for chunk in examples.data.column("input_ids").chunks)


def _token_counts(examples: "Dataset", *, vocab_size: int) -> "np.ndarray":
    import numpy as np

    counts: np.ndarray = np.zeros(vocab_size, dtype=np.int64)
    for chunk in examples.data.column("input_ids").chunks:
        counts += np.bincount(chunk.flatten().to_numpy(), minlength=vocab_size)
    return counts

"""What is in prepared data, in numbers, and what guessing without a model scores on it. Reads no text.

Baselines are fitted on train alone; validation only measures them.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.config import DataConfig, TaskName
from trainables.metrics import EVAL_LOSS, bits_per_byte, perplexity

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
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
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Documents of each part of which nothing to learn is left at `max_length`, where there are any."""
    baseline: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What guessing without a model scores on validation, by metric name. Empty: nothing to compare with."""
    baseline_name: str = ""
    """How it guesses, such as `majority class`."""
    cleaning: tuple[Mapping[str, Any], ...] = ()
    """For each step of `data.clean`, in order: `step`, and how many documents it `removed` and `changed`."""
    leakage: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Held-out part -> what of it nearly stands in train; see `leakage.Leakage`. Empty: nobody looked."""
    augmented: int = 0
    """Changed copies among the training examples; `documents` does not count them."""
    test_tokens_per_byte: float | None = None
    """`tokens_per_byte` of the test documents. None: there are none, or an earlier version has prepared them."""
    test_baseline: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """What guessing scores on test, by metric name."""

    @property
    def id2label(self) -> dict[int, str]:
        """Label id -> name."""
        return dict(enumerate(self.labels))

    def measuring_test(self) -> "DataCard":
        """The card by which metrics of the test split are computed."""
        share = self.test_tokens_per_byte or self.tokens.get("test", 0) / max(self.text_bytes.get("test", 0), 1)
        return dataclasses.replace(self, tokens_per_byte=share, baseline=self.test_baseline)

    def to_json(self) -> str:
        """One JSON document that `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "DataCard":
        """The card that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields | {name: tuple(fields[name]) for name in ("labels", "cleaning") if name in fields})


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What guessing without a model scores."""

    name: str
    """How it guesses."""
    metrics: Mapping[str, float]
    """Its score on validation, by metric name."""


BaselineFunction = Callable[["Mapping[str, EncodedPart]", int, DataConfig], Baseline]
"""(parts, size of the vocabulary, what was asked for) -> what guessing scores."""


def make_card(
    parts: "Mapping[str, EncodedPart]",
    *,
    fingerprint: str,
    task: TaskName,
    source: str,
    vocab_size: int,
    data: DataConfig,
    labels: tuple[str, ...],
    baseline: BaselineFunction,
) -> DataCard:
    """Count everything in `parts` and measure the baseline."""
    validation = parts["validation"]
    guessed = baseline(parts, vocab_size, data)
    test = parts.get("test")
    on_test = baseline({**parts, "validation": test}, vocab_size, data).metrics if test is not None else {}
    return DataCard(
        fingerprint=fingerprint,
        task=task,
        source=source,
        documents={name: part.num_documents for name, part in parts.items()},
        examples={name: len(part.examples) for name, part in parts.items()},
        tokens={name: count_tokens(part.examples) for name, part in parts.items()},
        text_bytes={name: part.text_bytes for name, part in parts.items()},
        vocab_size=vocab_size,
        max_length=data.max_length,
        tokens_per_byte=tokens_per_byte(validation),
        labels=labels,
        label_counts={name: label_counts(part.examples, labels) for name, part in parts.items()} if labels else {},
        dropped={name: part.num_dropped for name, part in parts.items() if part.num_dropped},
        baseline=guessed.metrics,
        baseline_name=guessed.name,
        test_tokens_per_byte=tokens_per_byte(test) if test is not None else None,
        test_baseline=on_test,
    )


def tokens_per_byte(part: "EncodedPart") -> float:
    """Tokens of the documents of `part` per byte of their text."""
    return part.num_tokens / part.text_bytes


def majority_class(parts: "Mapping[str, EncodedPart]", vocab_size: int, data: DataConfig) -> Baseline:
    """Always train's most frequent label."""
    train, validation = (_label_ids(parts[name].examples) for name in ("train", "validation"))
    return Baseline(name="majority class", metrics={"eval/accuracy": majority_accuracy(train, validation)})


def unigram_frequencies(parts: "Mapping[str, EncodedPart]", vocab_size: int, data: DataConfig) -> Baseline:
    """Every token as likely as it is in train, whatever stands before it."""
    validation = parts["validation"]
    loss = unigram_loss(parts["train"].examples, validation.examples, vocab_size=vocab_size)
    metrics = {
        EVAL_LOSS: loss,
        "eval/perplexity": perplexity(loss),
        "eval/bits_per_byte": bits_per_byte(loss, tokens_per_byte=tokens_per_byte(validation)),
    }
    return Baseline(name="unigram frequencies", metrics=metrics if math.isfinite(loss) else {})


def unigram_targets(parts: "Mapping[str, EncodedPart]", vocab_size: int, data: DataConfig) -> Baseline:
    """Every target token as likely as it is in train."""
    import numpy as np

    seen, expected = (
        np.bincount(_label_ids(parts[name].examples), minlength=vocab_size) for name in ("train", "validation")
    )
    loss = float(-(expected @ np.log((seen + 1) / (seen + 1).sum())) / expected.sum())
    return Baseline(name="unigram frequencies", metrics={EVAL_LOSS: loss, "eval/perplexity": perplexity(loss)})


def label_frequencies(parts: "Mapping[str, EncodedPart]", vocab_size: int, data: DataConfig) -> Baseline:
    """Each label with its share of train as the probability (each counted once more, and once more without)."""
    import numpy as np

    train, validation = (np.asarray(parts[name].examples["labels"]) for name in ("train", "validation"))
    shares = (train.sum(axis=0) + 1) / (len(train) + 2)
    loss = -np.mean(validation * np.log(shares) + (1 - validation) * np.log(1 - shares))
    right = np.mean(np.all((shares >= 0.5) == (validation > 0.5), axis=1))
    return Baseline(name="label frequencies", metrics={EVAL_LOSS: float(loss), "eval/accuracy": float(right)})


def mean_number(parts: "Mapping[str, EncodedPart]", vocab_size: int, data: DataConfig) -> Baseline:
    """Always train's mean."""
    import numpy as np

    train, validation = (np.asarray(parts[name].examples["labels"]) for name in ("train", "validation"))
    error = validation - train.mean()
    squared, absolute = float(np.mean(error**2)), float(np.mean(np.abs(error)))
    return Baseline(name="train's mean", metrics={EVAL_LOSS: squared, "eval/mse": squared, "eval/mae": absolute})


def majority_accuracy(train: "np.ndarray", validation: "np.ndarray") -> float:
    """Share of validation's label ids that are train's most frequent one (of equals, the first)."""
    import numpy as np

    return float(np.mean(validation == np.bincount(train).argmax()))


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
    """Label name -> how often it occurs, in the order of ids."""
    import numpy as np
    import pyarrow as pa

    column = examples.data.column("labels")
    if pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type):
        counts = sum((_flat(chunk).reshape(-1, len(labels)).sum(axis=0) for chunk in column.chunks), np.zeros(1))
        return dict(zip(labels, counts.astype(int).tolist(), strict=True))
    return dict(zip(labels, np.bincount(_label_ids(examples), minlength=len(labels)).tolist(), strict=True))


def _label_ids(examples: "Dataset") -> "np.ndarray":
    """All labels that count, of examples with one each or with one for each token."""
    import numpy as np
    import pyarrow as pa

    column = examples.data.column("labels")
    if not pa.types.is_list(column.type):
        ids: np.ndarray = column.to_numpy()
        return ids
    flat = np.concatenate([_flat(chunk) for chunk in column.chunks])
    return flat[flat >= 0]


def _flat(chunk: "pa.ListArray") -> "np.ndarray":
    values: np.ndarray = chunk.flatten().to_numpy()
    return values


def count_tokens(examples: "Dataset") -> int:
    """Tokens in all `input_ids`."""
    return sum(len(chunk.flatten()) for chunk in examples.data.column("input_ids").chunks)


def _token_counts(examples: "Dataset", *, vocab_size: int) -> "np.ndarray":
    import numpy as np

    counts: np.ndarray = np.zeros(vocab_size, dtype=np.int64)
    for chunk in examples.data.column("input_ids").chunks:
        counts += np.bincount(chunk.flatten().to_numpy(), minlength=vocab_size)
    return counts

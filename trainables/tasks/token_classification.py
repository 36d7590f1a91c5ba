"""Token classification: a tag for each word of a text, such as entities or parts of speech."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import DataConfig
from trainables.data.arrow_files import write_columns
from trainables.data.card import DataCard, majority_class
from trainables.data.columns import Column
from trainables.data.encode import BATCH_DOCUMENTS, EncodedPart, PartCounter, check_room
from trainables.metrics import EVAL_LOSS, entity_metrics, tag_metrics
from trainables.tasks.losses import token_cross_entropy
from trainables.tasks.padding import IGNORED_LABEL, pad_inputs, pad_labels
from trainables.tasks.task import Task

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

_ENTITY_TAG = re.compile(r"O|[BIESLU]-.+")


def columns(data: DataConfig) -> tuple[Column, ...]:
    """The words and their tags."""
    return (
        Column(role="text", name=data.text, kind="words"),
        Column(role="label", name=data.label, kind="tags"),
    )


def metrics(data: DataConfig) -> tuple[str, ...]:
    """Accuracy of words; precision, recall and F1 of whole entities, or of tags where they name no entities."""
    return (EVAL_LOSS, "eval/accuracy", "eval/precision", "eval/recall", "eval/f1")


def encode(
    documents: "Dataset",
    file: Path,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    data: DataConfig,
    labels: Sequence[str],
) -> EncodedPart:
    """One example a text, cut at `max_length`. A word's first token has its tag, the others have none."""
    import pyarrow as pa

    check_room(tokenizer, data.max_length)
    if not tokenizer.is_fast:
        raise SpecError("this tokenizer cannot say which word a token belongs to.", path="data.tokenizer")
    ids = {name: index for index, name in enumerate(labels)}
    counter = PartCounter()

    def batches() -> Iterator[dict[str, Any]]:
        for batch in documents.iter(batch_size=BATCH_DOCUMENTS):
            for words, tags in zip(batch["text"], batch["label"], strict=True):
                if len(words) != len(tags):
                    raise SpecError(
                        f"each word needs a tag, but a text that starts with `{' '.join(words[:5])}` has "
                        f"{len(words)} words and {len(tags)} tags.",
                        path="data.label",
                    )
            encoded = tokenizer(
                batch["text"], is_split_into_words=True, truncation=True, max_length=data.max_length, verbose=False
            )
            counter.add([" ".join(words) for words in batch["text"]], num_tokens=sum(map(len, encoded["input_ids"])))
            yield {
                "input_ids": encoded["input_ids"],
                "labels": [
                    _first_tokens(encoded.word_ids(row), [ids[tag] for tag in tags])
                    for row, tags in enumerate(batch["label"])
                ],
            }

    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int64()))])
    return counter.part(write_columns(file, schema=schema, batches=batches()))


def _first_tokens(word_of_token: list[int | None], tags: list[int]) -> list[int]:
    labels, before = [], None
    for word in word_of_token:
        labels.append(tags[word] if word is not None and word != before else IGNORED_LABEL)
        before = word
    return labels


def collator(
    tokenizer: "PreTrainedTokenizerBase", data: DataConfig, *, model: "PreTrainedModel", is_training: bool
) -> Any:
    """Pads each batch to its longest text."""
    return partial(_pad, tokenizer=tokenizer, max_length=data.max_length)


def _pad(
    examples: list[dict[str, Any]], *, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> "dict[str, Tensor]":
    inputs = pad_inputs(
        [{"input_ids": example["input_ids"]} for example in examples], tokenizer=tokenizer, max_length=max_length
    )
    labels = [example["labels"] for example in examples]
    length = inputs["input_ids"].shape[1]
    return inputs | {"labels": pad_labels(labels, length=length, side=tokenizer.padding_side)}


def head_fields(card: DataCard, data: DataConfig) -> dict[str, Any]:
    """The names of the tags, and with them their number."""
    return {"id2label": card.id2label, "label2id": {name: index for index, name in card.id2label.items()}}


def predicted_tags(logits: Any, labels: "Tensor") -> "Tensor":
    """(batch, length): the logits of a whole validation part need not fit in memory."""
    scores: Tensor = logits[0] if isinstance(logits, tuple) else logits
    return scores.argmax(dim=-1)


def compute_metrics(prediction: "EvalPrediction", *, card: DataCard) -> dict[str, float]:
    """Of the words that have a tag."""
    counts = prediction.label_ids != IGNORED_LABEL
    if all(_ENTITY_TAG.fullmatch(label) for label in card.labels):
        names = card.labels
        rows = list(zip(prediction.predictions, prediction.label_ids, counts, strict=True))
        return entity_metrics(
            predicted=[[names[tag] for tag in predicted[kept]] for predicted, _, kept in rows],
            expected=[[names[tag] for tag in expected[kept]] for _, expected, kept in rows],
        )
    return tag_metrics(prediction.predictions[counts], prediction.label_ids[counts])


TASK = Task(
    name="token_classification",
    auto_class="AutoModelForTokenClassification",
    head="TOKEN_CLASSIFICATION",
    metrics=metrics,
    columns=columns,
    options=("label",),
    encode=encode,
    baseline=majority_class,
    collator=collator,
    marks_ends=True,
    head_fields=head_fields,
    compute_loss=token_cross_entropy,
    reduce_logits=predicted_tags,
    compute_metrics=compute_metrics,
)

"""Few-shot prompting: a model that is not trained answers questions, after some that are answered already.

This is what it reads and reports; trainables/prompting.py asks.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config import DataConfig
from trainables.data.arrow_files import write_columns
from trainables.data.card import Baseline, majority_class
from trainables.data.columns import Column
from trainables.data.encode import BATCH_DOCUMENTS, EncodedPart, PartCounter, check_room
from trainables.metrics import EVAL_LOSS
from trainables.tasks.task import Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def columns(data: DataConfig) -> tuple[Column, ...]:
    """The text, and its label or what is to be said of it."""
    text = Column(role="text", name=data.text)
    if data.answer == "target":
        return (text, Column(role="target", name=data.target))
    return (text, Column(role="label", name=data.label, kind="label"))


def metrics(data: DataConfig) -> tuple[str, ...]:
    """Of labels the loss is that of the labels' probabilities among each other, in nats per text."""
    if data.answer == "target":
        return ("eval/exact_match", "eval/rougeL")
    return (EVAL_LOSS, "eval/accuracy", "eval/precision", "eval/recall", "eval/f1")


def encode(
    documents: "Dataset",
    file: Path,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    data: DataConfig,
    labels: Sequence[str],
) -> EncodedPart:
    """One example a text: the `text` itself, of `max_length` tokens at most, and its `answer`; `input_ids` are those of
    the text alone, `labels` the position of a label."""
    import pyarrow as pa

    check_room(tokenizer, data.max_length)
    positions = {name: index for index, name in enumerate(labels)}
    counter = PartCounter()

    def cut(text: str, ids: list[int]) -> str:
        return text if len(ids) < data.max_length else str(tokenizer.decode(ids, skip_special_tokens=True))

    def batches() -> Iterator[dict[str, Any]]:
        for batch in documents.iter(batch_size=BATCH_DOCUMENTS):
            ids = tokenizer(batch["text"], truncation=True, max_length=data.max_length, verbose=False)["input_ids"]
            answers = batch["target" if data.answer == "target" else "label"]
            counter.add(batch["text"], num_tokens=sum(map(len, ids)))
            yield {
                "input_ids": ids,
                "labels": [positions.get(answer, 0) for answer in answers],
                "text": [cut(text, tokens) for text, tokens in zip(batch["text"], ids, strict=True)],
                "answer": answers,
            }

    text = pa.large_string()
    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.int64()), ("text", text), ("answer", text)])
    return counter.part(write_columns(file, schema=schema, batches=batches()))


def baseline(parts: Mapping[str, EncodedPart], vocab_size: int, data: DataConfig) -> Baseline:
    """Of labels the most frequent one."""
    if data.answer == "target":
        return Baseline(name="", metrics={})
    return majority_class(parts, vocab_size, data)


def collator(
    tokenizer: "PreTrainedTokenizerBase", data: DataConfig, *, model: "PreTrainedModel", is_training: bool
) -> Any:
    """Nothing is trained, so nothing is collated."""
    raise NotImplementedError("few_shot has no training batches")


TASK = Task(
    name="few_shot",
    auto_class="AutoModelForCausalLM",
    head="CAUSAL_LM",
    metrics=metrics,
    columns=columns,
    options=("label", "target", "answer", "max_target_length"),
    encoding_options=("answer",),
    encode=encode,
    baseline=baseline,
    collator=collator,
    trains=False,
)

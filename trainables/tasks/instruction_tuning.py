"""Instruction tuning: learn what the assistant says in a conversation, and only that."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config import DataConfig
from trainables.data.arrow_files import write_columns
from trainables.data.card import DataCard, unigram_targets
from trainables.data.chat import Message, answers_in, chat_columns, encode_chat, messages_of, set_chat_template
from trainables.data.columns import Column
from trainables.data.encode import BATCH_DOCUMENTS, EncodedPart, PartCounter
from trainables.data.example_packing import pack, unpack
from trainables.metrics import EVAL_LOSS, answer_metrics, perplexity
from trainables.tasks.padding import IGNORED_LABEL, pad_decoder, pad_right
from trainables.tasks.task import Generated, Task

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def columns(data: DataConfig) -> tuple[Column, ...]:
    """A prompt and its response, or whole conversations."""
    if data.messages is not None:
        return (Column(role="messages", name=data.messages, kind="messages"),)
    return chat_columns(data, "response")


def metrics(data: DataConfig) -> tuple[str, ...]:
    """Loss in nats per token of the assistant; how generated answers compare with the expected ones."""
    return (EVAL_LOSS, "eval/perplexity", *(("eval/exact_match", "eval/rougeL") if data.generate else ()))


def encode(
    documents: "Dataset",
    file: Path,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    data: DataConfig,
    labels: Sequence[str],
) -> EncodedPart:
    """One example a conversation, cut at `max_length`; one of which no answer is left is dropped."""
    import pyarrow as pa

    counter = PartCounter()
    encoded = _encoded(documents, counter, tokenizer=tokenizer, data=data)
    rows = pack(list(encoded), max_length=data.max_length) if data.pack else encoded
    names = ["input_ids", "labels", *(["position_ids"] if data.pack else [])]

    def batches() -> Iterator[dict[str, Any]]:
        while batch := list(islice(rows, BATCH_DOCUMENTS)):
            yield {name: [row[name] for row in batch] for name in names}

    schema = pa.schema([(name, pa.list_(pa.int64() if name == "labels" else pa.int32())) for name in names])
    return counter.part(write_columns(file, schema=schema, batches=batches()))


def _encoded(
    documents: "Dataset", counter: PartCounter, *, tokenizer: "PreTrainedTokenizerBase", data: DataConfig
) -> Iterator[dict[str, list[int]]]:
    for document in documents:
        messages: Sequence[Message] = document.get("messages") or messages_of(document, document["response"])
        ids, labels = encode_chat(tokenizer, messages, ignored=IGNORED_LABEL)
        said = [message["content"] for message in messages if message["role"] == "assistant"]
        counter.add(["".join(said)], num_tokens=sum(label != IGNORED_LABEL for label in labels))
        kept = {"input_ids": ids[: data.max_length], "labels": labels[: data.max_length]}
        # what stands first is not predicted
        if all(label == IGNORED_LABEL for label in kept["labels"][1:]):
            counter.drop()
            continue
        yield kept


def collator(
    tokenizer: "PreTrainedTokenizerBase", data: DataConfig, *, model: "PreTrainedModel", is_training: bool
) -> Any:
    """Pads each batch to its longest example."""
    return partial(_pad, tokenizer=tokenizer, max_length=data.max_length)


def _pad(
    examples: list[dict[str, Any]], *, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> "dict[str, Tensor]":
    batch = pad_decoder(examples, tokenizer=tokenizer, max_length=max_length)
    if "position_ids" not in examples[0]:
        return batch
    # transformers looks at positions only where there is no mask.
    del batch["attention_mask"]
    positions = [example["position_ids"] for example in examples]
    return batch | {"position_ids": pad_right(positions, length=batch["input_ids"].shape[1], fill=0)}


def derived_metrics(metrics: dict[str, float], *, card: DataCard) -> dict[str, float]:
    """Perplexity of the answers."""
    return {"eval/perplexity": perplexity(metrics[EVAL_LOSS])}


def measure_generated(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    validation: "Dataset",
    data: DataConfig,
    *,
    batch_size: int,
) -> Generated:
    """Exact matches and ROUGE-L of what the model says to the first validation prompts; of a conversation, last."""
    from trainables.generation import generate, room_to_generate

    if not data.generate:
        return Generated()
    asked = [
        list(answers_in(example["input_ids"], example["labels"], ignored=IGNORED_LABEL))[-1]
        for example in islice((example for row in validation for example in unpack(row)), data.generate)
    ]
    prompts = [prompt for prompt, _ in asked]
    longest = max(map(len, prompts))
    produced = generate(
        model, tokenizer, prompts, batch_size=batch_size,
        max_new_tokens=min(data.max_target_length, room_to_generate(model, longest)),
    )  # fmt: skip
    expected = [
        text.strip() for text in tokenizer.batch_decode([answer for _, answer in asked], skip_special_tokens=True)
    ]
    shown = tokenizer.batch_decode(prompts, skip_special_tokens=True)
    samples = [
        {"prompt": prompt, "expected": wanted, "generated": got}
        for prompt, wanted, got in zip(shown, expected, produced, strict=True)
    ]
    return Generated(metrics=answer_metrics(produced, expected), samples=tuple(samples))


TASK = Task(
    name="instruction_tuning",
    auto_class="AutoModelForCausalLM",
    head="CAUSAL_LM",
    metrics=metrics,
    columns=columns,
    options=(
        "prompt", "response", "system", "messages", "chat_template", "pack", "generate", "max_target_length",
    ),
    encoding_options=("chat_template", "pack"),
    encode=encode,
    baseline=unigram_targets,
    collator=collator,
    complete_tokenizer=set_chat_template,
    derived_metrics=derived_metrics,
    measure_generated=measure_generated,
)  # fmt: skip

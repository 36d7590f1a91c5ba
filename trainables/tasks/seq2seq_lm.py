"""Sequence to sequence: produce one text from another, as in translation and summarisation."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config import DataConfig
from trainables.data.arrow_files import write_columns
from trainables.data.card import DataCard, unigram_targets
from trainables.data.columns import Column
from trainables.data.encode import BATCH_DOCUMENTS, EncodedPart, PartCounter, check_room
from trainables.metrics import EVAL_LOSS, overlap_metrics, perplexity
from trainables.tasks.losses import token_cross_entropy
from trainables.tasks.padding import IGNORED_LABEL, pad_inputs, pad_labels, padded_length
from trainables.tasks.task import Generated, Task

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def columns(data: DataConfig) -> tuple[Column, ...]:
    """The text and what is to be produced from it."""
    return (Column(role="text", name=data.text), Column(role="target", name=data.target))


def metrics(data: DataConfig) -> tuple[str, ...]:
    """Loss in nats per target token; overlap of generated and expected texts."""
    overlap = ("eval/bleu", "eval/chrf", "eval/rouge1", "eval/rouge2", "eval/rougeL")
    return (EVAL_LOSS, "eval/perplexity", *(overlap if data.generate else ()))


def encode(
    documents: "Dataset",
    file: Path,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    data: DataConfig,
    labels: Sequence[str],
) -> EncodedPart:
    """One example a pair: `input_ids` cut at `max_length`, `labels` cut at `max_target_length`, its end marked."""
    import pyarrow as pa

    check_room(tokenizer, data.max_length)
    check_room(tokenizer, data.max_target_length, path="data.max_target_length")
    counter = PartCounter()

    def batches() -> Iterator[dict[str, Any]]:
        for batch in documents.iter(batch_size=BATCH_DOCUMENTS):
            ids = tokenizer(batch["text"], truncation=True, max_length=data.max_length, verbose=False)["input_ids"]
            targets = tokenizer(
                text_target=batch["target"], truncation=True, max_length=data.max_target_length, verbose=False
            )["input_ids"]
            counter.add(batch["target"], num_tokens=sum(map(len, targets)))
            yield {"input_ids": ids, "labels": targets}

    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int64()))])
    return counter.part(write_columns(file, schema=schema, batches=batches()))


def collator(
    tokenizer: "PreTrainedTokenizerBase", data: DataConfig, *, model: "PreTrainedModel", is_training: bool
) -> Any:
    """Pads texts and targets of a batch, each to their longest."""
    return partial(
        _pad,
        tokenizer=tokenizer,
        max_length=data.max_length,
        max_target_length=data.max_target_length,
        decoder_inputs=model.prepare_decoder_input_ids_from_labels,
    )


def _pad(
    examples: list[dict[str, Any]],
    *,
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    max_target_length: int,
    decoder_inputs: Callable[..., "Tensor"],
) -> "dict[str, Tensor]":
    inputs = pad_inputs(
        [{"input_ids": example["input_ids"]} for example in examples], tokenizer=tokenizer, max_length=max_length
    )
    targets = [example["labels"] for example in examples]
    labels = pad_labels(targets, length=padded_length(targets, max_length=max_target_length))
    # Whoever computes the loss takes the labels away before the model sees them; some models would then feed the text
    # to the decoder instead, and say nothing.
    return inputs | {"labels": labels, "decoder_input_ids": decoder_inputs(labels=labels)}


def scratch_fields(tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """A decoder starts with the padding token, as T5's does, and may end anywhere."""
    return {
        "decoder_start_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id,
        "forced_eos_token_id": None,
        "forced_bos_token_id": None,
    }


def derived_metrics(metrics: dict[str, float], *, card: DataCard) -> dict[str, float]:
    """Perplexity of the targets."""
    return {"eval/perplexity": perplexity(metrics[EVAL_LOSS])}


def measure_generated(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    validation: "Dataset",
    data: DataConfig,
    *,
    batch_size: int,
) -> Generated:
    """BLEU, chrF and ROUGE of what the model produces for the first validation texts."""
    from trainables.generation import generate

    if not data.generate:
        return Generated()
    rows = validation.select(range(min(data.generate, len(validation))))
    produced = generate(
        model, tokenizer, rows["input_ids"], max_new_tokens=data.max_target_length, batch_size=batch_size
    )
    expected = _texts(tokenizer, rows["labels"])
    samples = [
        {"prompt": prompt, "expected": wanted, "generated": got}
        for prompt, wanted, got in zip(_texts(tokenizer, rows["input_ids"]), expected, produced, strict=True)
    ]
    return Generated(metrics=overlap_metrics(produced, expected), samples=tuple(samples))


def _texts(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Sequence[int]]) -> list[str]:
    kept = [[token for token in row if token != IGNORED_LABEL] for row in rows]
    return [text.strip() for text in tokenizer.batch_decode(kept, skip_special_tokens=True)]


TASK = Task(
    name="seq2seq_lm",
    auto_class="AutoModelForSeq2SeqLM",
    head="SEQ_TO_SEQ_CAUSAL_LM",
    metrics=metrics,
    columns=columns,
    options=("target", "max_target_length", "generate"),
    encoding_options=("max_target_length",),
    encode=encode,
    baseline=unigram_targets,
    collator=collator,
    marks_ends=True,
    scratch_fields=scratch_fields,
    compute_loss=token_cross_entropy,
    derived_metrics=derived_metrics,
    measure_generated=measure_generated,
)

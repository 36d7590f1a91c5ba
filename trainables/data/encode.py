"""From the documents of one part to its examples in an Arrow file: labelled texts, or packed blocks.

Knows no task, no splits and no cache; counts what the card needs on the way.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import DataConfig
from trainables.data.arrow_files import write_columns
from trainables.data.packing import BlockPacker
from trainables.data.steps import count
from trainables.data.tokenization import separator_id

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

BATCH_DOCUMENTS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedPart:
    """The examples of one part and what went into them."""

    examples: "Dataset"
    """Columns `input_ids`, and `labels` for classification."""
    num_documents: int
    """Documents they were made of."""
    text_bytes: int
    """UTF-8 bytes of those documents."""
    num_tokens: int
    """Tokens of those documents, also those that no example holds because a last block was not full."""
    num_dropped: int = 0
    """Documents left out because no token to learn from was left of them at `max_length`."""


def encode_texts(
    documents: "Dataset",
    file: Path,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    data: DataConfig,
    label_type: "pa.DataType",
    label_of: Callable[[Any], Any],
) -> EncodedPart:
    """One example a text, cut at `max_length`: `input_ids`, and `labels`, made of the label by `label_of`."""
    import pyarrow as pa

    check_room(tokenizer, data.max_length)
    counter = PartCounter()

    def batches() -> Iterator[dict[str, Any]]:
        for batch in documents.iter(batch_size=BATCH_DOCUMENTS):
            ids = tokenizer(batch["text"], truncation=True, max_length=data.max_length, verbose=False)["input_ids"]
            counter.add(batch["text"], num_tokens=sum(map(len, ids)))
            yield {"input_ids": ids, "labels": [label_of(label) for label in batch["label"]]}

    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", label_type)])
    return counter.part(write_columns(file, schema=schema, batches=batches()))


def check_room(tokenizer: "PreTrainedTokenizerBase", max_length: int, *, path: str = "data.max_length") -> None:
    """Raise SpecError when special tokens alone fill an example."""
    num_special = tokenizer.num_special_tokens_to_add(pair=False)
    if max_length <= num_special:
        raise SpecError(
            f"this tokenizer adds {num_special} special tokens to a text, so `max_length > {num_special}` "
            f"must hold, but got {max_length}.",
            path=path,
        )


def encode_blocks(
    documents: "Dataset",
    file: Path,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    data: DataConfig,
    labels: Sequence[str],
) -> EncodedPart:
    """All texts in one stream, cut into blocks of `max_length` tokens: `input_ids`."""
    import pyarrow as pa

    max_length = data.max_length
    if max_length < 2:
        raise SpecError(
            "a language model predicts the next token, so `max_length >= 2` must hold.",
            path="data.max_length",
        )
    packer = BlockPacker(max_length=max_length, separator=separator_id(tokenizer))
    counter = PartCounter()

    def batches() -> Iterator[dict[str, Any]]:
        for batch in documents.iter(batch_size=BATCH_DOCUMENTS):
            ids = tokenizer(batch["text"], add_special_tokens=False, verbose=False)["input_ids"]
            before = packer.num_tokens
            blocks = packer.add(ids)
            counter.add(batch["text"], num_tokens=packer.num_tokens - before)
            yield {"input_ids": _as_lists(blocks)}
        yield {"input_ids": _as_lists(packer.finish())}

    examples = write_columns(file, schema=pa.schema([("input_ids", pa.list_(pa.int32()))]), batches=batches())
    return counter.part(examples)


def _as_lists(blocks: "np.ndarray") -> "pa.Array":
    import numpy as np
    import pyarrow as pa

    num_blocks, length = blocks.shape
    offsets = np.arange(num_blocks + 1, dtype=np.int32) * length
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(blocks.reshape(-1), pa.int32()))


class PartCounter:
    """Adds up documents, bytes and tokens over batches."""

    def __init__(self) -> None:
        self._documents = self._bytes = self._tokens = self._dropped = 0

    def add(self, texts: Sequence[str], *, num_tokens: int) -> None:
        """Count documents with these `texts`."""
        num_bytes = sum(len(text.encode()) for text in texts)
        count(documents=len(texts), num_bytes=num_bytes)
        self._documents += len(texts)
        self._bytes += num_bytes
        self._tokens += num_tokens

    def drop(self) -> None:
        """Count a document that gives no example."""
        self._dropped += 1

    def part(self, examples: "Dataset") -> EncodedPart:
        """What was counted, with the `examples` it went into."""
        if self._dropped and not len(examples):
            raise SpecError(
                f"of none of {self._dropped:,} documents there is anything left to learn when it is cut at max_length.",
                path="data.max_length",
            )
        return EncodedPart(
            examples=examples, num_documents=self._documents, text_bytes=self._bytes, num_tokens=self._tokens,
            num_dropped=self._dropped,
        )  # fmt: skip

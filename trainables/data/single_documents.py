"""One document an example, for language models that are trained without packing. Knows no blocks and no padding."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import DataConfig
from trainables.data.arrow_files import write_columns
from trainables.data.columns import DIFFICULTY
from trainables.data.encode import BATCH_DOCUMENTS, EncodedPart, PartCounter
from trainables.data.tokenization import separator_id

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


def encode_documents(
    documents: "Dataset",
    file: Path,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    data: DataConfig,
    labels: Sequence[str],
) -> EncodedPart:
    """`input_ids` of each document between two separators; longer ones in pieces of `max_length`, and with each piece
    the document's difficulty, where it has one.

    Every token and the separator behind the last are predicted exactly once, as in a packed stream.
    """
    import pyarrow as pa

    if data.max_length < 2:
        raise SpecError(
            "a language model predicts the next token, so `max_length >= 2` must hold.", path="data.max_length"
        )
    separator = separator_id(tokenizer)
    has_difficulty = DIFFICULTY in documents.column_names
    counter = PartCounter()

    def batches() -> Iterator[dict[str, Any]]:
        for batch in documents.iter(batch_size=BATCH_DOCUMENTS):
            texts = tokenizer(batch["text"], add_special_tokens=False, verbose=False)["input_ids"]
            counter.add(batch["text"], num_tokens=sum(map(len, texts)) + len(texts))
            pieces = [in_pieces([separator, *ids, separator], max_length=data.max_length) for ids in texts]
            made: dict[str, Any] = {"input_ids": [piece for of_one in pieces for piece in of_one]}
            if has_difficulty:
                made[DIFFICULTY] = [
                    number
                    for number, of_one in zip(batch[DIFFICULTY], pieces, strict=True)
                    for _ in of_one
                ]  # fmt: skip
            yield made

    fields = [("input_ids", pa.list_(pa.int32())), *([(DIFFICULTY, pa.float64())] if has_difficulty else [])]
    return counter.part(write_columns(file, schema=pa.schema(fields), batches=batches()))


def in_pieces(tokens: Sequence[int], *, max_length: int) -> list[list[int]]:
    """Pieces of at most `max_length` tokens. Each begins with the last token of the one before: the first token of a
    piece is never predicted, and so it is there."""
    return [list(tokens[start : start + max_length]) for start in range(0, len(tokens) - 1, max_length - 1)]

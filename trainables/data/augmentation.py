"""Changed copies of training documents: words left out, words that changed places (Wei and Zou 2019, EDA).

A copy follows from the seed, the text and its number alone, whatever else is in the data. Knows no tokens.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from trainables.data.arrow_files import write_columns
from trainables.data_sections import AugmentConfig

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH_DOCUMENTS = 1000


def add_copies(documents: "Dataset", augment: AugmentConfig, file: Path, *, seed: int) -> "Dataset":
    """Each document with its copies behind it, in an Arrow file; a copy has the label of its original."""

    def batches() -> Iterator[dict[str, list[Any]]]:
        for batch in documents.iter(batch_size=_BATCH_DOCUMENTS):
            made: dict[str, list[Any]] = {name: [] for name in batch}
            for row in zip(*batch.values(), strict=True):
                document = dict(zip(batch, row, strict=True))
                for text in (document["text"], *copies(document["text"], augment, seed=seed)):
                    for name, value in (document | {"text": text}).items():
                        made[name].append(value)
            yield made

    return write_columns(file, schema=documents.features.arrow_schema, batches=batches())


def copies(text: str, augment: AugmentConfig, *, seed: int) -> Iterator[str]:
    """Changed copies of `text`: as many as asked for, less those that came out like it. Words stand one space apart."""
    words = text.split()
    for number in range(augment.copies):
        # A text as the seed goes through SHA-512: the same on every machine and in every process.
        changed = _changed(words, augment, Random(f"{seed} {number} {text}"))
        if changed != words:
            yield " ".join(changed)


def _changed(words: list[str], augment: AugmentConfig, random: Random) -> list[str]:
    kept = [word for word in words if random.random() >= augment.delete] or [random.choice(words)]
    for _ in range(round(augment.swap * len(kept))):
        first, second = random.randrange(len(kept)), random.randrange(len(kept))
        kept[first], kept[second] = kept[second], kept[first]
    return kept

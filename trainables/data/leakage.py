"""Whether held-out documents nearly stand in the training part too. Warns with examples; changes no part.

Near means that of the runs of three words of two documents most are common (Jaccard similarity, estimated by MinHash,
Broder 1997). Bounded: of large data a sample is compared, and the finding says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.data.columns import Column
from trainables.data.texts import whole_texts

if TYPE_CHECKING:
    from datasets import Dataset

SIMILARITY = 0.8
_MOST_HELD_OUT = 2_000
_MOST_TRAIN = 50_000
_PERMUTATIONS = 64
_RUN = 3
_EXAMPLES = 3
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """What was found in one held-out part."""

    compared: int
    """Documents of the part that were looked for."""
    train_compared: int
    """Training documents among which they were looked for."""
    found: int
    """Documents of the part that nearly stand in train."""
    examples: tuple[tuple[str, str], ...]
    """The beginnings of some of them, and of what they are near to."""

    def in_words(self, part: str) -> str:
        """For a person, with an example."""
        share = 100 * self.found / self.compared
        words = f"{self.found:,} of {self.compared:,} {part} documents ({share:.1f}%) nearly stand in train too"
        if self.examples:
            words += f": “{self.examples[0][0]}” is near “{self.examples[0][1]}”"
        return words


def find_leakage(parts: "Mapping[str, Dataset]", columns: Sequence[Column]) -> dict[str, Leakage]:
    """What of each held-out part nearly stands in train, by all text of a document together."""
    from datasketch import MinHash, MinHashLSH

    held_out = {part: _sample(rows, _MOST_HELD_OUT) for part, rows in parts.items() if part != "train"}
    train = _sample(parts["train"], _MOST_TRAIN)
    empty = MinHash(num_perm=_PERMUTATIONS, hashfunc=_hash)
    index = MinHashLSH(threshold=SIMILARITY, num_perm=_PERMUTATIONS)
    known: dict[tuple[str, int], tuple[Any, str]] = {}
    for part, rows in held_out.items():
        for number, text in enumerate(whole_texts(rows, columns)):
            signature = _signature(empty, text)
            if signature is not None:
                index.insert((part, number), signature)
                known[part, number] = (signature, text)
    near: dict[tuple[str, int], str] = {}
    for text in whole_texts(train, columns):
        signature = _signature(empty, text)
        for key in index.query(signature) if signature is not None else ():
            if key not in near and signature.jaccard(known[key][0]) >= SIMILARITY:
                near[key] = _beginning(text)
    found = {}
    for part, rows in held_out.items():
        keys = [key for key in near if key[0] == part]
        examples = tuple((_beginning(known[key][1]), near[key]) for key in keys[:_EXAMPLES])
        found[part] = Leakage(compared=len(rows), train_compared=len(train), found=len(keys), examples=examples)
    return found


def _sample(rows: "Dataset", most: int) -> "Dataset":
    """Evenly spread documents: the same ones each time."""
    import numpy as np

    if len(rows) <= most:
        return rows
    positions: np.ndarray = np.linspace(0, len(rows) - 1, most).astype(np.int64)
    return rows.select(positions)


def _signature(empty: Any, text: str) -> Any:
    """None for a text that is too short to tell."""
    words = text.lower().split()
    runs = {" ".join(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1)}
    if len(runs) < _RUN:
        return None
    signature = empty.copy()
    signature.update_batch([run.encode("utf-8", "surrogatepass") for run in runs])
    return signature


def _hash(piece: bytes) -> int:
    import xxhash

    return int(xxhash.xxh32_intdigest(piece))


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…"

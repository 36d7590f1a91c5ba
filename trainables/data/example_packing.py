"""Puts several short examples into one of `max_length` tokens, and takes them apart again. Knows no tokenizer.

Where positions begin again at 0, another example begins: transformers' masks let none see another.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Example = Mapping[str, list[int]]


def pack(examples: Sequence[Example], *, max_length: int) -> Iterator[dict[str, list[int]]]:
    """Examples of `input_ids` and `labels`, in as few rows as a best fit finds; each row has `position_ids` too.

    The longest first: a row is filled with what fits best into its rest (best-fit decreasing).
    """
    rows: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    lengths = [len(example["input_ids"]) for example in examples]
    for number in sorted(range(len(examples)), key=lambda number: -lengths[number]):
        room = next((room for room in range(lengths[number], max_length) if by_room.get(room)), max_length)
        if room == max_length:
            rows.append([])
            place = len(rows) - 1
        else:
            place = by_room[room].pop()
        rows[place].append(number)
        by_room.setdefault(room - lengths[number], []).append(place)
    for row in rows:
        chosen = [examples[number] for number in sorted(row)]
        yield {
            "input_ids": [token for example in chosen for token in example["input_ids"]],
            # the first token of an example follows from nothing
            "labels": [token for example in chosen for token in (-100, *example["labels"][1:])],
            "position_ids": [place for example in chosen for place in range(len(example["input_ids"]))],
        }


def unpack(row: Mapping[str, list[int]]) -> Iterator[dict[str, list[int]]]:
    """The examples in a row, or the row itself when nothing was packed."""
    positions = row.get("position_ids")
    starts = [0] if positions is None else [place for place, position in enumerate(positions) if position == 0]
    for start, end in zip(starts, [*starts[1:], len(row["input_ids"])], strict=True):
        yield {name: row[name][start:end] for name in ("input_ids", "labels")}


def real_tokens(position_ids: "Tensor") -> "Tensor":
    """Ones where a token of an example stands, zeros where padding does.

    Padding has position 0 throughout; an example begins with 0 and goes on with 1, for it has two tokens or more.
    """
    import torch

    is_start = torch.zeros_like(position_ids, dtype=torch.bool)
    is_start[:, :-1] = position_ids[:, 1:] == 1
    return ((position_ids > 0) | is_start).long()

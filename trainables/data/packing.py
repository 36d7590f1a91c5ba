"""Joins documents into one stream of tokens and cuts it into blocks of equal length. Knows no tokenizer."""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class BlockPacker:
    """Takes documents batch by batch and gives back full blocks; holds less than one block in between.

    The end of the stream that fills no block is dropped, except when it is all there is: then it is one short
    block.
    """

    def __init__(self, *, max_length: int, separator: int) -> None:
        self.max_length = max_length
        self.separator = separator
        self.num_tokens = 0
        """Tokens seen so far, separators and what will be dropped included."""
        self._num_blocks = 0
        self._rest: list[int] = []

    def add(self, documents: Sequence[Sequence[int]]) -> "np.ndarray":
        """The blocks (count, max_length) that are full now; a separator follows each document."""
        import numpy as np

        stream = np.fromiter(
            chain(self._rest, *(chain(document, (self.separator,)) for document in documents)), dtype=np.int32
        )
        self.num_tokens += len(stream) - len(self._rest)
        num_blocks = len(stream) // self.max_length
        end = num_blocks * self.max_length
        self._rest = stream[end:].tolist()
        self._num_blocks += num_blocks
        return stream[:end].reshape(num_blocks, self.max_length)

    def finish(self) -> "np.ndarray":
        """The last block: empty, unless no block was ever full."""
        import numpy as np

        only = self._rest if self._num_blocks == 0 else []
        return np.asarray([only] if only else [], dtype=np.int32).reshape(1 if only else 0, -1 if only else 0)

"""What a job wrote itself, without the lines that Ray puts in front of it. Knows no ray."""

import re
from collections.abc import Iterable, Iterator

_OF_RAY = re.compile(r"\d{4}-\d\d-\d\d \S+\t[A-Z]+ job_manager\.py:\d+ -- |Running entrypoint for job ")


def own_lines(pieces: Iterable[str]) -> Iterator[str]:
    """The text of `pieces` from the first line on that is not Ray's. Pieces may end in the middle of a line."""
    pieces = iter(pieces)
    begun = ""
    for piece in pieces:
        begun += piece
        while (end := begun.find("\n") + 1) and _OF_RAY.match(begun):
            begun = begun[end:]
        if end:  # a whole line, and not one of Ray's
            break
    if begun and not _OF_RAY.match(begun):
        yield begun
    yield from pieces

"""What is done on a cluster with a search that is there: it goes on, is extended, confirmed. Sends nothing."""

import shlex
from collections.abc import Sequence

from spaces.errors import SpecError, did_you_mean

ACTIONS = ("resume", "retry", "extend", "confirm")
"""Commands that take the folder of a search, and go on with it wherever it was begun."""
_SET_THERE = ("--address", "--json")


def parse_action(text: str) -> tuple[str, ...]:
    """The words of `retry --trial 3`.

    Raises:
        SpecError: it is none of these commands, or has an option that is set for it.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise SpecError(f"`--as` is a command with its options, but got `{text}`: {error}.") from None
    check_action(words)
    return words


def check_action(words: Sequence[str]) -> None:
    """Whether this can be submitted. Raises SpecError."""
    name = words[0] if words else ""
    if name not in ACTIONS:
        raise SpecError(
            f"what is submitted for a search that is there is one of {', '.join(ACTIONS)}, with its options, but got "
            f"`{name}`.{did_you_mean(name, ACTIONS)}"
        )
    if given := next((word for word in words[1:] if word.partition("=")[0] in _SET_THERE), None):
        raise SpecError(f"`{given}` is set on the cluster: leave it out of `{' '.join(words)}`.")

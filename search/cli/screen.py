"""Where commands print for a person. Knows no command."""

import os

from rich.console import Console

_WIDTH_OF_A_FILE = 200


def screen(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; into a file or a pipe wide enough that no table loses digits."""
    console = Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        return Console(stderr=stderr, width=_WIDTH_OF_A_FILE)
    return console

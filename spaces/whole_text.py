"""A text file that a reader finds whole, as it was or as it is now. Knows no format and no folder."""

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write to a temporary name, then move: a reader never meets half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)

"""Names and shapes of the weights in a model folder, read from the headers of its files. Loads no weight, no torch."""

import json
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_MOST_HEADER_BYTES = 100_000_000  # the format's own limit


def linear_layers(folder: Path) -> frozenset[str] | None:
    """Names of modules whose weight is a matrix, embeddings included; None when the folder's format is another."""
    shapes = weight_shapes(folder)
    if shapes is None:
        return None
    matrices = (name for name, shape in shapes.items() if len(shape) == 2 and name.endswith(".weight"))
    return frozenset(name.removesuffix(".weight") for name in matrices)


def weight_shapes(folder: Path) -> Mapping[str, tuple[int, ...]] | None:
    """Weight name -> shape; None when the folder holds no safetensors."""
    files = _files(folder)
    if not files:
        return None
    try:
        return {name: shape for file in files for name, shape in _shapes_in(file, file.stat().st_mtime_ns).items()}
    except (OSError, ValueError, KeyError, struct.error):
        return None  # whoever loads it will say what is wrong with it


def _files(folder: Path) -> list[Path]:
    if (folder / _WHOLE).is_file():
        return [folder / _WHOLE]
    try:
        index = json.loads((folder / _INDEX).read_text("utf-8"))
        return [folder / name for name in sorted(set(index["weight_map"].values()))]
    except (OSError, ValueError, KeyError):
        return []


@cache
def _shapes_in(file: Path, changed: int) -> dict[str, tuple[int, ...]]:
    """The header of a safetensors file: its length in 8 bytes, then JSON."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        if length > _MOST_HEADER_BYTES:
            raise ValueError("no safetensors file")
        header = json.loads(opened.read(length))
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}

"""The name of a data configuration: equal when the tokens are equal, without reading any text.

Files are known by place, size and time of change; imports neither datasets nor transformers.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spaces.errors import SpecError
from trainables.config import (
    BuiltinSource,
    DataConfig,
    FilesSource,
    HubSource,
    ModelConfig,
    PretrainedTokenizer,
    TaskName,
    TrainedTokenizer,
)
from trainables.data.builtin import DOCSTRING_PACKAGES
from trainables.data.columns import Column, class_column, difficulty_columns
from trainables.data.files import match_files
from trainables.data.several_sources import source_named
from trainables.data.tokenization import tokenizer_config
from trainables.places import is_gguf, resolve_pretrained

# Goes up when the same configuration would give other examples, or another layout on disk.
FORMAT_VERSION = 2

# What lies beside a tokenizer but cannot change a token.
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".h5", ".onnx", ".msgpack", ".gguf"}


def fingerprint(
    task: TaskName, model: ModelConfig, data: DataConfig, *, columns: Sequence[Column], options: Sequence[str]
) -> str:
    """16 hex digits over everything that changes tokens, parts or labels. SpecError if files are missing."""
    identity = {
        "format": FORMAT_VERSION,
        "task": task,
        "source": _sources_identity(data),
        # The names of columns that are not read change nothing.
        "columns": {}
        if all(isinstance(source, BuiltinSource) for source in data.sources)
        else {column.role: column.name for column in columns},
        "tokenizer": _tokenizer_identity(tokenizer_config(model, data), is_default=data.tokenizer is None),
        "max_length": data.max_length,
        "max_documents": data.max_documents,
        "options": {name: getattr(data, name) for name in options},
        "clean": data.clean,
        "augment": data.augment.model_dump() if data.augment else None,
        # In what order examples are shown changes none of them; a column of difficulties is kept beside them.
        "difficulty": [column.name for column in difficulty_columns(data)],
        "splits": data.splits.model_dump(exclude={"leakage_check"}) | {"stratify": stratified(data, columns)},
        "leakage": data.splits.leakage_check != "off",
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def stratified(data: DataConfig, columns: Sequence[Column]) -> bool:
    """Whether splits keep the labels' shares: by default where documents have a class."""
    classes = class_column(columns)
    if classes is not None and classes.kind == "label":
        return data.splits.stratify is not False and data.splits.by == "random"
    if data.splits.stratify:
        raise SpecError(
            "only documents with one label each can be stratified by it: leave this out.", path="data.splits.stratify"
        )
    return False


def _sources_identity(data: DataConfig) -> Any:
    identities = []
    for index, source in enumerate(data.sources):
        with source_named(data, index):
            identities.append(_source_identity(source))
    if not isinstance(data.source, tuple):
        return identities[0]
    total = sum(source.weight for source in data.sources)  # twice all weights are the same mixture
    return [[source.weight / total, identity] for source, identity in zip(data.sources, identities, strict=True)]


def _source_identity(source: BuiltinSource | FilesSource | HubSource) -> dict[str, Any]:
    if isinstance(source, BuiltinSource):
        return {
            "builtin": source.builtin,
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "packages": DOCSTRING_PACKAGES,
        }
    if isinstance(source, FilesSource):
        return {"files": {part: _files_identity(files) for part, files in match_files(source.files).items()}}
    folder = Path(source.hub).expanduser()
    if folder.is_dir():
        return {"folder": _files_identity(_files_below(folder)), "config": source.config}
    return {"hub": source.hub, "config": source.config, "revision": source.revision}


def _tokenizer_identity(config: TrainedTokenizer | PretrainedTokenizer, *, is_default: bool) -> dict[str, Any]:
    if isinstance(config, TrainedTokenizer):
        return config.model_dump()
    try:
        place = resolve_pretrained(config.pretrained)
    except SpecError as error:
        raise error.at("model.pretrained" if is_default else "data.tokenizer.pretrained") from None
    if is_gguf(place):
        return {"gguf": _files_identity([Path(place)])}
    if not Path(place).is_dir():
        return {"hub": place}
    files = [file for file in _files_below(Path(place)) if file.suffix not in _WEIGHTS]
    return {"folder": _files_identity(files)}


def _files_below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.resolve().rglob("*") if file.is_file() and ".git" not in file.parts)


def _files_identity(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    return [(os.fspath(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]

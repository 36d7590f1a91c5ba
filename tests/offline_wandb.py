"""Reads an offline W&B run from its `.wandb` file, as far as it was flushed. Needs no server.

The file is a LevelDB log of protobuf records. No public reader exists for Python.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 32768
_HEADER = (b":W&B", 0xBEE1, 0)
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """What one `.wandb` file says."""

    id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None


def read_offline_run(directory: Path) -> OfflineRun:
    """The run in a run directory."""
    from wandb.proto import wandb_internal_pb2 as protocol

    (file,) = directory.glob("run-*.wandb")
    run = OfflineRun()
    for raw in _records(file.read_bytes()):
        record = protocol.Record.FromString(raw)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            head = record.run
            run.id, run.name, run.group, run.job_type = (
                head.run_id,
                head.display_name,
                head.run_group,
                head.job_type,
            )
            run.tags = list(head.tags)
            for item in head.config.update:
                _put(run.config, item)
        elif kind == "config":
            for item in record.config.update:
                _put(run.config, item)
        elif kind == "summary":
            for item in record.summary.update:
                _put(run.summary, item)
        elif kind == "history":
            items = {".".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            row = {key: json.loads(value) for key, value in items.items()}
            run.history.append({"_step": record.history.step.num, **row})
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    run.config.pop("_wandb", None)
    return run


def _records(data: bytes) -> Iterator[bytes]:
    if struct.unpack_from("<4sHB", data) != _HEADER:
        raise ValueError("not a .wandb file")
    position, begun = 7, b""
    while position + 7 <= len(data):
        left = _BLOCK_BYTES - position % _BLOCK_BYTES
        _, length, kind = struct.unpack_from("<IHB", data, position)
        if left < 7 or (kind == 0 and length == 0):  # padding up to the next block
            position += left
            continue
        chunk = data[position + 7 : position + 7 + length]
        position += 7 + length
        if len(chunk) < length:  # a torn tail: the process was killed, or still writes
            return
        begun = chunk if kind in (_FULL, _FIRST) else begun + chunk
        if kind in (_FULL, _LAST):
            yield begun


def _put(values: dict[str, Any], item: Any) -> None:
    *way, last = list(item.nested_key) or [item.key]
    for key in way:
        values = values.setdefault(key, {})
    values[last] = json.loads(item.value_json)

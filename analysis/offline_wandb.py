"""Reads the `.wandb` file of an offline run, as far as it was flushed. Needs no server.

The file is a LevelDB log of protobuf records. No public reader exists for Python; `wandb leet inspect --json` reads the
same, but takes a process for each run, and a test compares the two.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK_BYTES = 32768
HEADER = struct.Struct("<4sHB")
MAGIC = (b":W&B", 0xBEE1, 0)
CHUNK = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


class NotAWandbFile(ValueError):
    """The file is no `.wandb` file of a version that is known."""


@dataclass
class OfflineRun:
    """What one `.wandb` file says, without its history."""

    file: Path
    """The file."""
    id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    sweep: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    """None where the run has not ended, or was killed."""
    is_preempted: bool = False
    """Whether it said that it will go on elsewhere."""

    @property
    def history(self) -> list[dict[str, Any]]:
        """All rows, read anew each time."""
        return list(read_history(self.file))


def read_offline_run(directory: Path) -> OfflineRun:
    """The run in a run directory.

    Raises:
        NotAWandbFile: its file is of another kind.
    """
    (file,) = directory.glob("run-*.wandb")
    run = OfflineRun(file=file)
    for kind, record in _records(file):
        if kind == "run":
            head = record.run
            run.id, run.name, run.group = head.run_id, head.display_name, head.run_group
            run.job_type, run.sweep, run.tags = head.job_type, head.sweep_id, list(head.tags)
            for item in head.config.update:
                _put(run.config, item)
        elif kind == "config":
            for item in record.config.update:
                _put(run.config, item)
        elif kind == "summary":
            for item in record.summary.update:
                _put(run.summary, item)
            for item in record.summary.remove:
                _remove(run.summary, item)
        elif kind == "preempting":
            run.is_preempted = True
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    run.config.pop("_wandb", None)
    return run


def read_history(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a run's history; nested keys are joined by dots."""
    for kind, record in _records(file):
        if kind == "history":
            items = {".".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            row = {key: json.loads(value) for key, value in items.items()}
            yield {"_step": record.history.step.num, **row}


def read_payloads(file: Path) -> Iterator[bytes]:
    """The whole records as they stand in the file."""
    yield from _payloads(file.read_bytes(), file)


def _records(file: Path) -> Iterator[tuple[str, Any]]:
    """Kind and content of each whole record."""
    from wandb.proto import wandb_internal_pb2 as protocol

    for raw in _payloads(file.read_bytes(), file):
        record = protocol.Record.FromString(raw)
        yield record.WhichOneof("record_type") or "", record


def _payloads(data: bytes, file: Path) -> Iterator[bytes]:
    if len(data) < HEADER.size or HEADER.unpack_from(data) != MAGIC:
        raise NotAWandbFile(f"`{file}` is no .wandb file, or of a version that is not known.")
    position, begun = HEADER.size, b""
    while position + CHUNK.size <= len(data):
        left = BLOCK_BYTES - position % BLOCK_BYTES
        _, length, kind = CHUNK.unpack_from(data, position)
        if left < CHUNK.size or (kind == 0 and length == 0):  # padding up to the next block
            position += left
            continue
        chunk = data[position + CHUNK.size : position + CHUNK.size + length]
        position += CHUNK.size + length
        if len(chunk) < length:  # a torn tail: the process was killed, or still writes
            return
        begun = chunk if kind in (FULL, FIRST) else begun + chunk
        if kind in (FULL, LAST):
            yield begun


def _put(values: dict[str, Any], item: Any) -> None:
    *way, last = list(item.nested_key) or [item.key]
    for key in way:
        values = values.setdefault(key, {})
    values[last] = json.loads(item.value_json)


def _remove(values: dict[str, Any], item: Any) -> None:
    *way, last = list(item.nested_key) or [item.key]
    for key in way:
        values = values.get(key, {})
    values.pop(last, None)

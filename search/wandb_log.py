"""The log of a local run without the rows that W&B has already.

`wandb sync` puts all rows of a log behind those that the server has: sent twice, or after a part of them was sent, a
run would have rows twice. While such a run is sent, a shorter log lies in the place of the whole one.
"""

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from analysis.offline_wandb import BLOCK_BYTES, CHUNK, FIRST, FULL, HEADER, LAST, MAGIC, MIDDLE, read_payloads
from search.wandb_folders import LocalRun


@contextlib.contextmanager
def shortened(run: LocalRun, *, after_step: int) -> Iterator[None]:
    """Within, the log of `run` has only the rows after `after_step`. Whatever happens, the whole one comes back."""
    restore(run)
    os.link(run.log, run.whole_log)
    short = run.log.with_name(f".{run.log.name}")
    short.write_bytes(_encoded(_later_than(after_step, run.whole_log)))
    short.replace(run.log)
    try:
        yield
    finally:
        restore(run)


def restore(run: LocalRun) -> None:
    """Put the whole log back, also where a sync was killed while the short one was there."""
    if run.whole_log.exists():
        run.whole_log.replace(run.log)


def _later_than(step: int, log: Path) -> Iterator[bytes]:
    from wandb.proto import wandb_internal_pb2 as protocol

    for payload in read_payloads(log):
        record = protocol.Record.FromString(payload)
        if record.WhichOneof("record_type") != "history" or record.history.step.num > step:
            yield payload


def _encoded(payloads: Iterator[bytes]) -> bytes:
    """The format of a `.wandb` file: a LevelDB log with plain checksums."""
    data = bytearray(HEADER.pack(*MAGIC))
    for payload in payloads:
        begun = False
        while True:
            left = BLOCK_BYTES - len(data) % BLOCK_BYTES
            if left < CHUNK.size:
                data += bytes(left)
                continue
            part, payload = payload[: left - CHUNK.size], payload[left - CHUNK.size :]
            kind = (MIDDLE if payload else LAST) if begun else (FIRST if payload else FULL)
            data += CHUNK.pack(zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind) + part
            begun = True
            if not payload:
                break
    return bytes(data)

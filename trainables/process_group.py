"""torch's default process group: forming it, leaving it, and telling its errors from those of the training itself."""

import contextlib
import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from torch.distributed import Store

# Gloo and NCCL raise RuntimeError or its torch subclasses; these are the words of a peer that is gone or silent.
_SIGNS = (
    "Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe", "gloo", "Gloo",
    "NCCL", "Timed out waiting", "Application timeout caused pair closure", "No backend type associated",
    "Default process group has not been initialized",
)  # fmt: skip


class _Connection(NamedTuple):
    fd: int
    here: tuple[str, int]
    there: tuple[str, int]


_to_peers: set[_Connection] = set()
"""The connections of the group that this process is in."""


def form_process_group(*, rank: int, world_size: int, timeout_seconds: float, store: "Store | None" = None) -> None:
    """Join the default process group: nccl where there are GPUs, else gloo. Without `store`, where MASTER_ADDR and
    MASTER_PORT say. No collective of the group takes longer than `timeout_seconds`."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    before = _connections()
    torch.distributed.init_process_group(
        backend="nccl" if torch.cuda.is_available() else "gloo",
        timeout=timedelta(seconds=timeout_seconds),
        rank=rank,
        world_size=world_size,
        store=store,
    )
    _to_peers.clear()
    _to_peers.update(_connections() - before)


def leave_process_group(*, cut: bool = False) -> None:
    """Leave the group. `cut`: a peer that waits for this process in a gloo collective learns of it at once.

    Destroying the group should do that, but DDP holds on to it for as long as the process lives.
    """
    import torch.distributed

    if not torch.distributed.is_initialized():
        return
    if cut:
        for connection in _to_peers & _connections():
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fd)) as same:
                same.shutdown(socket.SHUT_RDWR)
    _to_peers.clear()
    torch.distributed.destroy_process_group()


def _connections() -> set[_Connection]:
    return {
        _Connection(found.fd, tuple(found.laddr), tuple(found.raddr))
        for found in psutil.Process().net_connections("tcp")
        if found.raddr
    }


def can_be_formed_again() -> bool:
    """Whether a process that was cut off in a collective can go on. NCCL's watchdog ends such a process itself."""
    import torch.distributed

    return not torch.distributed.is_initialized() or torch.distributed.get_backend() == "gloo"


def is_collective_error(error: BaseException) -> bool:
    """Whether `error` says that a peer is gone or silent, and nothing about this process's own work."""
    if not isinstance(error, RuntimeError) or os.environ.get("WORLD_SIZE", "1") == "1":
        return False
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return False
    kinds = (torch.distributed.DistBackendError, torch.distributed.DistNetworkError)
    return isinstance(error, kinds) or any(sign in str(error) for sign in _SIGNS)

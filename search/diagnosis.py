"""What works on this machine, tried rather than guessed where that is quick."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil

from cluster.connect import ClusterError, connected, local_cpus
from trainables.data.cache import data_directory
from trainables.data.cache_entries import cache_entries, size_in_words, total_bytes

_PACKAGES = ("torch", "transformers", "datasets", "ray", "optuna", "wandb")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    verdict: Literal["ok", "note", "bad"]
    """`bad`: searches cannot run. `note`: something is missing that some searches need."""
    subject: str
    """What was looked at."""
    message: str
    """What was found, and what to do."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def diagnose() -> list[Finding]:
    """Look at everything, one after another."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        _packages,
        _memory,
        _devices,
        _cache,
        _disk,
        _ray,
        _wandb,
    )
    return [check() for check in checks]


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {local_cpus()} CPUs"
    return Finding(verdict="ok" if sys.version_info >= (3, 11) else "bad", subject="python", message=found)


def _packages() -> Finding:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            verdict="bad", subject="packages", message=f"missing: {', '.join(missing)}; pip install tunesmith"
        )
    return Finding(verdict="ok", subject="packages", message=", ".join(found))


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 1024**3
    message = f"{free:.1f} GiB of memory free" + ("" if free >= 2 else "; each warm trial process takes about 1 GiB")
    return Finding(verdict="ok" if free >= 2 else "note", subject="memory", message=message)


def _devices() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding(verdict="bad", subject="devices", message=f"torch does not import: {error}")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding(verdict="ok", subject="devices", message=", ".join(names))
    return Finding(verdict="note", subject="devices", message="no GPU: trials train on the CPU")


def _cache() -> Finding:
    folder = data_directory(None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(
            verdict="bad",
            subject="data cache",
            message=f"cannot write {folder}: {error}; set TUNESMITH_CACHE",
        )
    size = size_in_words(total_bytes(cache_entries()))
    return Finding(verdict="ok", subject="data cache", message=f"{folder}, {size} (`tunesmith cache` shows of what)")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1024**3
    return Finding(verdict="ok" if free >= 5 else "note", subject="disk", message=f"{free:.0f} GiB free in this folder")


def _ray() -> Finding:
    try:
        with connected() as capacity:
            message = f"starts here, with {capacity.cpus:g} CPUs and {capacity.gpus:g} GPUs"
        return Finding(verdict="ok", subject="ray", message=message)
    except ClusterError as error:
        return Finding(verdict="bad", subject="ray", message=str(error))


def _wandb() -> Finding:
    has_key = bool(os.environ.get("WANDB_API_KEY")) or "api.wandb.ai" in _netrc()
    if has_key:
        return Finding(verdict="ok", subject="W&B", message="a key is set: `tracking.wandb.mode: online` can be used")
    return Finding(
        verdict="note", subject="W&B", message="not logged in: runs stay offline; `wandb login` changes that"
    )


def _netrc() -> str:
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return path.read_text("utf-8", errors="ignore") if path.is_file() else ""

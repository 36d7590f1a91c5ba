"""Where a search was started: the machine, and the commit of the folder one stood in. For people who ask later."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

_PATIENCE_SECONDS = 5.0


def surroundings(folder: Path | None = None) -> dict[str, Any]:
    """`machine`, and `git` where `folder` (the current one by default) is in a repository and git is installed."""
    machine = {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }
    git = _git(folder or Path.cwd())
    return {"machine": machine, **({"git": git} if git else {})}


def _git(folder: Path) -> dict[str, Any]:
    commit = _answer(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    return {"commit": commit, "has_changes": bool(_answer(folder, "status", "--porcelain", "--untracked-files=no"))}


def _answer(folder: Path, *arguments: str) -> str:
    """What git says; empty where it is not installed, not a repository, or does not answer."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

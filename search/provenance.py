"""What trains: the commit of the code that a search was started beside, and versions of packages. Knows no search."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

_VERSIONS_OF = ("tunesmith", "torch", "transformers", "datasets", "ray", "optuna", "wandb")
_GIT_SECONDS = 5.0


def provenance() -> dict[str, Any]:
    """`python`, `versions`, and, started inside a git repository, `git_commit` and whether files in it have changed
    since (`git_is_dirty`)."""
    return {
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in _VERSIONS_OF},
        **git_state(Path.cwd()),
    }


def git_state(directory: Path) -> dict[str, Any]:
    """The commit that is checked out in `directory`; nothing where that is in no repository."""
    commit = _git(directory, "rev-parse", "HEAD")
    if not commit:
        return {}
    # Files that nobody has added are left out: a search writes some itself.
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, **({} if changes is None else {"git_is_dirty": bool(changes)})}


def _git(directory: Path, *arguments: str) -> str | None:
    """What git says; None where it is not installed, says no, or takes too long."""
    try:
        answer = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None

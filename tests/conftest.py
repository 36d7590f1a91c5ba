"""What every test stands on: no network, no user folders, one cache of prepared data for the whole run."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cluster.connect import set_environment

set_environment()  # before any test module imports ray, which reads it then
# Before torch and numpy are imported, which read it then: the models of tests gain nothing from a second thread, and
# two pytest processes with a thread a core each spend their time waiting for each other's threads at barriers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TUNESMITH = Path(sysconfig.get_path("scripts")) / "tunesmith"


@pytest.fixture(scope="session", autouse=True)
def _closed_world(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ.update(
        TUNESMITH_CACHE=str(tmp_path_factory.mktemp("cache")),
        HF_HUB_OFFLINE="1",
        WANDB_ERROR_REPORTING="false",
        WANDB_MODE="offline",
        TOKENIZERS_PARALLELISM="false",
    )
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        os.environ.pop(name, None)


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tunesmith(tmp_path: Path) -> Run:
    """Run the real command in `tmp_path`."""

    def run(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


def command(*arguments: str) -> Sequence[str]:
    """The command line that starts the installed console script with this Python."""
    return [sys.executable, str(TUNESMITH), *arguments]

"""Machines with homes of their own, so with nothing of each other's caches: what a search in a store passes between."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

import psutil
from conftest import command
from patience import HANG_SECONDS


class Machine:
    """Another place to start from, with a home and so a cache of its own: what a machine has."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.cache = folder / ".cache" / "tunesmith"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command here."""
        # Trials on other nodes are given TUNESMITH_CACHE, where it is set, so it is not.
        own = {name: value for name, value in os.environ.items() if name != "TUNESMITH_CACHE"}
        if (token := Path.home() / ".ray" / "auth_token").exists():
            own.setdefault("RAY_AUTH_TOKEN_PATH", str(token))
        return subprocess.Popen(
            command(*arguments), cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=own | {"HOME": str(self.folder)},
        )  # fmt: skip

    def run(self, *arguments: str) -> str:
        """What a command shows that goes well."""
        done = self.tried(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tried(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that may be refused."""
        process = self.start(*arguments)
        shown, errors = process.communicate(timeout=HANG_SECONDS)
        return subprocess.CompletedProcess(arguments, process.returncode, shown, errors)

    def leaderboard(self, url: str) -> list[dict[str, object]]:
        """The trials of a search, as this machine sees them."""
        entries: list[dict[str, object]] = json.loads(self.run("leaderboard", url, "--json"))
        return entries


def switch_off(driver: subprocess.Popen[str]) -> None:
    """A machine is gone at once, with all that runs on it."""
    processes = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=HANG_SECONDS)
    driver.communicate()

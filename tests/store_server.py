"""What servers of object stores have in common: a process of their own on a port of loopback, with a cable to cut."""

import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import pytest
from cable import Cable, free_port
from patience import HANG_SECONDS


class StoreServer(ABC):
    """One server. What it holds goes when it stops."""

    scheme: ClassVar[str]
    """Of its URLs."""
    modules: ClassVar[tuple[str, ...]]
    """What must be installed: the server, and who speaks to it."""
    answers_at: ClassVar[str]
    """A path that says that it is up."""
    empties_with: ClassVar[tuple[str, str]]
    """Path and method of the request that makes it forget all that it holds."""

    def __init__(self, log: Path) -> None:
        for module in self.modules:
            pytest.importorskip(module, reason=f"{module} is not installed")
        self._port = free_port()
        self._process = subprocess.Popen(self._command(self._port), stdout=subprocess.DEVNULL, stderr=log.open("wb"))
        deadline = time.monotonic() + HANG_SECONDS
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)
        self._cable = Cable(free_port(), self._port)

    @abstractmethod
    def _command(self, port: int) -> list[str]:
        """What starts it."""

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""

    @abstractmethod
    def make_bucket(self, name: str) -> None:
        """A new bucket."""

    @abstractmethod
    def _forget_connections(self) -> None:
        """Let this process speak to it, also where it has spoken to another one before."""

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self._cable.port}"

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this process, and those that it starts, find it."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        self._forget_connections()

    def empty(self) -> None:
        """As it was at its start, with nobody cut off."""
        self._cable.unplug()
        self._cable.plug_in()
        self._request(*self.empties_with)

    def cut_off(self) -> None:
        """Nobody reaches it from now on."""
        self._cable.unplug()

    def let_go_on(self) -> None:
        """It can be reached again, and has all that it had."""
        self._cable.plug_in()

    def close(self) -> None:
        """End it."""
        self._cable.unplug()
        self._process.terminate()
        self._process.wait(HANG_SECONDS)

    def _answers(self) -> bool:
        try:
            self._request(self.answers_at)
        except OSError:
            return False
        return True

    def _request(self, path: str, method: str = "GET", *, content: bytes | None = None) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data=content, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10):
            pass

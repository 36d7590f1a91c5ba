"""A server that speaks S3 (moto's) on a free port of loopback, in a process of its own: cut off and started again."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

_WAIT_SECONDS = 60.0


class S3Server:
    """One server. What it holds goes when it stops."""

    def __init__(self, log: Path) -> None:
        pytest.importorskip("moto.server", reason="moto[server] is not installed")
        pytest.importorskip("s3fs")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL, stderr=log.open("wb"),
        )  # fmt: skip
        deadline = time.monotonic() + _WAIT_SECONDS
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(0.1)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> None:
        """A new bucket."""
        self._request(f"/{name}", method="PUT")

    def cut_off(self) -> None:
        """From now on it accepts no request: clients wait for it."""
        os.kill(self._process.pid, 19)  # SIGSTOP

    def let_go_on(self) -> None:
        """It answers again, and has all that it had."""
        os.kill(self._process.pid, 18)  # SIGCONT

    def close(self) -> None:
        """End it."""
        self.let_go_on()
        self._process.terminate()
        self._process.wait(_WAIT_SECONDS)

    def _answers(self) -> bool:
        try:
            self._request("/moto-api/data.json")
        except OSError:
            return False
        return True

    def _request(self, path: str, *, method: str = "GET") -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=10):
            pass

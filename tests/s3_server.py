"""A server that speaks S3 (moto's) on a free port of loopback, in a process of its own: cut off and started again."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from cable import Cable, free_port
from patience import HANG_SECONDS


class S3Server:
    """One server. What it holds goes when it stops."""

    scheme = "s3"

    def __init__(self, log: Path) -> None:
        pytest.importorskip("moto.server", reason="moto[server] is not installed")
        pytest.importorskip("s3fs")
        self._port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)],
            stdout=subprocess.DEVNULL, stderr=log.open("wb"),
        )  # fmt: skip
        deadline = time.monotonic() + HANG_SECONDS
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(0.1)
        self._cable = Cable(free_port(), self._port)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._cable.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this process, and those that it starts, find it: also where it has talked to another one before."""
        import s3fs

        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()

    def make_bucket(self, name: str) -> None:
        """A new bucket."""
        self._request(f"/{name}", method="PUT")

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
            self._request("/moto-api/data.json")
        except OSError:
            return False
        return True

    def _request(self, path: str, *, method: str = "GET") -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=10):
            pass

"""A server that speaks Google Cloud Storage (an emulator) on loopback, in a process of its own, with a cable to cut."""

import json
import subprocess
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest
from cable import Cable, free_port
from patience import HANG_SECONDS

EMULATOR = Path(sysconfig.get_path("scripts")) / "gcp-storage-emulator"


class GcsServer:
    """One server. What it holds goes when it stops."""

    scheme = "gs"

    def __init__(self, log: Path) -> None:
        pytest.importorskip("gcp_storage_emulator", reason="gcp-storage-emulator is not installed")
        pytest.importorskip("gcsfs")
        self._port = free_port()
        self._process = subprocess.Popen(
            [str(EMULATOR), "start", "--host", "127.0.0.1", "--port", str(self._port), "--in-memory"],
            stdout=subprocess.DEVNULL, stderr=log.open("wb"),
        )  # fmt: skip
        deadline = time.monotonic() + HANG_SECONDS
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.1)
        self._cable = Cable(free_port(), self._port)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""
        return {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self._cable.port}", "NO_GCE_CHECK": "true"}

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this process, and those that it starts, find it: also where it has talked to another one before."""
        import gcsfs

        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        gcsfs.GCSFileSystem.clear_instance_cache()

    def make_bucket(self, name: str) -> None:
        """A new bucket."""
        self._request("/storage/v1/b?project=test", content=json.dumps({"name": name}).encode())

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
            self._request("/")
        except OSError:
            return False
        return True

    def _request(self, path: str, *, content: bytes | None = None) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}", data=content, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

"""A server that speaks S3 (moto's) on a free port of loopback, in a process of its own: cut off and started again."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

_WAIT_SECONDS = 60.0


class S3Server:
    """One server. What it holds goes when it stops."""

    def __init__(self, log: Path) -> None:
        pytest.importorskip("moto.server", reason="moto[server] is not installed")
        pytest.importorskip("s3fs")
        self._port = _free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)],
            stdout=subprocess.DEVNULL, stderr=log.open("wb"),
        )  # fmt: skip
        deadline = time.monotonic() + _WAIT_SECONDS
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(0.1)
        self._cable = _Cable(_free_port(), self._port)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._cable.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

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
        self._process.wait(_WAIT_SECONDS)

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


class _Cable:
    """Passes on what clients of one port and the server at another have to say to each other, until it is unplugged."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._ends: list[socket.socket] = []
        self.plug_in()

    def plug_in(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def unplug(self) -> None:
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

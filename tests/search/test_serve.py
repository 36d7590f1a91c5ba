"""`serve`: a real process, real requests, and nothing left when it is told to stop."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import command
from patience import HANG_SECONDS
from recorded_searches import Session
from trained_searches import trained

from search.serve import TOKEN


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return trained(tmp_path_factory.mktemp("search"), trials=1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@contextlib.contextmanager
def serving(search: Session, port: int, temporary: Path, *options: str, **environment: str) -> Iterator[Any]:
    temporary.mkdir()
    server = subprocess.Popen(
        command("serve", str(search.files.path), "--port", str(port), *options),
        env=os.environ | {"TMPDIR": str(temporary)} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_until_ready(server, port)
        yield server
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def wait_until_ready(server: "subprocess.Popen[str]", port: int) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, server.communicate()
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if ask(port, "/health") == (200, {"status": "ready"}):
                return
        time.sleep(0.2)
    raise AssertionError("it did not become ready")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGINT, id="SIGINT", marks=pytest.mark.slow)],
)
def test_it_answers_and_leaves_nothing_when_it_is_stopped(search: Session, tmp_path: Path, number: int) -> None:
    port, temporary = free_port(), tmp_path / "temporary"
    with serving(search, port, temporary) as server:
        status, told = ask(port, "/predict", {"inputs": ["thing 3 is red red", "thing 9 is blue blue"]})
        assert status == 200
        assert [set(answer) for answer in told["predictions"]] == [{"label", "score"}] * 2
        assert ask(port, "/")[1]["trial"] == 0
        assert ask(port, "/predict", {"inputs": ["x"] * 100})[0] == 413
        taken = subprocess.run(
            command("serve", str(search.files.path), "--port", str(port)), capture_output=True, text=True, check=False
        )
        assert (taken.returncode, "--port" in taken.stderr) == (2, True)
        children = psutil.Process(server.pid).children(recursive=True)
        server.send_signal(number)
        out, err = server.communicate(timeout=HANG_SECONDS)
        assert server.returncode == 0, err
        assert out.rstrip().endswith("stopped")
    assert is_free(port)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_replicas_share_the_port_and_end_with_the_one_that_started_them(search: Session, tmp_path: Path) -> None:
    port, secret = free_port(), {TOKEN: "secret"}
    with serving(search, port, tmp_path / "one", "--num-replicas", "2", **secret) as server:
        assert ask(port, "/predict", {"inputs": "red"})[0] == 401
        assert ask(port, "/predict", {"inputs": "red"}, Authorization="Bearer secret")[0] in (200, 503)
        replicas = psutil.Process(server.pid).children(recursive=True)
        assert len([each for each in replicas if "resource_tracker" not in " ".join(each.cmdline())]) == 2
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=HANG_SECONDS)
        assert server.returncode == 0
    assert is_free(port)
    psutil.wait_procs(replicas, timeout=10)
    assert not [each for each in replicas if each.is_running()]

    with serving(search, port, tmp_path / "two", "--num-replicas", "2") as server:
        replicas = psutil.Process(server.pid).children(recursive=True)
        server.kill()
        server.wait()
        psutil.wait_procs(replicas, timeout=30)
        assert not [each for each in replicas if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert is_free(port)

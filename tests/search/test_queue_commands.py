"""The queue's commands against its real API, served in this process over a real database. No keeper acts on it."""

import http.server
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from conftest import Run
from store_server import StoreServer

from cluster.queue_store import QueueStore, open_store
from cluster.visitors import Doorkeeper
from search.service import Pulse, make_app
from spaces.store import Store

TOKEN = "team-token"
SPEC = """
name: one
trainable: walking:train
config: {slope: 1.0}
space: {config.slope: {choice: [0.5, 1.0]}}
search: {algorithm: grid, metric: loss}
resources: {cpus_per_worker: 2}
tracking: {wandb: {mode: disabled}}
"""
Queue = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def store(tmp_path: Path) -> QueueStore:
    return open_store(str(tmp_path / "queue.db"))


@pytest.fixture
def url(store: QueueStore) -> Iterator[str]:
    app = make_app(store, Doorkeeper(tokens=((None, TOKEN),)), pulse=Pulse())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def call(tunesmith_here: Run, url: str, tmp_path: Path) -> Queue:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "walking.py").write_text(
        "def train(config, report): report({'loss': 1.0}, step=1, is_final=True)"
    )  # fmt: skip

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return tunesmith_here(*arguments, "--queue-address", url, "--token-file", "token")

    return run


def _hand_in(call: Queue, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return call("submit", "spec.yaml", "--queue", "--storage", str(folder / "storage"), *more)


def test_a_search_is_handed_in_listed_bumped_and_cancelled(
    call: Queue, store: QueueStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _hand_in(call, tmp_path, "--user", "ann", "--priority", "1")
    assert done.stdout.startswith("one is in the queue, as number 1 of ann"), done.stderr
    assert sorted(store.package(store.get(1).package).files) == ["spec.yaml", "walking.py"]
    store.begin_term().explain(store.get(1), "quota of ann: 2 of 2 GPUs in use")
    monkeypatch.setenv("COLUMNS", "200")
    listed = call("queue", "list").stdout.splitlines()[1].split()
    assert listed[:7] == ["1", "one", "ann", "1", "queued", "wants", "auto"]
    assert " ".join(listed).endswith("quota of ann: 2 of 2 GPUs in use")
    assert json.loads(call("queue", "bump", "one", "--priority", "7", "--json").stdout)["priority"] == 7
    assert call("queue", "cancel", "one").stdout == "one is out of the queue.\n"
    assert call("queue", "list").stdout == "the queue is empty.\n"
    assert [each["state"] for each in json.loads(call("queue", "list", "--all", "--json").stdout)] == ["CANCELLED"]


def test_the_folder_of_a_search_is_handed_in_to_go_on(call: Queue, store: QueueStore, tmp_path: Path) -> None:
    (tmp_path / "storage" / "one").mkdir(parents=True)
    (tmp_path / "storage" / "one" / "spec.yaml").write_text(f"{SPEC}storage: {tmp_path}/storage\n")
    done = call("submit", str(tmp_path / "storage" / "one"), "--queue")
    assert done.returncode == 0, done.stderr
    assert store.get(1).search.command == ("resume", str(tmp_path / "storage" / "one"), "--address", "auto")


def test_the_url_of_a_search_is_handed_in_to_go_on(
    call: Queue, store: QueueStore, s3: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    url = "s3://bucket/searches/one"
    Store.at(url).write("mirror.json", '{"copy": "another", "host": "there", "process": 1, "running": false}')
    Store.at(url).write("spec.yaml", f"{SPEC}storage: s3://bucket/searches\n")
    done = call("submit", url, "--queue", "--user", "ann")
    assert done.returncode == 0, done.stderr
    assert (store.get(1).search.directory, store.get(1).search.user) == (url, "ann")
    assert store.get(1).search.command == ("resume", url, "--address", "auto")


def test_quotas_are_set_and_shown(call: Queue) -> None:
    assert "no quotas" in call("queue", "quota").stdout
    call("queue", "quota", "ann", "--gpus", "2")
    shown = call("queue", "quota", "*", "--cpus", "8", "--weight", "2").stdout.splitlines()
    assert [line.split() for line in shown[1:]] == [
        ["ann", "2", "no", "limit", "1"], ["everybody", "else", "no", "limit", "8", "2"],
    ]  # fmt: skip
    assert list(json.loads(call("queue", "quota", "ann", "--remove", "--json").stdout)) == ["*"]


def test_what_the_queue_refuses_is_an_error_here(call: Queue, tmp_path: Path) -> None:
    assert _hand_in(call, tmp_path).returncode == 0
    again = _hand_in(call, tmp_path)
    assert (again.returncode, "in the queue already" in again.stderr) == (2, True)
    unknown = call("queue", "cancel", "two")
    assert (unknown.returncode, "no search `two`" in unknown.stderr) == (2, True)


def test_a_wrong_token_and_no_queue_say_what_to_do(call: Queue, tunesmith_here: Run, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("wrong")
    wrong = call("queue", "list")
    assert (wrong.returncode, "does not know the token from --token-file token" in wrong.stderr) == (4, True)
    nobody = tunesmith_here("queue", "list", "--queue-address", "http://127.0.0.1:9")
    assert (nobody.returncode, "tunesmith queue start" in nobody.stderr) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("submit", "spec.yaml"), "where to? `--address http://HOST:8265`"),
        (("queue", "quota", "--gpus", "2"), "whose quota?"),
        (("queue", "start", "--address", "http://h:1", "--database", "queue.db"), "an absolute path on the head"),
        (("queue", "start", "--address", "http://h:1", "--database", "mysql://h/q"), "but got `mysql://`"),
        (("queue", "start", "--address", "http://h:1", "--database", "postgresql://a:b@h/q"), "~/.pgpass"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(
    tunesmith_here: Run, call: Queue, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    if arguments[0] == "submit":
        arguments = (*arguments, "--storage", str(tmp_path))
    done = tunesmith_here(*arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_what_is_no_queue_is_said_to_be_none(tunesmith_here: Run) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if "active" in self.path else 404)
            self.end_headers()
            self.wfile.write(b"<html>a page</html>")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for command in (("list",), ("quota",)):
        done = tunesmith_here("queue", *command, "--queue-address", f"http://127.0.0.1:{server.server_port}")
        assert done.returncode == 4
        assert "is no queue (status" in done.stderr
    server.shutdown()

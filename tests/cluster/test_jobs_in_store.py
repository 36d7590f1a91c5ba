"""A submitted search in an object store: a real head, a real S3 server, and a client that sees no folder of it."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import command
from patience import HANG_SECONDS
from ray_cluster import RayHead, running_head
from s3_server import S3Server

from analysis.sources import read_records
from spaces.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow]

URL = "s3://bucket/searches/far"
SPEC = """
name: far
trainable: walking:train
config: {slope: 1.0, steps: 20, slow: /nowhere}
space: {config.slope: {choice: [0.5, 1.0]}}
search: {algorithm: grid, metric: loss}
tracking: {wandb: {mode: disabled}}
storage: s3://bucket/searches
"""
# It needs a module that lies beside it, goes on from its checkpoints, and takes its time while a file is there.
WALKING = """
import pathlib, tempfile, time
from steepness import loss

def train(config, report):
    done = int((report.checkpoint / "done").read_text()) if report.checkpoint else 0
    for step in range(done + 1, config["steps"] + 1):
        time.sleep(2.0 if pathlib.Path(config["slow"]).exists() else 0.0)
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "done").write_text(str(step))
        report({"loss": loss(config, step)}, step=step, checkpoint=folder, is_final=step == config["steps"])
"""

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayHead]:
    """Its nodes have credentials, and a cache of their own."""
    server = S3Server(tmp_path / "server.log")
    server.enter(monkeypatch)
    server.make_bucket("bucket")
    with pytest.MonkeyPatch.context() as of_cluster:
        of_cluster.setenv("TUNESMITH_CACHE", str(tmp_path / "cluster-cache"))
        with running_head(tmp_path) as found:
            of_cluster.undo()
            yield found
    server.close()


@pytest.fixture
def call(head: RayHead, tmp_path: Path) -> Call:
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "spec.yaml").write_text(SPEC)
    (tmp_path / "client" / "walking.py").write_text(WALKING)
    (tmp_path / "client" / "steepness.py").write_text("def loss(config, step): return config['slope'] / step")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments, "--address", head.url), cwd=tmp_path / "client", env=head.environment,
            capture_output=True, text=True, timeout=HANG_SECONDS, check=False,
        )  # fmt: skip

    return run


def test_a_search_in_a_store_is_submitted_followed_stopped_and_resumed(call: Call, tmp_path: Path) -> None:
    (slow := tmp_path / "slow").touch()
    begun = call("submit", "spec.yaml", "--set", f"config.slow={slow}")
    assert begun.returncode == 0, begun.stderr
    assert f"folder    {URL}" in begun.stdout
    store = Store.at(URL)
    _until(lambda: [name for name in store.names() if name.endswith("/last.json")], call)
    status = json.loads(call("jobs", "status", "far", "--json").stdout)
    assert (status["state"], status["directory"]) == ("running", URL)
    stopped = call("jobs", "stop", "far")
    assert stopped.stdout.startswith("stopped far"), stopped.stdout + stopped.stderr
    assert {trial.state for trial in read_records(URL).trials} == {"RUNNING"}
    slow.unlink()
    resumed = call("submit", URL)
    assert resumed.returncode == 0, resumed.stderr
    followed = call("jobs", "logs", "far", "--follow")
    assert followed.returncode == 0, followed.stdout
    record = read_records(URL)
    assert [(trial.state, trial.value) for trial in record.trials] == [("COMPLETE", 0.5 / 20), ("COMPLETE", 1.0 / 20)]
    for trial in record.trials:
        assert [row["evaluation"] for row in record.history_of(trial.number)] == list(range(1, 21))
    again = call("submit", "spec.yaml")
    assert again.returncode == 2
    assert "`far` was submitted before" in again.stderr


def _until(condition: Callable[[], object], call: Call) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, call("jobs", "logs", "far").stdout
        time.sleep(0.5)

"""A queue on a real Ray cluster: two people's searches share two CPUs while the keeper is killed."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import command
from patience import HANG_SECONDS
from ray_cluster import RayHead, running_head

from analysis.sources import read_records
from cluster.queue_store import open_store

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SPEC = """
name: NAME
trainable: napping:train
config: {x: 1.0}
space: {config.x: {choice: [1, 2, 3, 4, 5, 6, 7, 8]}}
search: {algorithm: grid, metric: loss}
tracking: {wandb: {mode: disabled}}
"""
NAPPING = """
import time

def train(config, report):
    time.sleep(1.5)
    report({"loss": config["x"]}, step=1, is_final=True)
"""
WAITING = """
import pathlib, time

def train(config, report):
    while not pathlib.Path(config["file"]).exists():
        time.sleep(0.1)
    report({"loss": config["x"]}, step=1, is_final=True)
"""
PORT = 28270
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    with running_head(tmp_path_factory.mktemp("head")) as found:
        yield found


@pytest.fixture
def call(head: RayHead, tmp_path: Path) -> Call:
    environment = head.environment | {"TUNESMITH_QUEUE": f"http://127.0.0.1:{PORT}"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )

    return run


def test_two_searches_share_a_cluster_and_a_killed_keeper_comes_back_and_loses_nothing(
    head: RayHead, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "napping.py").write_text(NAPPING)
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(SPEC.replace("NAME", name))
    start = ("queue", "start", "--address", head.url, "--database", str(tmp_path / "queue.db"), "--port", str(PORT))
    kept = json.loads(_good(call(*start, "--json")).stdout)
    assert kept["started"]
    assert not json.loads(_good(call(*start, "--json")).stdout)["started"], "one keeper is enough"
    storage = ("--storage", str(tmp_path / "storage"))
    _good(call("submit", "first.yaml", "--queue", "--user", "ann", *storage))
    _wait_until(call, lambda found: found["first"]["state"] == "RUNNING")
    _good(call("submit", "second.yaml", "--queue", "--user", "bob", *storage))
    _wait_until(call, lambda found: found["second"]["state"] == "RUNNING")
    os.kill(kept["process"], signal.SIGKILL)
    ended = _wait_until(call, lambda found: all(each["ended_at"] for each in found.values()))
    assert {name: (each["state"], each["attempt"]) for name, each in ended.items()} == {
        "first": ("ENDED", 1), "second": ("ENDED", 1),
    }  # fmt: skip
    for name in ("first", "second"):
        record = read_records(tmp_path / "storage" / name)
        assert sorted(trial.value or 0.0 for trial in record.trials) == [1, 2, 3, 4, 5, 6, 7, 8]
    lanes = [event.lanes for event in open_store(str(tmp_path / "queue.db")).events(1) if event.event == "LANES"]
    assert lanes[0] == 1, "the first gave up a lane for the second"
    assert json.loads(_good(call("queue", "stop", "--address", head.url, "--json")).stdout) == {"stopped": True}
    assert call("queue", "list").returncode == 4


def test_a_paused_search_lends_its_lane_and_gets_one_back_when_it_goes_on(
    head: RayHead, call: Call, tmp_path: Path
) -> None:
    """Two CPUs, two searches whose trials wait for a file: at each step the cluster stays as it is until it is told."""
    (tmp_path / "waiting.py").write_text(WAITING)
    may_end = {name: tmp_path / f"{name}-may-end" for name in ("lender", "borrower")}
    for name, file in may_end.items():
        spec = SPEC.replace("NAME", name).replace("napping", "waiting").replace("x: 1.0", f"x: 1.0, file: {file}")
        (tmp_path / f"{name}.yaml").write_text(spec)
    database = str(tmp_path / "lending.db")
    start = ("queue", "start", "--address", head.url, "--database", database, "--port", str(PORT), "--json")
    _good(call(*start))
    storage = ("--storage", str(tmp_path / "storage"))
    _good(call("submit", "lender.yaml", "--queue", "--user", "ann", *storage))
    _wait_until(call, lambda found: found["lender"]["state"] == "RUNNING")
    _good(call("submit", "borrower.yaml", "--queue", "--user", "bob", *storage))
    _wait_until(call, lambda found: found["lender"]["lanes"] == 1)
    _good(call("jobs", "pause", "lender", "--address", head.url))
    may_end["lender"].touch()  # those that run end, and others do not begin
    found = _wait_until(call, lambda found: (found["lender"]["lanes"], found["borrower"]["lanes"]) == (0, 2))
    assert found["lender"]["message"] == "paused: others have its lanes meanwhile"
    folder = tmp_path / "storage" / "lender"
    assert sum(trial.state == "COMPLETE" for trial in read_records(folder).trials) < 8
    _good(call("jobs", "go-on", "lender", "--address", head.url))
    found = _wait_until(call, lambda found: found["borrower"]["lanes"] == 1)
    assert found["lender"]["lanes"] == 0, "two trials of the other still run"
    may_end["borrower"].touch()
    ended = _wait_until(call, lambda found: all(each["ended_at"] for each in found.values()))
    assert {name: (each["state"], each["attempt"]) for name, each in ended.items()} == {
        "lender": ("ENDED", 1), "borrower": ("ENDED", 1),
    }  # fmt: skip
    for name in may_end:
        states = [trial.state for trial in read_records(tmp_path / "storage" / name).trials]
        assert states == ["COMPLETE"] * 8
    _good(call("queue", "stop", "--address", head.url, "--json"))


def _wait_until(call: Call, is_so: Callable[[dict[str, dict[str, object]]], bool]) -> dict[str, dict[str, object]]:
    deadline, found = time.monotonic() + HANG_SECONDS, {}
    while time.monotonic() < deadline:
        listed = call("queue", "list", "--all", "--json")
        if listed.returncode == 0:
            found = {each["name"]: each for each in json.loads(listed.stdout)}
            if is_so(found):
                return found
        time.sleep(0.5)
    raise AssertionError(f"not in time: {found}")


def _good(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stderr
    return done

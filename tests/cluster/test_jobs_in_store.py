"""Submitted searches in an object store: a real head, a real S3 server, and a client that sees no folder of them.

By hand and through the queue, each on a cluster of its own.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from cable import free_port
from far_searches import Call, client, lay_out
from patience import HANG_SECONDS
from ray_cluster import RayHead, running_head
from store_server import StoreServer

from analysis.records import SearchRecord
from analysis.sources import read_records
from spaces.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow]

URL = "s3://bucket/searches/far"
STEPS = 20


@pytest.fixture
def head(tmp_path: Path, s3: StoreServer) -> Iterator[RayHead]:
    """Its nodes have credentials, and a cache of their own."""
    with pytest.MonkeyPatch.context() as of_cluster:
        of_cluster.setenv("TUNESMITH_CACHE", str(tmp_path / "cluster-cache"))
        with running_head(tmp_path) as found:
            of_cluster.undo()
            yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "client")


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """While this file is there, trials take their time."""
    (tmp_path / "slow").touch()
    return tmp_path / "slow"


def _submit(slow: Path, *, nap: float) -> tuple[str, ...]:
    choices = (
        "--set",
        f"config.steps={STEPS}",
        "--set",
        f"config.nap={nap}",
        "--set",
        "space.config.slope={choice: [0.5, 1.0]}",
    )
    return ("submit", "spec.yaml", "--storage", "s3://bucket/searches", "--set", f"config.slow={slow}", *choices)


def test_a_search_in_a_store_is_submitted_followed_stopped_and_resumed(head: RayHead, folder: Path, slow: Path) -> None:
    call = client(head, folder, RAY_API_SERVER_ADDRESS=head.url)
    begun = call(*_submit(slow, nap=2.0))
    assert begun.returncode == 0, begun.stderr
    assert f"folder    {URL}" in begun.stdout
    _until(_has_checkpoint, call)
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
    _assert_is_whole(read_records(URL))
    again = call(*_submit(slow, nap=2.0))
    assert again.returncode == 2
    assert "`far` was submitted before" in again.stderr


def test_a_search_of_the_queue_in_a_store_is_paused_scaled_cancelled_and_resumed_while_its_keeper_is_killed(
    head: RayHead, folder: Path, slow: Path, tmp_path: Path
) -> None:
    port = free_port()
    call = client(
        head, folder, RAY_API_SERVER_ADDRESS=head.url, TUNESMITH_QUEUE=f"http://127.0.0.1:{port}"
    )  # fmt: skip
    started = call("queue", "start", "--database", str(tmp_path / "queue.db"), "--port", str(port), "--json")
    assert started.returncode == 0, started.stderr
    handed_in = call(*_submit(slow, nap=8.0), "--queue")
    assert handed_in.returncode == 0, handed_in.stderr
    _until(_has_checkpoint, call)
    assert _queued(call)["lanes"] == 2
    scaled = call("jobs", "scale", "far", "1")
    assert scaled.returncode == 0, scaled.stdout + scaled.stderr
    _until(lambda: _queued(call)["lanes"] == 1, call)
    os.kill(json.loads(started.stdout)["process"], signal.SIGKILL)
    paused = call("jobs", "pause", "far")
    assert paused.returncode == 0, paused.stdout + paused.stderr
    _until(lambda: _queued(call)["message"] == "paused: others have its lanes meanwhile", call)
    assert call("jobs", "go-on", "far").returncode == 0
    _until(lambda: _queued(call)["lanes"] == 1, call)
    told = requests.get(
        f"http://127.0.0.1:{port}/searches/far", headers={"Authorization": f"Bearer {head.token}"}, timeout=60
    ).json()
    assert told["progress"]["running"]
    assert told["progress"]["counts"]["RUNNING"] > 0
    assert call("queue", "cancel", "far").returncode == 0
    ended = _until(lambda: (found := _queued(call))["ended_at"] and found, call)
    assert (ended["state"], ended["attempt"]) == ("CANCELLED", 1)
    assert ended["message"].endswith("it can be resumed")
    slow.unlink()
    again = call("submit", URL, "--queue")
    assert again.returncode == 0, again.stderr
    ended = _until(lambda: (found := _queued(call))["ended_at"] and found["number"] == 2 and found, call)
    assert (ended["state"], ended["attempt"]) == ("ENDED", 1), ended["message"]
    _assert_is_whole(read_records(URL))
    assert json.loads(call("queue", "stop", "--json").stdout) == {"stopped": True}


def _has_checkpoint() -> bool:
    return any(name.endswith("/last.json") for name in Store.at(URL).names())


def _queued(call: Call) -> dict[str, object]:
    """The search in the queue; the last one that was handed in."""
    listed = call("queue", "list", "--all", "--json")
    if listed.returncode != 0:
        return dict.fromkeys(("lanes", "message", "ended_at"))  # the keeper is away
    last: dict[str, object] = json.loads(listed.stdout)[-1]
    return last


def _assert_is_whole(record: SearchRecord) -> None:
    """All trials are at their end, with each evaluation once."""
    assert [(each.state, each.value) for each in record.trials] == [("COMPLETE", slope / STEPS) for slope in (0.5, 1.0)]
    for trial in record.trials:
        assert [row["evaluation"] for row in record.history_of(trial.number)] == list(range(1, STEPS + 1))


def _until(found: Callable[[], object], call: Call) -> object:
    deadline = time.monotonic() + HANG_SECONDS
    while not (it := found()):
        assert time.monotonic() < deadline, call("jobs", "logs", "far").stdout
        time.sleep(0.5)
    return it

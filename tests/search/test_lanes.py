"""Lanes of a real search: it begins with what it was granted, and gives the room of a lane back, process and all."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run, command
from patience import HANG_SECONDS

from analysis.records import SearchFiles
from search.control import FIRST_LANES, ask_to_take, first_lanes, shown_lanes

SPEC = """
name: sharing
trainable: sleeping:train
config: {x: 1.0}
space: {config.x: {uniform: [0, 1]}}
search: {algorithm: random, metric: loss, trials: 1000}
resources: {concurrent_trials: 2}
tracking: {wandb: {mode: disabled}}
storage: searches
"""
SLEEPING = """
import os, pathlib, time

def train(config, report):
    pathlib.Path("pids", str(os.getpid())).touch()
    while not pathlib.Path("hurry").exists():
        time.sleep(0.1)
    time.sleep(0.3)
    report({"loss": config["x"]}, step=1, is_final=True)
"""


@pytest.mark.parametrize(("granted", "lanes"), [("", 4), ("2", 2), ("9", 4)])
def test_a_session_begins_with_what_it_was_granted_and_not_with_more_than_it_would_run(
    granted: str, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FIRST_LANES, granted)
    assert first_lanes(4).num_concurrent == lanes


@pytest.mark.ray
def test_a_search_that_is_told_to_run_fewer_ends_the_process_of_the_lane_it_gives_up(
    tmp_path: Path, tunesmith: Run
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "sleeping.py").write_text(SLEEPING)
    (tmp_path / "pids").mkdir()
    files = SearchFiles(tmp_path / "searches" / "sharing")

    def alive() -> int:
        return sum(Path("/proc", pid.name).exists() for pid in (tmp_path / "pids").iterdir())

    with (tmp_path / "log").open("w") as log:
        search = subprocess.Popen(
            command("run", "spec.yaml"), cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, FIRST_LANES: "1"},
        )  # fmt: skip
    try:
        _wait_until(lambda: alive() == 1, "the first trial runs")
        lanes = shown_lanes(files)
        assert lanes is not None
        assert lanes.num_concurrent == 1
        assert "concurrent_trials: 2" in files.spec.read_text()
        ask_to_take(files, 2, timeout_seconds=HANG_SECONDS)  # as the keeper of a queue does
        _wait_until(lambda: alive() == 2, "a second process trains, too")
        tunesmith("scale", "searches/sharing", "1")
        (tmp_path / "hurry").touch()
        _wait_until(lambda: alive() == 1, "the second process has ended")
        _wait_until(lambda: _num_running(files) <= 1, "the other one goes on alone")
        trained = len(list((files.path / "trials").iterdir()))
        _wait_until(lambda: len(list((files.path / "trials").iterdir())) > trained + 5, "it goes on")
        assert len(list((tmp_path / "pids").iterdir())) == 2, "one warm process for all trials of a lane"
        assert search.poll() is None, (tmp_path / "log").read_text()
    finally:
        search.terminate()
        search.wait(HANG_SECONDS)


def _num_running(files: SearchFiles) -> int:
    lanes = shown_lanes(files)
    assert lanes is not None
    return lanes.num_running


def _wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)

"""Searches of many trials that take no time: all lanes have their process, and what has ended is let go."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import command
from patience import HANG_SECONDS

from analysis.sources import read_records

pytestmark = pytest.mark.ray

SPEC = """
name: short
trainable: passing:train
config: {x: 1.0}
space: {config.x: {uniform: [0, 1]}}
search: {algorithm: random, metric: loss}
resources: {concurrent_trials: 2}
checkpoints: {save: false}
tracking: {wandb: {mode: disabled}}
storage: searches
"""
PASSING = """
import os, pathlib, time

def train(config, report):
    pathlib.Path("pids", str(os.getpid())).touch()
    time.sleep(0.1)
    report({"loss": config["x"]}, step=1, is_final=True)
"""
# Runs the search, and looks at how many trials Tune holds whenever it starts one.
WATCHED = """
from search import processes

processes._ENDED_KEPT = 4
seen = []
forget = processes.Processes.forget_ended

def watched(self):
    forget(self)
    seen.append(len(self._controller._trials))

processes.Processes.forget_ended = watched
from search.cli.main import app

try:
    app(["run", "spec.yaml", "--set", "search.trials=15"])
finally:
    print("at most", max(seen), "trials held")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the search is started."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "passing.py").write_text(PASSING)
    (tmp_path / "pids").mkdir()
    return tmp_path


def test_trials_that_are_shorter_than_the_start_of_a_process_run_in_all_lanes(folder: Path) -> None:
    with (folder / "log").open("w") as log:
        search = subprocess.Popen(
            command("run", "spec.yaml", "--set", "search.trials=100000"), cwd=folder, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + HANG_SECONDS
        while len(list((folder / "pids").iterdir())) < 2:
            assert search.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "all trials run in one process"
            time.sleep(0.2)
        trained = len(list((folder / "searches/short/trials").iterdir()))
        while len(list((folder / "searches/short/trials").iterdir())) < trained + 20:
            assert time.monotonic() < deadline, "it does not go on"
            time.sleep(0.2)
        assert len(list((folder / "pids").iterdir())) == 2, "a lane has one process for all of its trials"
    finally:
        search.terminate()
        search.wait(HANG_SECONDS)


def test_tune_does_not_hold_on_to_trials_that_have_ended(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=folder, capture_output=True, text=True, timeout=HANG_SECONDS, check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    record = read_records(folder / "searches" / "short")
    assert record.count("COMPLETE") == 15, done.stdout + done.stderr
    held = next(line for line in done.stdout.splitlines() if line.startswith("at most"))
    assert int(held.split()[2]) <= 4 + 2, "those that were kept, and those that run"

"""A search that is kept in an object store: killed on one machine, gone on with on another that has nothing of it; and
on nodes that share nothing else.
"""

import collections
import shutil
import time
from pathlib import Path

import pytest
from machines import Machine, switch_off
from patience import HANG_SECONDS
from store_server import StoreServer

from analysis.kept import brought_here
from analysis.records import SearchFiles
from analysis.sources import read_records
from spaces.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NUM_TRIALS, STEPS = 5, 4
URL = "s3://bucket/searches/walk"
SPEC = """
name: walk
trainable: {folder}/walking.py:train
config: {{x: 0.5}}
space: {{config.x: {{uniform: [0.0, 1.0]}}}}
search: {{algorithm: random, metric: distance, mode: min, trials: 5}}
resources: {{concurrent_trials: 2}}
tracking: {{wandb: {{mode: offline}}}}
storage: s3://bucket/searches
"""
# Each step is logged before it is reported; the log tells what really ran.
FUNCTION = f"""
import os, time, tempfile, pathlib

def train(config, report):
    done = int((report.checkpoint / "step").read_text()) if report.checkpoint else 0
    for step in range(done + 1, {STEPS} + 1):
        with open(os.path.join(os.path.dirname(__file__), "steps.log"), "a") as file:
            file.write(f"{{config['x']}} {{step}}\\n")
        time.sleep(0.4)
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "step").write_text(str(step))
        report({{"distance": abs(config["x"] - 0.3) + 1 / step}}, checkpoint=folder, is_final=step == {STEPS})
"""


def test_a_killed_search_goes_on_elsewhere_with_nothing_lost_but_what_was_in_flight(
    tmp_path: Path, s3: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "steps.log"
    (tmp_path / "walking.py").write_text(FUNCTION)
    first, second, third = (Machine(tmp_path / name) for name in ("first", "second", "third"))
    (first.folder / "spec.yaml").write_text(SPEC.format(folder=tmp_path))
    driver = first.start("run", "spec.yaml")
    deadline = time.monotonic() + HANG_SECONDS
    while not log.exists() or len(log.read_text().splitlines()) < 2 * STEPS + 3:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline, "the search did not get going"
        time.sleep(0.05)
    switch_off(driver)
    shutil.rmtree(first.folder)

    shown = second.run("resume", URL)
    assert f"tunesmith trial {URL}" in shown
    steps = collections.Counter(log.read_text().splitlines())
    assert len(steps) == NUM_TRIALS * STEPS
    assert sum(steps.values()) - len(steps) <= 2, "what was in flight may run twice, and nothing else"
    monkeypatch.setenv("TUNESMITH_CACHE", str(third.cache))
    files = SearchFiles(brought_here(URL))
    record = read_records(URL)
    assert [(trial.number, trial.state) for trial in record.trials] == [(n, "COMPLETE") for n in range(NUM_TRIALS)]
    for trial in record.trials:
        assert [row["evaluation"] for row in files.trial(trial.number).read_history()] == list(range(1, STEPS + 1))
        assert len(trial.intermediate) == STEPS
    boards = [machine.leaderboard(URL) for machine in (second, third)]
    assert [entry["checkpoint"] is not None for entry in boards[0]] == [True] + [False] * (NUM_TRIALS - 1)
    assert [entry["checkpoint"] is not None for entry in boards[1]] == [True] + [False] * (NUM_TRIALS - 1)
    assert [{**entry, "checkpoint": None} for entry in boards[1]] == [
        {**entry, "checkpoint": None} for entry in boards[0]
    ]

    stored = Store.at(URL).names()
    assert record.best is not None
    kept = {name.split("/")[1] for name in stored if "/checkpoints/" in name}
    assert kept == {str(record.best.number)}, "what a loser left is removed from the store, too"
    assert not [name for name in stored if "/reports/" in name]
    assert {"spec.yaml", "study.db", "leaderboard.csv"} <= set(stored)
    runs = sorted(name.rpartition("-")[2] for name in stored if name.endswith(".wandb"))
    assert runs == [*(f"{number:04d}.wandb" for number in range(NUM_TRIALS)), "search.wandb"], "one run a trial"


def test_trials_on_a_node_that_shares_nothing_with_the_driver_pass_everything_through_the_store(
    tmp_path: Path, s3: StoreServer
) -> None:
    from ray.cluster_utils import Cluster

    (tmp_path / "walking.py").write_text(FUNCTION)
    driver = Machine(tmp_path / "driver")
    (driver.folder / "spec.yaml").write_text(SPEC.format(folder=tmp_path))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        cluster.add_node(num_cpus=2, env_vars={"TUNESMITH_CACHE": str(tmp_path / "node" / "cache")})
        driver.run("run", "spec.yaml", "--address", cluster.address)
    finally:
        cluster.shutdown()
    entries = driver.leaderboard(URL)
    assert [entry["state"] for entry in entries] == ["COMPLETE"] * NUM_TRIALS
    checkpoint = str(entries[0]["checkpoint"])
    assert checkpoint.startswith(f"{URL}/trials/{entries[0]['number']}/checkpoints/"), "the driver never had it"
    stored = Store.at(URL).names()
    assert {name.split("/")[1] for name in stored if "/checkpoints/" in name} == {str(entries[0]["number"])}
    folder, node = "searches/s3/bucket/searches/walk", tmp_path / "node" / "cache"
    assert (driver.cache / folder / "study.db").exists()
    assert not (node / folder / "study.db").exists()
    left = list((node / folder).glob("trials/*/checkpoints"))
    assert len(left) <= 2, "at most the last trial of each process"


def test_a_search_in_gs_is_run_read_elsewhere_and_extended_there(tmp_path: Path, gcs: StoreServer) -> None:
    url = "gs://bucket/searches/walk"
    (tmp_path / "walking.py").write_text(FUNCTION)
    first, second, third = (Machine(tmp_path / name) for name in ("first", "second", "third"))
    (first.folder / "spec.yaml").write_text(SPEC.format(folder=tmp_path).replace("s3:", "gs:"))
    first.run("run", "spec.yaml", "--set", "search.trials=2")
    assert {"spec.yaml", "study.db", "mirror.json", "leaderboard.csv"} <= set(Store.at(url).names())
    assert len(second.leaderboard(url)) == 2
    extended = second.tried("extend", url, "--trials", "3")
    assert extended.returncode == 0, extended.stderr
    assert "gcsfs" not in extended.stderr, "its library is quiet"
    entries = third.leaderboard(url)
    assert [entry["state"] for entry in entries] == ["COMPLETE"] * 3
    assert str(entries[0]["checkpoint"]).startswith(f"{url}/trials/")

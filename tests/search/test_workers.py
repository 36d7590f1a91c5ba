"""Searches whose trials have two workers: the same record, nothing lost with a worker, nothing left on a cluster."""

import collections
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, command
from patience import HANG_SECONDS
from tiny_trials import labelled

from analysis.offline_wandb import read_offline_run
from analysis.records import SearchFiles
from analysis.sources import read_records
from search.yaml_text import to_yaml

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STEPS = 4
WALK = """
name: walk
trainable: walking:train
config: {x: 0.5}
space: {config.x: {uniform: [0.0, 1.0]}}
search: {algorithm: random, metric: distance, mode: min, trials: 3}
resources: {workers: 2}
tracking: {wandb: {mode: offline}}
"""
FUNCTION = f"""
import os, time, tempfile, pathlib, torch
import torch.distributed as dist

def train(config, report):
    done = int((report.checkpoint / "step").read_text()) if report.checkpoint else 0
    for step in range(done + 1, {STEPS} + 1):
        with open(os.path.join(os.path.dirname(__file__), "steps.log"), "a") as file:
            file.write(f"{{config['x']}} {{step}} {{os.environ['RANK']}} {{os.getpid()}}\\n")
        time.sleep(0.4)
        total = torch.ones(1)
        dist.all_reduce(total)
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "step").write_text(str(step))
        distance = abs(config["x"] - 0.3) + float(total) / step
        report({{"distance": distance}}, checkpoint=folder, is_final=step == {STEPS})
"""


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(WALK)
    (tmp_path / "walking.py").write_text(FUNCTION)
    return tmp_path


def steps(folder: Path) -> list[tuple[str, int, int, int]]:
    """x, step, rank, process of each step begun."""
    try:
        lines = (folder / "steps.log").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(x, int(step), int(rank), int(pid)) for x, step, rank, pid in map(str.split, lines)]


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command("run", "spec.yaml", *arguments), cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_steps(folder: Path, number: int, driver: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while len(steps(folder)) < number:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline, "the search did not get going"
        time.sleep(0.02)


def test_a_trial_whose_worker_is_killed_goes_on_from_its_checkpoint_and_is_recorded_once(walk: Path) -> None:
    driver = start(walk)
    wait_for_steps(walk, 2 * STEPS + 5, driver)  # within the second trial
    os.kill(next(pid for *_, rank, pid in reversed(steps(walk)) if rank == 1), signal.SIGKILL)
    _, errors = driver.communicate(timeout=HANG_SECONDS)
    assert driver.returncode == 0, errors
    files = SearchFiles(walk / "searches" / "walk")
    trials = read_records(files.path).trials
    assert [(trial.number, trial.state) for trial in trials] == [(number, "COMPLETE") for number in range(3)]
    for trial in trials:
        assert [row["evaluation"] for row in files.trial(trial.number).read_history()] == [1, 2, 3, 4]
    attempts = [(files.trial(number).path / "attempt").read_text() for number in range(3)]
    assert attempts == ["1", "2", "1"]
    repeats = collections.Counter((x, step) for x, step, rank, _ in steps(walk) if rank == 0)
    assert sum(repeats.values()) - len(repeats) <= 1  # the step that was in flight


def test_ctrl_c_leaves_a_joined_cluster_with_all_its_resources(walk: Path, tunesmith: Run) -> None:
    from cluster.connect import connected

    with connected():
        import ray

        everything = ray.cluster_resources()["CPU"]
        driver = start(walk, "--address", ray.get_runtime_context().gcs_address)
        wait_for_steps(walk, 5, driver)
        workers = {pid for *_, pid in steps(walk)}
        driver.send_signal(signal.SIGINT)
        _, errors = driver.communicate(timeout=HANG_SECONDS)
        assert driver.returncode == 130, errors
        deadline = time.monotonic() + 30
        while ray.available_resources().get("CPU") != everything or any(map(lives, workers)):
            assert time.monotonic() < deadline, ray.available_resources()
            time.sleep(0.2)
        resumed = tunesmith("resume", "searches/walk", "--address", ray.get_runtime_context().gcs_address)
    assert resumed.returncode == 0, resumed.stderr
    assert {trial.state for trial in read_records(walk / "searches" / "walk").trials} == {"COMPLETE"}


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").is_dir() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_two_workers_leave_the_record_that_one_leaves(tmp_path: Path, tunesmith: Run) -> None:
    records: dict[str, Any] = {}
    for name, workers, batch in (("one", 1, 8), ("two", 2, 4)):
        spec = labelled(tmp_path, num_train_epochs=2, per_device_train_batch_size=batch, per_device_eval_batch_size=8)
        spec |= {
            "name": name,
            "space": {"training.weight_decay": {"choice": [0.0, 0.1]}},
            "search": {"algorithm": "grid"},
            "resources": {"workers": workers, "concurrent_trials": 1},
        }
        (tmp_path / f"{name}.yaml").write_text(to_yaml(spec))
        done = tunesmith("run", f"{name}.yaml", "--json")
        assert done.returncode == 0, done.stderr
        files = SearchFiles(tmp_path / "searches" / name)
        histories = [files.trial(number).read_history() for number in range(2)]
        runs = sorted((files.path / "wandb").glob("offline-run-*"))
        records[name] = {
            "entries": [sorted(entry) for entry in json.loads(done.stdout)["leaderboard"]],
            "history": [
                [(sorted(row), row["step"], row["epoch"], row["tokens"]) for row in rows] for rows in histories
            ],
            "steps": [sorted(trial.intermediate) for trial in read_records(files.path).trials],
            "files": sorted(path.name for number in range(2) for path in files.trial(number).path.iterdir()),
            "wandb": sorted(len(read_offline_run(run).history) for run in runs),
        }
    assert records["two"] == records["one"]


def test_torchrun_trains_one_trial_on_two_processes_and_the_first_speaks(tmp_path: Path, tunesmith: Run) -> None:
    config = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "hidden_size": 16,
              "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}  # fmt: skip
    spec = labelled(tmp_path, config=config, per_device_eval_batch_size=8) | {
        "name": "both",
        "resources": {"workers": 2},
    }
    (tmp_path / "spec.yaml").write_text(to_yaml(spec))
    alone = tunesmith("trial", "spec.yaml", "--json")
    assert "the effective batch is another" in alone.stderr
    halved = ["--set", "training.per_device_train_batch_size=4"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    both = subprocess.run(
        [*launcher, *command("trial", "spec.yaml", "--json", *halved)[1:]],
        cwd=tmp_path, capture_output=True, text=True, timeout=HANG_SECONDS, check=True,
    )  # fmt: skip
    expected, came = json.loads(alone.stdout)["evaluations"], json.loads(both.stdout)["evaluations"]
    assert [each["tokens"] for each in came] == [each["tokens"] for each in expected]
    for one, other in zip(came, expected, strict=True):
        assert one["metrics"] == pytest.approx(other["metrics"], rel=1e-4)
    assert "the effective batch" not in both.stderr

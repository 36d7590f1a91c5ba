"""Searches whose trials have two workers: the same record, nothing lost with a worker, nothing left on a cluster."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Run, command
from patience import HANG_SECONDS, wait_until
from tiny_trials import labelled

from analysis.offline_wandb import read_offline_run
from analysis.records import SearchFiles, TrialFiles
from analysis.sources import read_records
from search.yaml_text import to_yaml

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EVALUATIONS = 6


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """Two trials, one after the other, each long enough to be met in its middle."""
    steps = {"max_steps": 50 * EVALUATIONS, "eval_strategy": "steps", "eval_steps": 50}
    spec = labelled(tmp_path, **steps, per_device_train_batch_size=4) | {
        "name": "walk",
        "space": {"training.weight_decay": {"choice": [0.0, 0.1]}},
        "search": {"algorithm": "grid"},
        "resources": {"workers": 2, "concurrent_trials": 1},
    }
    (tmp_path / "spec.yaml").write_text(to_yaml(spec))
    return tmp_path


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command("run", "spec.yaml", *arguments), cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_evaluations(folder: Path, number: int, count: int, driver: "subprocess.Popen[str]") -> None:
    """Until trial `number` has so many on record, and more to come."""
    trial = SearchFiles(folder / "searches" / "walk").trial(number)
    wait_until(lambda: len(evaluations(trial)) >= count, f"trial {number} is on its way", meanwhile=driver)
    assert len(evaluations(trial)) < EVALUATIONS


def evaluations(trial: TrialFiles) -> list[object]:
    return [row["evaluation"] for row in trial.read_history() if "evaluation" in row]


def workers_of(process: int) -> list[psutil.Process]:
    """The processes that train in a Ray that this process has started."""
    below = psutil.Process(process).children(recursive=True)
    return [each for each in below if "RayTrainWorker" in " ".join(each.cmdline())]


def test_a_trial_whose_worker_is_killed_goes_on_from_its_checkpoint_and_is_recorded_once(walk: Path) -> None:
    driver = start(walk)
    wait_for_evaluations(walk, 1, 2, driver)
    workers = workers_of(driver.pid)
    assert len(workers) == 2
    workers[-1].kill()
    _, errors = driver.communicate(timeout=HANG_SECONDS)
    assert driver.returncode == 0, errors
    files = SearchFiles(walk / "searches" / "walk")
    assert [trial.state for trial in read_records(files.path).trials] == ["COMPLETE"] * 2
    for number, attempt in enumerate(("1", "2")):
        assert evaluations(files.trial(number)) == list(range(1, EVALUATIONS + 1))
        assert (files.trial(number).path / "attempt").read_text() == attempt


def test_ctrl_c_leaves_a_joined_cluster_with_all_its_resources(walk: Path, tunesmith: Run) -> None:
    from cluster.connect import connected

    with connected():
        import ray

        everything = ray.cluster_resources()["CPU"]
        driver = start(walk, "--address", ray.get_runtime_context().gcs_address)
        wait_for_evaluations(walk, 0, 1, driver)
        workers = workers_of(os.getpid())
        assert len(workers) == 2
        driver.send_signal(signal.SIGINT)
        _, errors = driver.communicate(timeout=HANG_SECONDS)
        assert driver.returncode == 130, errors
        wait_until(
            lambda: ray.available_resources().get("CPU") == everything and not any(map(lives, workers)),
            "all that the search had is free again",
        )
        resumed = tunesmith("resume", "searches/walk", "--address", ray.get_runtime_context().gcs_address)
    assert resumed.returncode == 0, resumed.stderr
    assert {trial.state for trial in read_records(walk / "searches" / "walk").trials} == {"COMPLETE"}


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


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

"""The head of a cluster is killed while a search runs: on a new one `submit --resume` goes on with all of it."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import command
from patience import HANG_SECONDS
from ray_cluster import RayHead, running_head

from analysis.sources import read_records

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SPEC = """
name: surviving
trainable: walking:train
config: {x: 0.5, log: LOG}
space: {config.x: {uniform: [0.0, 1.0]}}
search: {algorithm: random, metric: loss, trials: 4}
resources: {concurrent_trials: 2, max_restarts: 0}
tracking: {wandb: {mode: disabled}}
"""
WALKING = """
import pathlib, tempfile, time

def train(config, report):
    done = int((report.checkpoint / "step").read_text()) if report.checkpoint else 0
    for step in range(done + 1, 6):
        with open(config["log"], "a") as log:
            log.write(f"{config['x']} {step}\\n")
        time.sleep(1.0)
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "step").write_text(str(step))
        report({"loss": config["x"] + 1 / step}, step=step, checkpoint=folder, is_final=step == 5)
"""


def test_a_search_goes_on_on_a_new_cluster_when_the_head_of_the_old_one_was_killed(tmp_path: Path) -> None:
    log, storage = tmp_path / "steps", tmp_path / "storage"
    (tmp_path / "walking.py").write_text(WALKING)
    (tmp_path / "spec.yaml").write_text(SPEC.replace("LOG", str(log)))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with running_head(tmp_path / "first") as head:
        _call(head, tmp_path, "submit", "spec.yaml", "--address", head.url, "--storage", str(storage))
        _wait_until(lambda: log.exists() and len(log.read_text().splitlines()) >= 6, "trials are on their way")
        os.killpg(head.process_group, signal.SIGKILL)  # the head process, its GCS, its raylet and all workers
    steps_before = len(log.read_text().splitlines())
    with running_head(tmp_path / "second") as head:
        _call(
            head, tmp_path, "submit", "spec.yaml", "--resume", "--address", head.url, "--storage", str(storage)
        )  # fmt: skip
        _wait_until(lambda: _states(storage) == ["COMPLETE"] * 4, "all trials are complete")
    record = read_records(storage / "surviving")
    for trial in record.trials:
        rows = [row["evaluation"] for row in record.history_of(trial.number) if "evaluation" in row]
        assert rows == [1, 2, 3, 4, 5], f"each evaluation of trial {trial.number} once"
    trained = Counter(log.read_text().splitlines())
    assert len(trained) == 20
    assert steps_before < 20
    assert sum(trained.values()) - 20 <= 2, "what was in flight may run twice, and nothing else"


def _states(storage: Path) -> list[str]:
    return [trial.state for trial in read_records(storage / "surviving").trials]


def _call(head: RayHead, folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=head.environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.5)

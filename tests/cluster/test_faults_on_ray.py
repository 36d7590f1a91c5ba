"""Nodes that fail in one way each, on clusters of nodes that are processes here: the search goes on elsewhere."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import command
from patience import HANG_SECONDS
from ray_cluster import RAY
from tiny_trials import TINY_GPT2, prose

from analysis.records import SearchFiles, SearchRecord
from analysis.sources import read_records
from search.yaml_text import to_yaml

pytestmark = [pytest.mark.ray, pytest.mark.slow]
_OBJECT_STORE_BYTES = 80 * 1024**2
QUIET = {"tracking": {"wandb": {"mode": "disabled"}}, "storage": "searches"}


@contextlib.contextmanager
def cluster_of(*nodes: dict[str, Any]) -> Iterator[tuple[Any, list[Any]]]:
    """A head without CPUs, and these nodes."""
    from cluster.connect import quiet_ray, set_environment

    set_environment()
    from ray.cluster_utils import Cluster

    quiet_ray()
    cluster = Cluster()
    try:
        _add(cluster, num_cpus=0, include_dashboard=False)
        added = [_add(cluster, **node) for node in nodes]
        cluster.wait_for_nodes()
        yield cluster, added
    finally:
        cluster.shutdown()


def _add(cluster: Any, **node: Any) -> Any:
    """A node of the cluster. Ray gives a process thirty seconds to come up, which is little where much else runs."""
    for _ in range(3):
        with contextlib.suppress(Exception):
            return cluster.add_node(object_store_memory=_OBJECT_STORE_BYTES, **node)
    return cluster.add_node(object_store_memory=_OBJECT_STORE_BYTES, **node)


class Searching:
    """A search that runs on a cluster, in a process of its own."""

    def __init__(self, folder: Path, spec: dict[str, Any], address: str) -> None:
        self.files = SearchFiles(folder / "searches" / spec["name"])
        (folder / "spec.yaml").write_text(to_yaml(spec | QUIET))
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command("run", "spec.yaml", "--address", address), cwd=folder, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, "RAY_AUTH_MODE": "token"},
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + HANG_SECONDS
        while not is_so():
            assert self._process.poll() is None, self.said
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.said}"
            time.sleep(0.1)

    def finish(self, *, exit_code: int = 0) -> SearchRecord:
        try:
            assert self._process.wait(HANG_SECONDS) == exit_code, self.said
        finally:
            self._process.kill()
        return read_records(self.files.path)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "tiny"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"disks cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


WRITING = """
import os, pathlib, time

def train(config, report):
    disk = pathlib.Path(os.environ["NODE_DISK"])
    with open(config["log"], "a") as log:
        log.write(f"{disk.name}\\n")
    (disk / f"scratch-{os.getpid()}").write_bytes(bytes(2**21))
    time.sleep(0.5)
    report({"loss": config["x"]}, step=1, is_final=True)
"""


def writing(folder: Path, *, trials: int, concurrent: int) -> dict[str, Any]:
    (folder / "writing.py").write_text(WRITING)
    return {
        "name": "writing", "trainable": "writing:train", "config": {"x": 0.5, "log": str(folder / "starts")},
        "space": {"config.x": {"uniform": [0, 1]}},
        "search": {"algorithm": "random", "metric": "loss", "trials": trials},
        "resources": {"concurrent_trials": concurrent, "max_restarts": 1},
    }  # fmt: skip


def test_trials_keep_away_from_a_node_with_a_full_disk(tmp_path: Path, tiny_disk: Path) -> None:
    (roomy := tmp_path / "roomy").mkdir()
    nodes = [{"num_cpus": 2, "env_vars": {"NODE_DISK": str(disk)}} for disk in (tiny_disk, roomy)]
    with cluster_of(*nodes) as (cluster, (full, _)):
        search = Searching(tmp_path, writing(tmp_path, trials=12, concurrent=4), cluster.address)
        try:
            record = search.finish()
        finally:
            search.end()
    assert [trial.state for trial in record.trials] == ["COMPLETE"] * 12
    assert f"({full.node_id[:8]}) is full: no trial begins there for 30 min" in search.said
    starts = (tmp_path / "starts").read_text().split()
    # Each of its two places was tried; another trial may have been on its way when the first one failed.
    assert 1 <= starts.count("tiny") <= 3, starts
    assert starts.count("roomy") == 12


def test_where_every_disk_is_full_the_trial_fails_and_says_so(tmp_path: Path, tiny_disk: Path) -> None:
    with cluster_of({"num_cpus": 1, "env_vars": {"NODE_DISK": str(tiny_disk)}}) as (cluster, _):
        search = Searching(tmp_path, writing(tmp_path, trials=1, concurrent=1), cluster.address)
        try:
            record = search.finish(exit_code=3)
        finally:
            search.end()
    (trial,) = record.trials
    assert (trial.state, trial.failure) == ("FAIL", "disk_full")
    assert "the disks of all nodes that could run it are full" in str(trial.error)


def training(folder: Path, *, steps: int, workers: int = 1) -> dict[str, Any]:
    document = prose(folder, config=TINY_GPT2, max_steps=steps, logging_steps=steps // 10, eval_strategy="steps",
                     eval_steps=steps, num_train_epochs=1)  # fmt: skip
    return {
        "name": "training", **document, "space": {"training.learning_rate": {"choice": [0.01]}},
        "search": {"algorithm": "grid", "metric": "eval/loss"},
        "resources": {"concurrent_trials": 1, "max_restarts": 0, "workers": workers},
    }  # fmt: skip


def test_a_trial_on_a_node_that_is_drained_saves_at_its_next_step_and_goes_on_elsewhere(tmp_path: Path) -> None:
    with cluster_of({"num_cpus": 1}, {"num_cpus": 1}) as (cluster, nodes):
        search = Searching(tmp_path, training(tmp_path, steps=2000), cluster.address)
        checkpoints = search.files.trial(0).checkpoints
        try:
            search.wait_until(lambda: (checkpoints.parent / "attempt").exists(), "the trial has begun")
            home = next(node for node in nodes if "Trainable" in _processes_of(node))
            drained = subprocess.run(
                [str(RAY), "drain-node", "--address", cluster.address, "--node-id", home.node_id, "--reason",
                 "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", "1200"],
                env={**os.environ, "RAY_AUTH_MODE": "token"}, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert drained.returncode == 0, drained.stderr
            search.wait_until(lambda: (checkpoints / "extra.json").exists(), "an extra checkpoint")
            extra = json.loads((checkpoints / "extra.json").read_text())
            record = search.finish()
        finally:
            search.end()
    step = extra["rows"][-1]["step"]
    assert 0 < step < 2000
    assert extra["after"] is None
    assert "trial 0 starts again from its last checkpoint: its node is being taken back" in search.said
    (trial,) = record.trials
    assert trial.state == "COMPLETE"
    assert (checkpoints.parent / "attempt").read_text() == "2"
    told = [row["step"] for row in record.history_of(0) if "train/loss" in row]
    assert told == sorted({*range(200, 2001, 200), step}), "no step was trained twice, and none is missing"


def test_the_node_of_one_of_several_workers_is_lost_and_that_is_no_restart(tmp_path: Path) -> None:
    with cluster_of(*[{"num_cpus": 1}] * 3) as (cluster, nodes):
        search = Searching(tmp_path, training(tmp_path, steps=600, workers=2), cluster.address)
        try:
            search.wait_until(lambda: (search.files.trial(0).path / "attempt").exists(), "the trial has begun")
            search.wait_until(lambda: any(_is_helper(node) for node in nodes), "both workers are there")
            cluster.remove_node(next(node for node in nodes if _is_helper(node)), allow_graceful=False)
            record = search.finish()
        finally:
            search.end()
    (trial,) = record.trials
    assert trial.state == "COMPLETE", f"{trial.error}\n{search.said}"
    assert "trial 0 starts again from its last checkpoint: its node was lost" in search.said


GREEDY = """
import time

def train(config, report):
    taken = []
    while config["is_greedy"] and len(taken) < 112:
        taken.append(bytearray(b"x" * 2**27))
        time.sleep(0.1)
    report({"loss": 1.0}, step=1, is_final=True)
"""


def test_a_trial_that_takes_all_memory_of_its_node_fails_with_that_reason_and_the_search_goes_on(
    tmp_path: Path,
) -> None:
    import ray._private.utils as ray_utils

    (tmp_path / "greedy.py").write_text(GREEDY)
    spec = {
        "name": "greedy", "trainable": "greedy:train", "config": {"is_greedy": False},
        "space": {"config.is_greedy": {"choice": [True, False]}}, "search": {"algorithm": "grid", "metric": "loss"},
        "resources": {"concurrent_trials": 1, "max_restarts": 1},
    }  # fmt: skip
    # The trial would take 14 gigabytes, and is ended after about six: other programs here may take or let go of a few.
    threshold = (ray_utils.get_used_memory() + 6 * 2**30) / ray_utils.get_system_memory()
    if threshold > 0.9:
        pytest.skip("this machine has no memory to spare")
    few = {"RAY_memory_usage_threshold": f"{threshold:.4f}", "RAY_memory_monitor_refresh_ms": "100"}
    with cluster_of({"num_cpus": 1, "env_vars": few}) as (cluster, _):
        search = Searching(tmp_path, spec, cluster.address)
        try:
            record = search.finish()
        finally:
            search.end()
    failed, complete = sorted(record.trials, key=lambda trial: trial.state == "COMPLETE")
    assert (failed.state, failed.failure, complete.state) == ("FAIL", "lost", "COMPLETE"), search.said
    assert "its node ran out of memory (run fewer trials at once" in str(failed.error)
    assert search.said.count("starts again from its last checkpoint: its process was ended because") == 1


def _is_helper(node: Any) -> bool:
    """Whether a worker lives there, without the process that leads it."""
    return "RayTrainWorker" in _processes_of(node) and "Trainable" not in _processes_of(node)


def _processes_of(node: Any) -> str:
    """The names of all processes of a node."""
    (raylet,) = node.all_processes["raylet"]
    names = []
    for process in psutil.Process(raylet.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            names.append(" ".join(process.cmdline()))
    return "\n".join(names)

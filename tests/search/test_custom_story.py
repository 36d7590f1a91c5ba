"""An unchanged Ray Train loop in a real search: stopped early, killed, resumed, and wrong in every usual way."""

import collections
import json
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import Run, command
from patience import HANG_SECONDS, Gate

from analysis.records import SearchFiles
from analysis.sources import read_records

pytestmark = pytest.mark.ray

SPEC = """
name: loops
trainable: loops:train_loop_per_worker
config: {slope: 1.0, epochs: 4, log: steps.log}
space: {config.slope: {choice: [0.1, 0.5, 1.0, 2.0, 3.0, -1.0]}}
search:
  algorithm: grid
  metric: loss
  scheduler: {name: asha, unit: evaluations, grace: 1, reduction_factor: 2, max: 4}
resources: {concurrent_trials: 1}
tracking: {wandb: {mode: disabled}}
"""
# Each epoch is logged before it is reported; the log tells what really ran, and in which process.
LOOP = f"""
import os, tempfile
import ray.train, ray.train.torch
import torch
{Gate.FUNCTION}
def train_loop_per_worker(config):
    assert ray.train.get_context().get_world_size() == 1
    model = ray.train.torch.prepare_model(torch.nn.Linear(1, 1, bias=False))
    start = 0
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            start = torch.load(os.path.join(folder, "state.pt"))["epoch"] + 1
    for epoch in range(start, config["epochs"]):
        with open(config["log"], "a") as file:
            file.write(f"{{config['slope']}} {{epoch}} {{os.getpid()}} {{model.weight.item()}}\\n")
        wait_at_gate(os.path.abspath(config["log"]))
        with tempfile.TemporaryDirectory() as folder:
            torch.save({{"epoch": epoch}}, os.path.join(folder, "state.pt"))
            loss = config["slope"] / (1 + epoch) if config["slope"] > 0 else float("nan")
            ray.train.report({{"loss": loss, "epoch": epoch}},
                             checkpoint=ray.train.Checkpoint.from_directory(folder))
"""
RESUME = ("resume", "searches/loops")


@pytest.fixture
def loops(tmp_path: Path) -> Path:
    # Spec and loop lie in a folder of their own: tunesmith is started above it.
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "spec.yaml").write_text(SPEC)
    (tmp_path / "own" / "loops.py").write_text(LOOP)
    return tmp_path


def _steps(folder: Path) -> list[list[str]]:
    log = folder / "steps.log"
    return [line.split() for line in log.read_text().splitlines()] if log.is_file() else []


def test_it_is_searched_warm_with_early_stops_and_failures_as_results(loops: Path, tunesmith: Run) -> None:
    done = tunesmith("run", "own/spec.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    files = SearchFiles(loops / "searches" / "loops")
    record = read_records(files.path)
    states = collections.Counter(trial.state for trial in record.trials)
    assert states["FAIL"] == 1
    assert states["PRUNED"] >= 1
    assert states["COMPLETE"] >= 1
    assert {str(trial.params["config.slope"]) for trial in record.trials if trial.state == "FAIL"} == {"-1.0"}
    assert record.best is not None
    assert record.best.value == pytest.approx(0.1 / 4)
    assert len({pid for _, _, pid, _ in _steps(loops)}) == 1
    assert len({weight for *_, weight in _steps(loops)}) == 1, "every trial starts from the same seed"
    for trial in record.trials:
        reached = sum(slope == str(trial.params["config.slope"]) for slope, *_ in _steps(loops))
        rows = files.trial(trial.number).read_history()
        assert len(rows) == (0 if trial.state == "FAIL" else reached)
        assert (trial.state == "COMPLETE") == (reached == 4)
    assert (Path(str(record.best.checkpoint)) / "state.pt").is_file()


def test_a_killed_and_then_interrupted_search_goes_on_from_the_loops_checkpoints(loops: Path, tunesmith: Run) -> None:
    arguments = ("run", "own/spec.yaml", "--set", "search.scheduler=none",
                 "--set", "space={config.slope: {choice: [0.1, 0.5, 1.0]}}")  # fmt: skip
    gate = Gate(loops / "steps.log")
    for how, steps_before, of_session in ((signal.SIGKILL, 5, arguments), (signal.SIGINT, 9, RESUME)):
        gate.close_after(steps_before)
        driver = _start(loops, *of_session)
        gate.wait_for(steps_before, driver)
        driver.send_signal(how)
        gate.close_after(steps_before + 2)  # so that who is asked to end can, and no search ends before it was asked
        driver.communicate(timeout=HANG_SECONDS)
    gate.open()
    resumed = tunesmith(*RESUME)
    assert resumed.returncode == 0, resumed.stderr
    files = SearchFiles(loops / "searches" / "loops")
    record = read_records(files.path)
    assert [trial.state for trial in record.trials] == ["COMPLETE"] * 3
    for trial in record.trials:
        assert [row["evaluation"] for row in files.trial(trial.number).read_history()] == [1, 2, 3, 4]
    steps = collections.Counter((slope, epoch) for slope, epoch, *_ in _steps(loops))
    assert set(steps) == {(slope, str(epoch)) for slope in ("0.1", "0.5", "1.0") for epoch in range(4)}
    in_each_process = collections.Counter((slope, epoch, pid) for slope, epoch, pid, _ in _steps(loops))
    assert len({pid for *_, pid in in_each_process}) == 3, "a session has a process of its own"
    assert set(in_each_process.values()) == {1}
    assert sum(steps.values()) <= 12 + 2, "only the epoch in flight runs twice, once after each end"


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command(*arguments), cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_metric_that_is_not_reported_fails_every_trial_and_ends_the_search_well(loops: Path, tunesmith: Run) -> None:
    done = tunesmith("run", "own/spec.yaml", "--set", "search.metric=los", "--set", "search.trials=2")
    assert done.returncode == 3
    assert "it does not report `los`, the search's metric; it reports epoch, loss. Did you mean `loss`?" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len(_steps(loops)) == 2, "a trial ends at its first report"


def test_one_trial_runs_without_a_cluster(loops: Path, tunesmith: Run) -> None:
    done = tunesmith("trial", "own/spec.yaml", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["state"] == "COMPLETE"
    assert [evaluation["metrics"]["loss"] for evaluation in result["evaluations"]] == [1.0, 1 / 2, 1 / 3, 1 / 4]

"""Trials that wait and go on, in whole searches: PASHA's last act, and populations that are killed at any time."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, command
from patience import HANG_SECONDS

from analysis.records import SearchFiles
from analysis.sources import read_records

pytestmark = pytest.mark.ray

SPEC = """
name: walk
trainable: walking:train
config: {rate: 0.1, start: 10.0}
space: {config.rate: {log_uniform: [0.001, 0.9]}}
search:
  algorithm: random
  metric: loss
  trials: 6
  seed: 3
  scheduler: {name: pbt, unit: evaluations, interval: 2, max: 6}
resources: {concurrent_trials: 2}
checkpoints: {keep: 6}
tracking: {wandb: {mode: disabled}}
"""
FUNCTION = """
import json, os, tempfile, pathlib, time

def train(config, report):
    done, weight = json.loads((report.checkpoint / "state.json").read_text()) if report.checkpoint else (0, 10.0)
    for step in range(done + 1, 7):
        with open(os.path.join(os.path.dirname(__file__), "steps.log"), "a") as file:
            file.write(f"{config['rate']} {step}\\n")
        time.sleep(0.2)
        weight *= 1 - config["rate"]
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "state.json").write_text(json.dumps([step, weight]))
        report({"loss": weight}, checkpoint=folder, is_final=step == 6)
"""


def _walk(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "walking.py").write_text(FUNCTION)
    return folder


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )  # fmt: skip


def _kill_after_steps(folder: Path, number: int) -> None:
    driver = subprocess.Popen(
        command("run", "spec.yaml"), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline, log = time.monotonic() + HANG_SECONDS, folder / "steps.log"
    while not log.exists() or len(log.read_text().splitlines()) < number:
        assert driver.poll() is None, "the search ended before it was killed"
        assert time.monotonic() < deadline, "the search did not get going"
        time.sleep(0.02)
    driver.kill()
    driver.wait()


def _result(folder: Path) -> list[Any]:
    """What a search has found, and how: all that does not depend on time."""
    files = SearchFiles(folder / "searches" / "walk")
    found = []
    for trial in read_records(files.path).trials:
        rows = files.trial(trial.number).read_history()
        timeless = [{name: row[name] for name in row if "second" not in name} for row in rows]
        lineage = [{name: each[name] for name in each if name != "seconds"} for each in trial.lineage]
        found.append((trial.state, trial.value, trial.params, lineage, trial.intermediate, timeless))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A population that nobody has killed."""
    folder = _walk(tmp_path_factory.mktemp("whole"))
    done = _run(folder, "run", "spec.yaml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("steps", [5, 13, 22])
def test_a_killed_population_ends_as_it_would_have(tmp_path: Path, whole: Path, steps: int) -> None:
    folder = _walk(tmp_path / "killed")
    _kill_after_steps(folder, steps)
    done = _run(folder, "resume", "searches/walk")
    assert done.returncode == 0, done.stderr
    assert _result(folder) == _result(whole)
    assert any(lineage for _, _, _, lineage, *_ in _result(whole))


def test_pasha_finishes_the_best_trial_only_and_says_what_became_of_the_others(tmp_path: Path, tunesmith: Run) -> None:
    _walk(tmp_path)
    scheduler = "search.scheduler={name: pasha, unit: evaluations, grace: 1, reduction_factor: 2, max: 6}"
    done = tunesmith("run", "spec.yaml", "--set", scheduler, "--set", "search.trials=8")
    assert done.returncode == 0, done.stderr
    record = read_records(tmp_path / "searches" / "walk")
    finished = [trial for trial in record.trials if trial.state == "COMPLETE"]
    assert len(finished) == 1
    assert finished[0].params["config.rate"] == max(trial.params["config.rate"] for trial in record.trials)
    assert finished[0].steps == 6
    others = [trial for trial in record.trials if trial.state == "PRUNED"]
    assert len(others) == 7
    assert {trial.steps for trial in others} == {1, 2}
    assert {trial.stopped_because for trial in others} == {"it waited to go on until the search ended"}
    steps = (tmp_path / "steps.log").read_text().splitlines()
    assert len(steps) == len(set(steps))  # a trial that goes on repeats nothing
    events = [json.loads(line) for line in (record.directory / "scheduler.jsonl").read_text().splitlines()]
    assert [event["goes_on"] for event in events if event.get("to_the_end")] == [finished[0].number]

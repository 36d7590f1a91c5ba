"""The commands that never start over, with the real parts: Ray, a killed driver, another shell."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run, command
from patience import HANG_SECONDS

from analysis.records import SearchFiles, SearchRecord
from analysis.sources import read_records

pytestmark = pytest.mark.ray

SPEC = """
name: walk
trainable: walking:train
config: {x: 0.5, length: 4}
space: {config.x: {uniform: [0.0, 1.0]}}
search: {algorithm: random, metric: distance, mode: min, trials: 5}
resources: {concurrent_trials: 2, price_per_hour: 3600}
checkpoints: {keep: 2}
tracking: {wandb: {mode: disabled}}
"""
FUNCTION = """
import os, pathlib, tempfile, time

HERE = pathlib.Path(__file__).parent

def train(config, report):
    done = int((report.checkpoint / "step").read_text()) if report.checkpoint else 0
    for step in range(done + 1, config["length"] + 1):
        with (HERE / "steps.log").open("a") as log:
            log.write(f"{config['x']} {step}\\n")
        while (HERE / "hold").exists():
            time.sleep(0.05)
        time.sleep(0.2)
        if step == 3 and config["x"] > 0.6 and (HERE / "flaky").exists():
            raise OSError("the disk is full")
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "step").write_text(str(step))
        distance = abs(config["x"] - 0.3) + 1 / step
        report({"distance": distance}, step=step, checkpoint=folder, is_final=step == config["length"])
"""
WALK = Path("searches/walk")


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "walking.py").write_text(FUNCTION)
    return tmp_path


def _steps(folder: Path) -> list[str]:
    log = folder / "steps.log"
    return log.read_text().splitlines() if log.exists() else []


def _num_begun(folder: Path) -> int:
    """Trials that have logged a step."""
    return len({line.split()[0] for line in _steps(folder)})


def _record(folder: Path, name: str = "walk") -> SearchRecord:
    return read_records(folder / "searches" / name)


def _wait(condition: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline, "the search did not get going"
        time.sleep(0.02)


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command(*arguments), cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_failures_are_retried_trials_extended_and_the_search_forked_and_no_step_is_run_twice(
    walk: Path, tunesmith: Run
) -> None:
    (walk / "flaky").touch()
    assert tunesmith("run", "spec.yaml").returncode == 0
    failed = {trial.number for trial in _record(walk).trials if trial.state == "FAIL"}
    assert failed, "the story needs failures"
    (walk / "flaky").unlink()

    retried = tunesmith("retry", str(WALK))
    assert retried.returncode == 0, retried.stderr
    record = _record(walk)
    assert (record.count("COMPLETE"), record.count("FAIL")) == (5, 0)
    assert "retried as" in retried.stdout

    extended = tunesmith("extend", str(WALK), "--trials", "6", "--set", "config.length=6")
    assert extended.returncode == 0, extended.stderr
    record = _record(walk)
    continued = [trial for trial in record.trials if trial.origin and trial.origin.kind == "extension"]
    assert [trial.state for trial in continued] == ["COMPLETE", "COMPLETE"]
    assert [len(trial.intermediate) for trial in continued] == [6, 6]
    assert record.best is not None
    assert record.best.number in {trial.number for trial in continued}

    steps = Counter(_steps(walk))
    failing = Counter(f"{trial.params['config.x']} 3" for trial in record.trials if trial.number in failed)
    assert steps - failing == Counter(set(_steps(walk))), "only the step that failed was begun twice"

    narrower = SPEC.replace("[0.0, 1.0]", "[0.0, 0.5]").replace("walk\n", "fork\n", 1).replace("length: 4", "length: 6")
    (walk / "narrower.yaml").write_text(narrower.replace("trials: 5", "trials: 2"))
    forked = tunesmith("fork", str(WALK), "narrower.yaml")
    assert forked.returncode == 0, forked.stderr
    fork = _record(walk, "fork")
    inherited = [trial for trial in fork.trials if trial.origin and trial.origin.kind == "inherited"]
    assert {trial.params["config.x"] for trial in inherited} == {
        trial.params["config.x"] for trial in record.current if trial.params["config.x"] <= 0.5 and trial.steps == 6
    }
    assert len(fork.trials) == len(inherited) + 2
    assert "finished elsewhere" in forked.stdout


def test_a_trial_and_then_the_search_stop_when_another_shell_says_so(walk: Path, tunesmith: Run) -> None:
    driver = _start(walk, "run", "spec.yaml", "--set", "config.length=100000")
    _wait(lambda: _num_begun(walk) == 2, driver)
    unknown = tunesmith("stop", str(WALK), "--trial", "7")
    assert (unknown.returncode, "does not run" in unknown.stderr) == (2, True)
    assert "trial 0 has stopped" in tunesmith("stop", str(WALK), "--trial", "0").stdout
    assert json.loads(tunesmith("status", str(WALK), "--json").stdout)["running"]
    stopped = tunesmith("stop", str(WALK))
    assert "tunesmith resume" in stopped.stdout, stopped.stderr
    shown, errors = driver.communicate(timeout=HANG_SECONDS)
    assert driver.returncode == 130, errors
    trials = _record(walk).trials
    assert (trials[0].state, trials[0].stopped_by) == ("PRUNED", "user")
    assert {trial.state for trial in trials[1:]} == {"RUNNING"}
    assert "stopped by hand" in shown
    assert tunesmith("stop", str(WALK)).returncode == 2


def test_a_search_is_paused_goes_on_and_runs_more_at_once_when_another_shell_says_so(
    walk: Path, tunesmith: Run
) -> None:
    given = ("resources.concurrent_trials=1", "search.trials=3")
    (walk / "hold").touch()
    driver = _start(walk, "run", "spec.yaml", *(word for each in given for word in ("--set", each)))
    _wait(lambda: bool(_steps(walk)), driver)
    paused = tunesmith("pause", str(WALK))
    assert paused.returncode == 0, paused.stderr
    (walk / "hold").unlink()
    _wait(lambda: _record(walk).count("COMPLETE") == 1, driver)
    time.sleep(3)
    assert len(_record(walk).trials) == 1, "no new trial begins"
    assert "paused" in tunesmith("status", str(WALK)).stdout
    (walk / "hold").touch()
    scaled = tunesmith("scale", str(WALK), "2")
    assert "2 trials at once, before 1" in scaled.stdout
    resumed = tunesmith("resume", str(WALK))
    assert resumed.returncode == 0, resumed.stderr
    _wait(lambda: _num_begun(walk) == 3, driver)
    (walk / "hold").unlink()
    assert driver.wait(HANG_SECONDS) == 0
    record = _record(walk)
    assert record.count("COMPLETE") == 3
    assert _most_at_once(record) == 2
    assert len(_steps(walk)) == len(set(_steps(walk))), "no step ran twice"


def _most_at_once(record: SearchRecord) -> int:
    """How many trials trained at one moment."""
    clocks = [trial.clock for trial in record.trials]
    return max(sum(one["began_at"] <= at["began_at"] < one["ended_at"] for one in clocks) for at in clocks)


def test_a_target_ends_a_search_and_a_better_one_goes_on_where_it_ended(walk: Path, tunesmith: Run) -> None:
    arguments = ["--set", "search.budget.target=0.3", "--set", "resources.concurrent_trials=1"]
    ended = tunesmith("run", "spec.yaml", *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert result["ended_by"].startswith("search.budget.target: 0.29")
    assert not result["interrupted"]
    assert (result["counts"]["COMPLETE"], result["counts"]["RUNNING"]) == (2, 0)
    more = tunesmith("extend", str(WALK), "--set", "search.budget.target=0.1", "--json")
    assert more.returncode == 0, more.stderr
    assert json.loads(more.stdout)["counts"]["COMPLETE"] == 5
    assert max(Counter(_steps(walk)).values()) == 1


@pytest.mark.slow
def test_a_limit_that_is_reached_leaves_what_runs_to_go_on_with_more(walk: Path, tunesmith: Run) -> None:
    arguments = ["--set", "search.budget.cost=4", "--set", "search.trials=2", "--set", "config.length=40"]
    ended = tunesmith("run", "spec.yaml", *arguments)
    assert "Ended by search.budget.cost: 4 USD are used" in ended.stdout, ended.stderr
    assert _record(walk).count("RUNNING") >= 1  # a slow start leaves no money for a second one
    begun = len(_steps(walk))
    assert begun < 80
    more = tunesmith("extend", str(WALK), "--set", "search.budget.cost=10000")
    assert more.returncode == 0, more.stderr
    assert _record(walk).count("COMPLETE") == 2
    assert len(_steps(walk)) <= 80 + 2, "only what was in flight is done again"


@pytest.mark.slow
def test_an_extension_that_is_killed_at_once_is_done_by_resume(walk: Path, tunesmith: Run) -> None:
    assert tunesmith("run", "spec.yaml").returncode == 0
    before = set(_steps(walk))
    driver = _start(walk, "extend", str(WALK), "--set", "config.length=5")
    spec = SearchFiles(walk / WALK).spec
    _wait(lambda: "command: extend" in spec.read_text(), driver)
    driver.kill()
    driver.communicate()
    assert tunesmith("resume", str(WALK)).returncode == 0
    record = _record(walk)
    assert [trial.number for trial in record.trials if trial.origin is not None] == [5, 6]
    assert record.count("COMPLETE") == 2
    assert len(set(_steps(walk)) - before) == 2

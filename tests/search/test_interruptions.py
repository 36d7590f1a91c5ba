"""Kill anything at any time: finished trials stay, running ones go on under their number, nothing runs twice."""

import collections
import os
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import Run, command
from patience import HANG_SECONDS, Gate

from analysis.records import SearchFiles
from analysis.sources import read_records

pytestmark = pytest.mark.ray

SPEC = """
name: walk
trainable: walking:train
config: {x: 0.5}
space: {config.x: {uniform: [0.0, 1.0]}}
search: {algorithm: random, metric: distance, mode: min, trials: 5}
resources: {concurrent_trials: 2}
tracking: {wandb: {mode: offline}}
"""
STEPS = 4
# Each step is logged before it is reported; the log tells what really ran, where, and in which session: each has a Ray
# of its own. A process may outlive its killed driver by the step it is in, so the time of a line does not tell.
FUNCTION = f"""
import os, tempfile, pathlib
import ray
{Gate.FUNCTION}
LOG = os.path.join(os.path.dirname(__file__), "steps.log")

def train(config, report):
    done = int((report.checkpoint / "step").read_text()) if report.checkpoint else 0
    session = ray.get_runtime_context().get_node_id()
    for step in range(done + 1, {STEPS} + 1):
        with open(LOG, "a") as file:
            file.write(f"{{config['x']}} {{step}} {{os.getpid()}} {{session}}\\n")
        wait_at_gate(LOG)
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "step").write_text(str(step))
        report({{"distance": abs(config["x"] - 0.3) + 1 / step}}, checkpoint=folder, is_final=step == {STEPS})
"""


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "walking.py").write_text(FUNCTION)
    return tmp_path


class _Step(NamedTuple):
    trial: str  # by its x
    number: int
    pid: int
    session: str


def _steps(folder: Path) -> list[_Step]:
    try:
        lines = (folder / "steps.log").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [_Step(x, int(step), int(pid), session) for x, step, pid, session in (line.split() for line in lines)]


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*(arguments or ("run", "spec.yaml"))),
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _assert_complete(folder: Path) -> None:
    """Every trial complete, every evaluation recorded once."""
    files = SearchFiles(folder / "searches" / "walk")
    record = read_records(files.path)
    assert [(trial.number, trial.state) for trial in record.trials] == [(number, "COMPLETE") for number in range(5)]
    for trial in record.trials:
        evaluations = [row["evaluation"] for row in files.trial(trial.number).read_history()]
        assert evaluations == list(range(1, STEPS + 1))
        assert len(trial.intermediate) == STEPS


def _assert_whole(folder: Path, *, most_repeats: int) -> None:
    """The same, and no more steps repeated than were in flight."""
    _assert_complete(folder)
    repeats = [count - 1 for count in collections.Counter(step[:2] for step in _steps(folder)).values()]
    assert sum(repeats) <= most_repeats
    assert max(repeats) <= 1


def test_a_search_that_is_killed_again_and_again_loses_only_what_was_in_flight_each_time(
    walk: Path, tunesmith: Run
) -> None:
    finished: dict[int, str] = {}  # trials, and which attempt ended them
    gate = Gate(walk / "steps.log")
    # Of eleven lines two at most are repeated ones, so that the second kill meets trials that have ended.
    for steps_before_the_kill, arguments in ((1, ("run", "spec.yaml")), (11, ("resume", "searches/walk"))):
        gate.close_after(steps_before_the_kill)
        driver = _start(walk, *arguments)
        gate.wait_for(steps_before_the_kill, driver)
        driver.kill()
        driver.communicate()
        for trial in read_records(walk / "searches" / "walk").trials:
            if trial.state == "COMPLETE":
                finished.setdefault(trial.number, _attempt(walk, trial.number))
    gate.open()
    resumed = tunesmith("resume", "searches/walk")
    assert resumed.returncode == 0, resumed.stderr

    _assert_complete(walk)
    assert finished, "the story needs a trial that was finished before a kill"
    assert {number: _attempt(walk, number) for number in finished} == finished, "what is finished is not run again"
    sessions: dict[str, list[tuple[str, int]]] = {}
    for step in _steps(walk):
        sessions.setdefault(step.session, []).append((step.trial, step.number))
    assert len(sessions) == 3
    before: set[tuple[str, int]] = set()
    for steps in sessions.values():
        assert len(steps) == len(set(steps)), "a session runs no step twice"
        assert len(before & set(steps)) <= 2, "only what both lanes had in flight is run again"
        before |= set(steps)
    runs = list((walk / "searches" / "walk" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(runs) == len({run.name for run in runs}) == 5 + 1


def _attempt(folder: Path, number: int) -> str:
    return (folder / "searches" / "walk" / "trials" / str(number) / "attempt").read_text()


def test_ctrl_c_leaves_a_resumable_search_and_says_how_to_go_on(walk: Path, tunesmith: Run) -> None:
    gate = Gate(walk / "steps.log")
    gate.close_after(5)
    driver = _start(walk)
    gate.wait_for(5, driver)
    driver.send_signal(signal.SIGINT)
    gate.close_after(15)  # what is asked to end may go on to its next report, and no trial to its end before it is told
    shown, errors = driver.communicate(timeout=HANG_SECONDS)
    assert driver.returncode == 130, errors
    assert "tunesmith resume searches/walk" in shown
    assert "Traceback" not in errors
    gate.open()
    assert tunesmith("resume", "searches/walk").returncode == 0
    _assert_whole(walk, most_repeats=2)


def test_nobody_else_conducts_a_search_whose_killed_trial_process_goes_on_from_its_checkpoint(
    walk: Path, tunesmith: Run
) -> None:
    gate = Gate(walk / "steps.log")
    gate.close_after(5)
    driver = _start(walk)
    gate.wait_for(5, driver)
    second = tunesmith("resume", "searches/walk")
    assert second.returncode == 2
    assert "another process" in second.stderr
    os.kill(_steps(walk)[-1].pid, signal.SIGKILL)
    gate.open()
    _, errors = driver.communicate(timeout=HANG_SECONDS)
    assert driver.returncode == 0, errors
    _assert_whole(walk, most_repeats=1)

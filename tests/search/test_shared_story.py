"""Two searches at once on one Ray and one PostgreSQL, from two drivers, one of which is killed and goes on."""

import collections
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from conftest import command
from patience import HANG_SECONDS
from postgres_server import PASSWORD, PostgresServer
from ray_head import RayHead

from analysis.records import SearchFiles
from analysis.sources import read_records
from analysis.study_place import study_place

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NUM_TRIALS, STEPS = 4, 3
SPEC = """
name: {name}
trainable: walking:train
config: {{x: 0.5}}
space: {{config.x: {{uniform: [0.0, 1.0]}}}}
search: {{algorithm: random, metric: distance, mode: min, trials: 4, seed: {seed}}}
resources: {{concurrent_trials: 1}}
tracking: {{wandb: {{mode: disabled}}}}
storage: {{path: ./searches, database: "{database}"}}
"""
# Each step is logged before it is reported; the log tells what really ran.
FUNCTION = f"""
import os, time, tempfile, pathlib

def train(config, report):
    done = int((report.checkpoint / "step").read_text()) if report.checkpoint else 0
    for step in range(done + 1, {STEPS} + 1):
        with open(os.path.join(os.path.dirname(__file__), "steps.log"), "a") as file:
            file.write(f"{{config['x']}} {{step}}\\n")
        time.sleep(0.3)
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "step").write_text(str(step))
        report({{"distance": abs(config["x"] - 0.3) + 1 / step}}, checkpoint=folder, is_final=step == {STEPS})
"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def ray_head() -> Iterator[RayHead]:
    head = RayHead(cpus=2)
    yield head
    head.close()


def _folder(parent: Path, name: str, server: PostgresServer, *, seed: int) -> Path:
    folder = parent / name
    folder.mkdir()
    (folder / "spec.yaml").write_text(SPEC.format(name="walk", seed=seed, database=server.url))
    (folder / "walking.py").write_text(FUNCTION)
    return folder


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PGPASSWORD": PASSWORD},
    )  # fmt: skip


def _steps(folder: Path) -> collections.Counter[str]:
    log = folder / "steps.log"
    return collections.Counter(log.read_text().splitlines()) if log.exists() else collections.Counter()


def test_two_searches_share_a_cluster_and_a_database_and_a_killed_one_goes_on(
    tmp_path: Path, server: PostgresServer, ray_head: RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    folders = [_folder(tmp_path, name, server, seed=seed) for seed, name in enumerate(("killed", "left-alone"))]
    drivers = [_start(folder, "run", "spec.yaml", "--address", ray_head.address) for folder in folders]
    deadline = time.monotonic() + HANG_SECONDS
    while sum(_steps(folders[0]).values()) < STEPS + 2:
        assert drivers[0].poll() is None, drivers[0].communicate()
        assert time.monotonic() < deadline, "the search did not get going"
        time.sleep(0.05)
    drivers[0].kill()
    drivers[0].communicate()
    resumed = _start(folders[0], "resume", "searches/walk", "--address", ray_head.address)
    outputs = []
    for driver in (resumed, drivers[1]):
        shown, errors = driver.communicate(timeout=HANG_SECONDS)
        assert driver.returncode == 0, errors
        outputs += [shown, errors]
    names = set()
    for folder, most_repeats in zip(folders, (1, 0), strict=True):
        files = SearchFiles(folder / "searches" / "walk")
        record = read_records(files.path)
        assert [(trial.number, trial.state) for trial in record.trials] == [(n, "COMPLETE") for n in range(NUM_TRIALS)]
        assert all(len(trial.intermediate) == STEPS for trial in record.trials)
        steps = _steps(folder)
        assert len(steps) == NUM_TRIALS * STEPS  # its own trials, and none of the other's
        assert sum(steps.values()) - len(steps) <= most_repeats
        place = study_place(files)
        assert place is not None
        names.add(place.study)
    assert set(optuna.get_all_study_names(server.url_with_password)) == names
    assert len(names) == 2
    kept = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert all(PASSWORD not in text for text in [*outputs, *kept])


def test_a_search_stops_resumably_when_its_database_stays_away(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    folder = _folder(tmp_path, "alone", server, seed=0)
    driver = _start(folder, "run", "spec.yaml", "--set", "storage.max_outage=2")
    deadline = time.monotonic() + HANG_SECONDS
    while sum(_steps(folder).values()) < STEPS + 2:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline, "the search did not get going"
        time.sleep(0.05)
    server.stop()
    shown, errors = driver.communicate(timeout=HANG_SECONDS)
    assert driver.returncode == 4, shown + errors
    assert "has not answered for" in errors
    assert "go on by `tunesmith resume`" in errors
    assert "Traceback" not in errors
    assert "does not answer: waiting for up to 2 s" in shown
    server.start()
    resumed = _start(folder, "resume", "searches/walk")
    _, errors = resumed.communicate(timeout=HANG_SECONDS)
    assert resumed.returncode == 0, errors
    record = read_records(folder / "searches" / "walk")
    assert [(trial.number, trial.state) for trial in record.trials] == [(n, "COMPLETE") for n in range(NUM_TRIALS)]
    assert all(len(trial.intermediate) == STEPS for trial in record.trials)
    assert sum(_steps(folder).values()) <= NUM_TRIALS * STEPS + 1

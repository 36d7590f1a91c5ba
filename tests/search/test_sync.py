"""`tunesmith sync`: offline runs to a fake server, by the real client and the real `wandb sync`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import filelock
import pytest
import wandb
from fake_wandb import ENTITY, FakeWandb
from patience import HANG_SECONDS
from wandb_server import fake_server
from wandb_story import (
    FAILED_ID,
    PREFIX,
    SEARCH_ID,
    TRIAL_ID,
    expected_steps,
    identity_in,
    open_tracker,
    rows,
    steps_of,
    tell_story,
)

from analysis.offline_wandb import read_history
from analysis.records import SearchFiles
from search.run import conducting
from search.sync import sync_search
from search.tracker import SearchIdentity
from search.wandb_folders import LocalRun, local_runs
from search.wandb_log import shortened
from spaces.errors import SpecError

server = fake_server


@pytest.fixture
def search(server: FakeWandb, tmp_path: Path) -> SearchIdentity:
    """A search that has ended offline: one trial of three rows, one that failed."""
    identity = identity_in(tmp_path)
    tell_story(open_tracker(identity, "offline"))
    return identity


def test_runs_arrive_as_one_group_with_the_search_last(server: FakeWandb, search: SearchIdentity) -> None:
    seen: list[tuple[int, int]] = []
    outcome = sync_search(search.directory, on_progress=lambda done, total: seen.append((done, total)))
    assert outcome.sent == [TRIAL_ID, FAILED_ID, SEARCH_ID]
    assert list(server.runs)[-1] == SEARCH_ID
    assert {run.group for run in server.runs.values()} == {"my-search"}
    assert seen[-1] == (3, 3)


def test_failed_trials_are_failed_in_wandb_and_stopped_ones_are_not(server: FakeWandb, tmp_path: Path) -> None:
    identity = identity_in(tmp_path)
    tracker = open_tracker(identity, "offline")
    for number, state in enumerate(("COMPLETE", "PRUNED", "FAIL")):
        tracker.start_trial(number, {}, history=rows(0, 2))
        tracker.end_trial(number, state=state, summary={}, error=None)
    tracker.start_trial(3, {}, history=rows(0, 2))
    tracker.close(interrupted=True)
    sync_search(identity.directory)
    told = {run.name[-4:]: (run.state, run.summary["tunesmith/state"]) for run in server.runs.values()}
    assert told == {
        "0000": ("finished", "COMPLETE"),
        "0001": ("finished", "PRUNED"),
        "0002": ("failed", "FAIL"),
        "0003": ("preempted", "RUNNING"),
    }


def test_second_sync_sends_nothing(
    server: FakeWandb, search: SearchIdentity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("WANDB_DIR")
    sync_search(search.directory)
    assert list(Path.cwd().iterdir()) == [], "sync leaves files where one stands"
    server.operations.asked.clear()
    before = {name: run.history[:] for name, run in server.runs.items()}
    outcome = sync_search(search.directory)
    assert (outcome.sent, outcome.failed, outcome.already_sent) == ([], {}, 3)
    assert server.operations.asked == []
    assert {name: run.history for name, run in server.runs.items()} == before


def test_sync_that_was_killed_is_completed_without_doubled_rows(
    server: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = identity_in(tmp_path)
    tracker = open_tracker(identity, "offline")
    tracker.start_search({})
    for number in range(30):
        tracker.start_trial(number, {}, history=rows(0, 50))
        tracker.end_trial(number, state="COMPLETE", summary={}, error=None)
    tracker.close()
    command = [sys.executable, "-m", "search.cli.main", "sync", str(identity.directory)]
    root = Path(__file__).parents[2]
    in_the_second_call, is_killed, make_run = threading.Event(), threading.Event(), server.operations.upsert_bucket

    def make_no_more_than_22(values: Any) -> Any:
        answer = make_run(values)
        if len(server.runs) >= 22 and not is_killed.is_set():
            in_the_second_call.set()
            is_killed.wait(HANG_SECONDS)
        return answer

    monkeypatch.setattr(server.operations, "upsert_bucket", make_no_more_than_22)
    killed = subprocess.Popen(command, cwd=root, start_new_session=True, stdout=subprocess.DEVNULL)
    assert in_the_second_call.wait(HANG_SECONDS)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    is_killed.set()
    unsent = [run for run in local_runs(identity.directory / "wandb") if not run.is_sent]
    assert 0 < len(unsent) < 31

    outcome = sync_search(identity.directory)
    assert outcome.failed == {}
    assert sorted(outcome.sent) == sorted(run.id for run in unsent)
    trials = [run for run in server.runs.values() if run.name != SEARCH_ID]
    assert len(trials) == 30
    assert all(steps_of(run.history) == expected_steps(50) for run in trials)


@pytest.mark.parametrize("num_there", [1, 3])
def test_run_that_the_server_has_in_part_is_completed(
    server: FakeWandb, search: SearchIdentity, num_there: int
) -> None:
    sync_search(search.directory)
    for run in local_runs(search.directory / "wandb"):
        run.marker.unlink()
    for stored in server.runs.values():
        del stored.history[num_there:]
    assert sync_search(search.directory).failed == {}
    assert steps_of(server.runs[TRIAL_ID].history) == expected_steps(3)
    assert len(server.runs[SEARCH_ID].history) == 1


def test_log_stays_whole_when_only_its_end_was_sent(server: FakeWandb, search: SearchIdentity) -> None:
    (run,) = [run for run in local_runs(search.directory / "wandb") if run.id == TRIAL_ID]
    before = run.log.read_bytes()
    with shortened(run, after_step=1):
        assert [row["_step"] for row in read_history(run.log)] == [2]
        restored = LocalRun(directory=run.directory, log=run.log)
    assert restored.log.read_bytes() == before


def test_log_of_many_blocks_is_shortened_as_wandb_would_have_written_it(server: FakeWandb, tmp_path: Path) -> None:
    identity = identity_in(tmp_path)
    tracker = open_tracker(identity, "offline")
    tracker.start_trial(0, {"text": "x" * 200_000}, history=rows(0, 2000))
    tracker.end_trial(0, state="COMPLETE", summary={}, error=None)
    tracker.close()
    (run,) = local_runs(identity.directory / "wandb")
    with shortened(run, after_step=-1):
        assert run.log.read_bytes() == run.whole_log.read_bytes()
    with shortened(run, after_step=1500):
        assert [row["_step"] for row in read_history(run.log)] == list(range(1501, 2000))


def test_run_that_cannot_be_sent_is_reported_and_the_others_are_sent(server: FakeWandb, search: SearchIdentity) -> None:
    broken = search.directory / "wandb" / f"offline-run-20260101_000000-{PREFIX}-0007"
    broken.mkdir()
    (broken / f"run-{PREFIX}-0007.wandb").write_bytes(b"not a log")
    outcome = sync_search(search.directory)
    assert list(outcome.failed) == [f"{PREFIX}-0007"]
    assert set(outcome.sent) == {TRIAL_ID, FAILED_ID, SEARCH_ID}


def test_command_says_by_its_exit_code_that_a_run_was_not_sent(server: FakeWandb, search: SearchIdentity) -> None:
    broken = search.directory / "wandb" / f"offline-run-20260101_000000-{PREFIX}-0007"
    broken.mkdir()
    (broken / f"run-{PREFIX}-0007.wandb").write_bytes(b"not a log")
    answer = run_command(search, "--json")
    assert answer.returncode == 1
    told = json.loads(answer.stdout)
    assert list(told["failed"]) == [f"{PREFIX}-0007"]
    assert len(told["sent"]) == 3
    shutil.rmtree(broken)
    again = run_command(search)
    assert (again.returncode, again.stdout) == (0, "3 runs there already\n")


def test_artifacts_of_offline_runs_arrive(server: FakeWandb, search: SearchIdentity, tmp_path: Path) -> None:
    sync_search(search.directory)
    spec = wandb.Api().artifact(f"{ENTITY}/demo/my-search-spec:latest")
    assert spec.type == "spec"
    assert "my-search" in (Path(spec.download(str(tmp_path / "spec"))) / "spec.yaml").read_text()


def test_search_that_still_runs_is_not_sent(search: SearchIdentity) -> None:
    with conducting(SearchFiles(search.directory)), pytest.raises(SpecError, match="still runs"):
        sync_search(search.directory)


def test_two_processes_do_not_send_the_same_search(search: SearchIdentity) -> None:
    lock = filelock.FileLock(search.directory / "wandb" / ".sync.lock")
    with lock, pytest.raises(SpecError, match="another process sends"):
        sync_search(search.directory)


def test_server_that_is_away_is_said_before_anything_is_sent(
    server: FakeWandb, search: SearchIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.wandb_server._TIMEOUT_SECONDS", 1)
    server.stop_answering()
    with pytest.raises(SpecError, match="cannot be used"):
        sync_search(search.directory)


def test_sync_without_a_key_says_what_to_do(search: SearchIdentity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    wandb.teardown()
    with pytest.raises(SpecError, match="wandb login"):
        sync_search(search.directory)


def test_what_is_no_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no search"):
        sync_search(tmp_path)


def run_command(search: SearchIdentity, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "search.cli.main", "sync", str(search.directory), *options]
    return subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )

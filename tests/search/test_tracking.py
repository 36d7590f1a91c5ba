"""The tracker against the real wandb client, the real `wandb sync` and a fake server on loopback."""

import json
import logging
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import wandb
from fake_wandb import ENTITY, FakeWandb
from patience import BOUNDED_SECONDS, HANG_SECONDS, wait_until
from wandb_server import fake_server
from wandb_story import (
    DOCUMENT,
    FACTS,
    FAILED_ID,
    FINGERPRINT,
    PREFIX,
    RECORD,
    SEARCH_ID,
    TRIAL_ID,
    expected_steps,
    identity_in,
    open_tracker,
    rows,
    steps_of,
    tell_story,
)

from analysis.offline_wandb import OfflineRun, read_offline_run
from search import tracking
from search.spec import WandbConfig
from search.sync import sync_search
from search.tracker import NullTracker, SearchIdentity, Tracker
from search.tracking import WandbTracker, make_tracker
from search.wandb_opening import RunOpener, run_settings
from spaces.errors import SpecError

server = fake_server
ROOT = Path(tracking.__file__).parents[1]


@pytest.fixture
def identity(tmp_path: Path) -> SearchIdentity:
    return identity_in(tmp_path)


ABOUT = {"search": "my-search", "fingerprint": FINGERPRINT, **FACTS.provenance}
Open = Callable[[str], Tracker]


@pytest.fixture
def opened(server: FakeWandb, identity: SearchIdentity) -> Open:
    """Open a tracker as a new session of the same search. However slow this machine is, W&B may take that long."""
    return partial(open_tracker, identity, patience_seconds=60)


@pytest.fixture
def opened_impatiently(server: FakeWandb, identity: SearchIdentity) -> Open:
    """The same with short timeouts, for servers that do not answer."""
    return partial(open_tracker, identity, patience_seconds=2)


def offline_runs(identity: SearchIdentity, *, were_ended: bool = True) -> dict[str, OfflineRun]:
    def read() -> list[OfflineRun]:
        return [read_offline_run(file.parent) for file in (identity.directory / "wandb").glob("*run-*_*/run-*.wandb")]

    if were_ended:  # wandb-core answers a moment before its last write is on disk
        wait_for(lambda: all(run.exit_code is not None for run in read()))
    runs = read()
    assert len({run.id for run in runs}) == len(runs), "two directories for one run"
    return {run.id: run for run in runs}


def sync(identity: SearchIdentity) -> None:
    """What a user does then."""
    assert sync_search(identity.directory).failed == {}


# --- online ----------------------------------------------------------------------------------------------


@pytest.fixture
def told(server: FakeWandb, opened: Open) -> FakeWandb:
    """A server that has seen the whole story."""
    tell_story(opened("online"))
    return server


def read_back(**filters: Any) -> list[Any]:
    return list(wandb.Api().runs(f"{ENTITY}/demo", filters=filters, order="+display_name", lazy=False))


def test_online_story_is_read_back_through_the_public_api(told: FakeWandb) -> None:
    search, first, second = read_back(group="my-search")
    assert [run.id for run in (search, first, second)] == [SEARCH_ID, TRIAL_ID, FAILED_ID]
    assert [run.job_type for run in (search, first, second)] == ["search", "trial", "trial"]
    assert [run.name for run in (search, first)] == ["my-search", "my-search-0000"]
    assert [run.state for run in (search, first, second)] == ["finished", "finished", "failed"]
    assert first.config == {**DOCUMENT, "tunesmith": ABOUT | {"number": 0}}
    assert search.config["training"] == {"hub_token": "[redacted]"}
    assert first.tags == ["mine"]
    assert first.summary["eval/loss"] == 0.25
    assert first.summary["tunesmith/state"] == "COMPLETE"
    assert second.summary["tunesmith/error"] == "the loss became NaN"
    assert search.summary["best/number"] == 0
    assert steps_of(list(first.scan_history())) == expected_steps(3)
    assert [row["train/loss"] for row in first.scan_history()] == [1, 1 / 2, 1 / 3]
    assert first.history(pandas=False)[-1]["progress/tokens"] == 2000


def test_runs_can_be_found_by_a_nested_parameter(told: FakeWandb) -> None:
    found = read_back(**{"config.training.learning_rate": {"$lt": 0.01}, "state": "failed"})
    assert [run.id for run in found] == [FAILED_ID]


def test_all_metrics_share_our_step_axis(told: FakeWandb) -> None:
    metrics = told.runs[TRIAL_ID].config["_wandb"]["value"]["m"]
    assert {metric.get("1") or metric.get("2") for metric in metrics} == {"*", "progress/step"}


def test_leaderboard_is_read_back_to_the_digit(told: FakeWandb) -> None:
    table = wandb.Api().artifact(f"{ENTITY}/demo/run-{SEARCH_ID}-leaderboard:latest").get("leaderboard")
    shown = [dict(zip(table.columns, row, strict=True)) for row in table.data]
    assert [row["value"] for row in shown] == [0.1 + 0.2, None]
    assert [row["training.learning_rate"] for row in shown] == [1e-5, 1]
    assert shown[0]["fold_values"] == json.dumps([0.25, 0.35])
    assert shown[1]["error"] == "the loss became NaN"


def test_generated_texts_are_a_table_of_the_trials_run(server: FakeWandb, opened: Open) -> None:
    tracker = opened("online")
    tracker.start_trial(0, DOCUMENT, history=[])
    tracker.log_rows(0, rows(0, 2))
    tracker.log_samples(0, [{"prompt": "a", "expected": "é", "generated": "b"}])
    tracker.end_trial(0, state="COMPLETE", summary={}, error=None)
    tracker.close()
    table = wandb.Api().artifact(f"{ENTITY}/demo/run-{TRIAL_ID}-samples:latest").get("samples")
    assert (table.columns, table.data) == (["prompt", "expected", "generated"], [["a", "é", "b"]])


def test_run_files_can_be_downloaded(told: FakeWandb, tmp_path: Path) -> None:
    (run,) = read_back(job_type="search")
    (file,) = [file for file in run.files() if file.name.startswith("media/table/leaderboard")]
    file.download(root=str(tmp_path))
    assert json.loads((tmp_path / file.name).read_text())["data"][0][3] == 0.1 + 0.2


def test_finished_online_search_has_nothing_to_sync(server: FakeWandb, opened: Open, identity: SearchIdentity) -> None:
    tracker = opened("online")
    tell_story(tracker)
    assert tracker.pending() == []
    assert tracker.sync_command is None
    dry = [sys.executable, "-m", "wandb", "sync", "--dry-run", "--include-online"]
    directories = [str(path) for path in (identity.directory / "wandb").glob("run-*")]
    answer = subprocess.run([*dry, *directories], capture_output=True, text=True, check=True, timeout=HANG_SECONDS)
    assert "Would sync" not in answer.stdout + answer.stderr


def test_resumed_online_run_goes_on_without_doubles(server: FakeWandb, opened: Open) -> None:
    before = opened("online")
    before.start_trial(0, DOCUMENT, history=[])
    before.log_rows(0, rows(0, 3))
    before.close(interrupted=True)
    assert server.runs[TRIAL_ID].state == "preempted"
    assert server.runs[TRIAL_ID].summary["tunesmith/state"] == "RUNNING"

    after = opened("online")
    after.start_trial(0, DOCUMENT, history=rows(0, 5))  # two of these rows were lost on the way
    after.log_rows(0, rows(5, 7))
    after.end_trial(0, state="COMPLETE", summary={}, error=None)
    after.close()
    assert steps_of(server.runs[TRIAL_ID].history) == expected_steps(7)
    assert server.runs[TRIAL_ID].state == "finished"
    assert server.runs[TRIAL_ID].summary["tunesmith/state"] == "COMPLETE"


def test_rows_that_wandb_has_already_are_not_sent_again(server: FakeWandb, opened: Open) -> None:
    before = opened("online")
    before.start_trial(0, DOCUMENT, history=[])
    before.log_rows(0, rows(0, 4))
    before.close(interrupted=True)

    after = opened("online")
    after.start_trial(0, DOCUMENT, history=rows(0, 2))  # the history was cut back to its last evaluation
    after.log_rows(0, rows(2, 6))
    after.close(interrupted=True)
    assert steps_of(server.runs[TRIAL_ID].history) == expected_steps(6)


def test_trial_that_starts_again_in_the_same_session_has_each_row_once(server: FakeWandb, opened: Open) -> None:
    tracker = opened("online")
    tracker.start_trial(0, DOCUMENT, history=[])
    tracker.log_rows(0, rows(0, 3))
    tracker.start_trial(0, DOCUMENT, history=rows(0, 2))
    tracker.log_rows(0, rows(2, 4))
    tracker.end_trial(0, state="FAIL", summary={}, error="lost")
    tracker.start_trial(0, DOCUMENT, history=rows(0, 4))
    tracker.log_rows(0, rows(4, 5))
    tracker.end_trial(0, state="COMPLETE", summary={}, error=None)
    tracker.close()
    assert steps_of(server.runs[TRIAL_ID].history) == expected_steps(5)


# --- offline ---------------------------------------------------------------------------------------------


def test_offline_story_is_synced_into_one_group(server: FakeWandb, opened: Open, identity: SearchIdentity) -> None:
    tracker = opened("offline")
    tell_story(tracker)
    assert server.operations.asked == []
    assert len(tracker.pending()) == 3
    sync(identity)
    assert {run.name: (run.group, run.state) for run in server.runs.values()} == {
        SEARCH_ID: ("my-search", "finished"),
        TRIAL_ID: ("my-search", "finished"),
        FAILED_ID: ("my-search", "failed"),
    }
    assert steps_of(server.runs[TRIAL_ID].history) == expected_steps(3)
    assert server.runs[TRIAL_ID].plain_config == {**DOCUMENT, "tunesmith": ABOUT | {"number": 0}}
    table = wandb.Api().artifact(f"{ENTITY}/demo/run-{SEARCH_ID}-leaderboard:latest").get("leaderboard")
    assert table.data[0][3] == 0.1 + 0.2
    assert tracker.pending() == []


def test_offline_resume_leaves_one_directory_with_all_rows(opened: Open, identity: SearchIdentity) -> None:
    before = opened("offline")
    before.start_search({})
    before.start_trial(0, DOCUMENT, history=[])
    before.log_rows(0, rows(0, 3))
    before.close(interrupted=True)

    after = opened("offline")
    after.start_search({})
    after.start_trial(0, DOCUMENT, history=rows(0, 4))
    after.log_rows(0, rows(4, 5))
    after.end_trial(0, state="COMPLETE", summary={}, error=None)
    after.close()
    runs = offline_runs(identity)
    assert set(runs) == {TRIAL_ID, SEARCH_ID}
    assert steps_of(runs[TRIAL_ID].history) == expected_steps(5)
    assert runs[TRIAL_ID].exit_code == 0
    assert runs[TRIAL_ID].config["training"] == DOCUMENT["training"]


def test_run_of_a_relative_folder_stays(
    server: FakeWandb, identity: SearchIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(identity.directory.parent)
    here = SearchIdentity(name="s", fingerprint=FINGERPRINT, directory=Path(identity.directory.name))
    tracker = make_tracker(WandbConfig(mode="offline"), here)
    tracker.start_trial(0, DOCUMENT, history=rows(0, 2))
    tracker.close(interrupted=True)
    assert steps_of(offline_runs(identity)[TRIAL_ID].history) == expected_steps(2)


def test_search_begun_offline_goes_on_online_with_all_rows(server: FakeWandb, opened: Open) -> None:
    before = opened("offline")
    before.start_trial(0, DOCUMENT, history=[])
    before.log_rows(0, rows(0, 2))
    before.close(interrupted=True)

    after = opened("online")
    after.start_trial(0, DOCUMENT, history=rows(0, 2))
    after.log_rows(0, rows(2, 4))
    after.end_trial(0, state="COMPLETE", summary={}, error=None)
    after.close()
    assert steps_of(server.runs[TRIAL_ID].history) == expected_steps(4)
    assert after.pending() == []


def test_not_a_number_and_infinity_arrive(opened: Open, identity: SearchIdentity) -> None:
    tracker = opened("offline")
    tracker.start_trial(0, DOCUMENT, history=[])
    tracker.log_rows(0, [{"step": 1, "train/loss": math.nan}, {"step": 2, "train/loss": math.inf}])
    tracker.end_trial(0, state="FAIL", summary={"eval/loss": math.nan}, error="diverged")
    tracker.close()
    run = offline_runs(identity)[TRIAL_ID]
    assert [str(row["train/loss"]) for row in run.history] == ["nan", "inf"]
    assert run.exit_code == 1


def test_driver_killed_offline_loses_no_row_that_it_had_time_to_write(
    server: FakeWandb, identity: SearchIdentity
) -> None:
    script = f"""
        import time
        from pathlib import Path
        from search.spec import WandbConfig
        from search.tracking import SearchIdentity, make_tracker
        identity = SearchIdentity(name="s", fingerprint="{FINGERPRINT}", directory=Path("{identity.directory}"))
        tracker = make_tracker(WandbConfig(mode="offline"), identity)
        tracker.start_trial(0, {{}}, history=[])
        for step in range(40):
            tracker.log_rows(0, [{{"step": step}}])
        time.sleep({HANG_SECONDS})
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def num_written() -> int:
        found = offline_runs(identity, were_ended=False).get(TRIAL_ID)
        return len(found.history) if found else 0

    # All are on disk though the run goes on, and no more come that would push them there.
    wait_until(lambda: num_written() == 40, "40 rows on disk", meanwhile=driver)
    os.kill(driver.pid, signal.SIGKILL)
    assert driver.communicate()[0] == "", "wandb prints nothing"
    assert num_written() == 40


# --- a server that is not there --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["disabled", "offline", "online", "unreachable"])
def test_no_call_waits_for_wandb(
    server: FakeWandb, opened_impatiently: Open, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    are_told, init = threading.Event(), wandb.init

    def late_init(*arguments: Any, **options: Any) -> Any:
        assert are_told.wait(HANG_SECONDS), "a call waits for wandb, which waits for the calls"
        return init(*arguments, **options)

    monkeypatch.setattr(wandb, "init", late_init)
    if mode == "unreachable":
        server.stop_answering()
    tracker = opened_impatiently("online" if mode == "unreachable" else mode)
    tracker.start_search({})
    tracker.start_trial(0, DOCUMENT, history=[])
    for k in range(50):
        tracker.log_rows(0, rows(k, k + 1))
    tracker.end_trial(0, state="PRUNED", summary={}, error=None)
    tracker.end_search(RECORD, {})
    are_told.set()
    begun = time.monotonic()
    tracker.close()
    assert time.monotonic() - begun < BOUNDED_SECONDS


def test_unreachable_server_leaves_offline_runs_and_one_warning(
    server: FakeWandb, opened_impatiently: Open, caplog: pytest.LogCaptureFixture, identity: SearchIdentity
) -> None:
    server.stop_answering()
    tracker = opened_impatiently("online")
    with caplog.at_level(logging.WARNING, logger="search"):
        tell_story(tracker)
    assert len(caplog.records) == 1
    assert "tunesmith sync" in caplog.text
    server.answer_again()
    sync(identity)
    assert set(server.runs) == {SEARCH_ID, TRIAL_ID, FAILED_ID}
    assert steps_of(server.runs[TRIAL_ID].history) == expected_steps(3)
    assert tracker.pending() == []


def test_run_whose_init_failed_is_synced_under_its_right_id(
    server: FakeWandb, opened_impatiently: Open, monkeypatch: pytest.MonkeyPatch, identity: SearchIdentity
) -> None:
    monkeypatch.setattr(RunOpener, "_reach_server", lambda self: True)  # it died after it had answered
    server.stop_answering()
    tracker = opened_impatiently("online")
    tracker.start_trial(0, DOCUMENT, history=rows(0, 2))
    tracker.start_trial(1, DOCUMENT, history=rows(0, 3))
    tracker.close(interrupted=True)
    server.answer_again()
    sync(identity)
    assert set(server.runs) == {TRIAL_ID, FAILED_ID}
    assert steps_of(server.runs[TRIAL_ID].history) == expected_steps(2)
    assert tracker.pending() == []


def test_server_that_comes_back_has_every_row(
    server: FakeWandb, opened_impatiently: Open, identity: SearchIdentity
) -> None:
    tracker = opened_impatiently("online")
    tracker.start_trial(0, DOCUMENT, history=[])
    tracker.log_rows(0, rows(0, 2))
    wait_for(lambda: TRIAL_ID in server.runs)
    server.stop_answering()
    tracker.log_rows(0, rows(2, 4))
    time.sleep(0.5)
    server.answer_again()
    tracker.log_rows(0, rows(4, 5))
    tracker.end_trial(0, state="COMPLETE", summary={}, error=None)
    tracker.close()
    if tracker.pending():  # it gave up before the client's next attempt
        sync(identity)
    assert steps_of(server.runs[TRIAL_ID].history) == expected_steps(5)
    assert server.runs[TRIAL_ID].state == "finished"


def test_server_that_dies_leaves_what_it_missed_to_be_synced(
    server: FakeWandb, opened_impatiently: Open, identity: SearchIdentity
) -> None:
    tracker = opened_impatiently("online")
    tracker.start_trial(0, DOCUMENT, history=[])
    tracker.start_trial(1, DOCUMENT, history=[])
    wait_for(lambda: len(server.runs) == 2)
    server.stop_answering()
    begun = time.monotonic()
    for number in (0, 1, 2):
        tracker.start_trial(number, DOCUMENT, history=[])
        tracker.log_rows(number, rows(0, 4))
        tracker.end_trial(number, state="COMPLETE", summary={}, error=None)
    tracker.close()
    assert time.monotonic() - begun < BOUNDED_SECONDS
    server.answer_again()
    sync(identity)
    assert {run.name: steps_of(run.history) for run in server.runs.values()} == {
        f"{PREFIX}-000{number}": expected_steps(4) for number in (0, 1, 2)
    }
    assert tracker.pending() == []


def test_interruption_without_a_server_ends_in_bounded_time(
    server: FakeWandb, opened_impatiently: Open, identity: SearchIdentity
) -> None:
    tracker = opened_impatiently("online")
    for number in range(4):
        tracker.start_trial(number, DOCUMENT, history=rows(0, 1))
    wait_for(lambda: len(server.runs) == 4)
    server.stop_answering()
    begun = time.monotonic()
    tracker.close(interrupted=True)
    assert time.monotonic() - begun < BOUNDED_SECONDS
    server.answer_again()
    sync(identity)
    assert {len(run.history) for run in server.runs.values()} == {1}


def wait_for(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- the rest --------------------------------------------------------------------------------------------


def test_failure_inside_wandb_ends_tracking_with_one_warning(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    tracker = opened("offline")
    tracker.log_rows(7, rows(0, 1))  # never started
    tracker.start_trial(0, DOCUMENT, history=[])
    tracker.log_rows(8, rows(0, 1))
    tracker.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_wandb_accepts_our_settings() -> None:
    settings = run_settings(20, 60)
    assert settings.x_transaction_log_flush_interval == 1.0
    assert settings.finish_timeout_raises


def test_user_hears_nothing_from_wandb(
    server: FakeWandb, opened: Open, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_story(opened("online"))
    assert capfd.readouterr() == ("", "")


def test_disabled_tracking_never_imports_wandb(identity: SearchIdentity) -> None:
    script = f"""
        import sys
        from pathlib import Path
        from search.spec import WandbConfig
        from search.tracking import SearchIdentity, make_tracker
        identity = SearchIdentity(name="s", fingerprint="f", directory=Path("{identity.directory}"))
        tracker = make_tracker(WandbConfig(mode="disabled"), identity)
        tracker.start_search({{}})
        tracker.close()
        assert tracker.pending() == [] and tracker.sync_command is None
        sys.exit("wandb" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=True, timeout=HANG_SECONDS)


def test_disabled_mode_makes_the_null_tracker(identity: SearchIdentity) -> None:
    assert isinstance(make_tracker(WandbConfig(mode="disabled"), identity), NullTracker)


def test_online_without_a_key_is_refused_with_its_key_path(
    server: FakeWandb, identity: SearchIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(SpecError, match="wandb login") as refused:
        make_tracker(WandbConfig(mode="online"), identity)
    assert refused.value.path == "tracking.wandb.mode"


def test_key_of_wandb_login_is_found(
    server: FakeWandb, identity: SearchIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    host = server.url.removeprefix("http://")
    netrc = Path.home() / ".netrc"
    netrc.write_text(f"machine {host}\n  login user\n  password {'k' * 40}\n")
    netrc.chmod(0o600)
    assert isinstance(make_tracker(WandbConfig(mode="online"), identity), WandbTracker)

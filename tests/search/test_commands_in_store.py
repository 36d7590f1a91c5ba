"""Commands about a search in an object store, on a machine that has nothing of it: they know it by its URL."""

import json
from pathlib import Path

import pytest
from conftest import Run
from fake_wandb import FakeWandb
from recorded_searches import Session, planned
from store_server import StoreServer
from tracked_searches import TrackedSession
from wandb_server import fake_server

from analysis.kept import NESTED, NOTES, brought_here
from analysis.records import SearchFiles
from search.closing import shortest_text
from search.disk_use import DiskUse, checkpoint_bytes
from search.mirroring import begin_store, mirrored
from search.plan import Plan
from search.retention import Retention
from spaces.errors import SpecError
from spaces.store import Store

server = fake_server
URL = "s3://bucket/searches/walk"


@pytest.fixture
def plan(s3: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A search in the store, begun on this machine."""
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    checkpoints = {"keep": 3, "max_disk": "3kB"}
    found = planned(tmp_path, storage="s3://bucket/searches", checkpoints=checkpoints)
    begin_store(found.files, URL)
    return found


@pytest.fixture
def ended(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One with two trials that has ended, seen from another machine."""
    with mirrored(plan.files, say=print) as mirror:
        session = Session(plan, mirror=mirror)
        session.complete(0.5)
        session.complete(0.2, num_bytes=1000)
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "other-cache"))
    return URL


def test_a_rehearsal_takes_its_results_from_a_url(ended: str, tunesmith_here: Run) -> None:
    done = tunesmith_here("rehearse", "--from", ended, "--repeat", "1", "--algorithm", "random")
    assert done.returncode == 0, done.stderr
    assert f"{ended}: 2 trials" in done.stdout.replace("\n", " ")


def test_what_cannot_be_published_is_named_by_its_url(ended: str, tunesmith_here: Run) -> None:
    done = tunesmith_here("publish", ended)
    assert (done.returncode, f"`{ended}` was run with `tracking.wandb.mode: disabled`" in done.stderr) == (2, True)


def test_offline_runs_are_sent_and_published_from_a_machine_that_has_none_of_them(
    server: FakeWandb, s3: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tunesmith_here: Run
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    tracking = {"wandb": {"mode": "offline", "project": "demo"}}
    plan = planned(tmp_path, storage="s3://bucket/searches", tracking=tracking)
    begin_store(plan.files, URL)
    session = TrackedSession(plan, mode="offline", fingerprint="f")
    session.complete(0.5)
    session.close()
    assert session.tracker.sync_command == f"tunesmith sync {URL}"
    with mirrored(plan.files, say=print):
        pass
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "other-cache"))
    early = tunesmith_here("publish", URL)
    assert (early.returncode, f"`tunesmith sync {URL}`" in early.stderr) == (2, True)
    sent = tunesmith_here("sync", URL, "--json")
    assert sent.returncode == 0, sent.stderr
    assert len(json.loads(sent.stdout)["sent"]) == len(server.runs) == 2
    published = tunesmith_here("publish", URL)
    assert published.returncode == 0, published.stderr
    assert "Report saved" in published.stdout


def test_a_search_that_nobody_runs_is_named_by_its_url(ended: str, tunesmith_here: Run) -> None:
    done = tunesmith_here("pause", ended)
    assert (done.returncode, f"no process conducts `{ended}`" in done.stderr) == (2, True)


def test_who_asks_a_search_that_another_machine_runs_is_told_where_it_runs(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tunesmith_here: Run
) -> None:
    with mirrored(plan.files, say=print) as mirror:
        Session(plan, mirror=mirror).complete(0.5)
        assert mirror is not None
        host = json.loads(Store.at(URL).read(NOTES) or "")["host"]
        monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "other-cache"))
        while "study.db" not in Store.at(URL).names():
            pass
        stopped = tunesmith_here("stop", URL)
        status = json.loads(tunesmith_here("status", URL, "--json").stdout)
        monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    assert (stopped.returncode, f"`{URL}` is run by another machine, {host}, process" in stopped.stderr) == (2, True)
    assert (status["running"], status["elsewhere"].split(",")[0]) == (False, host)


def test_a_machine_that_has_no_checkpoint_counts_those_of_the_store(ended: str) -> None:
    files = SearchFiles(brought_here(ended))
    taken = checkpoint_bytes(files)
    assert sorted(taken) == [0, 1]
    assert taken[0] < 1000 < taken[1]
    assert DiskUse.of(files).checkpoints == sum(taken.values())


def test_what_a_store_holds_counts_for_the_limit_when_a_search_goes_on_elsewhere(ended: str, plan: Plan) -> None:
    files = SearchFiles(brought_here(ended))
    assert not list(files.trial(1).checkpoints.iterdir()), "nothing of it is on this machine"
    again = Session(plan)
    first = Retention(files, keep=3, mode="min", record=again.record, max_bytes=9e9)
    assert first.used_bytes == sum(checkpoint_bytes(files).values())


def test_what_a_trial_says_its_checkpoint_takes_counts_where_the_driver_does_not_see_it(plan: Plan) -> None:
    with mirrored(plan.files, say=print) as mirror:
        session = Session(plan, mirror=mirror)
        assert session.recorder.verdict().action == "start"
        session.report(session.start(), 1, 0.5, num_bytes=2000, is_seen=False)
        assert session.recorder.verdict().action == "wait"


def test_the_searches_of_a_nested_cross_validation_are_brought_with_it(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Store.at("s3://bucket/nested/honest")
    inner.write(NESTED, "name: honest")
    inner.write(f"honest-outer-0/{NOTES}", json.dumps({"copy": "c", "host": "h", "running": False}))
    inner.write("honest-outer-0/spec.yaml", "name: honest-outer-0")
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "other-cache"))
    folder = brought_here(inner.url)
    assert (folder / NESTED).read_text() == "name: honest"
    assert (folder / "honest-outer-0" / "spec.yaml").read_text() == "name: honest-outer-0"
    with pytest.raises(SpecError, match="exists already"):
        begin_store(SearchFiles(folder), inner.url)


def test_a_model_in_a_store_keeps_both_slashes_of_its_url() -> None:
    assert shortest_text(f"{URL}/trials/0/checkpoints/a") == f"{URL}/trials/0/checkpoints/a"

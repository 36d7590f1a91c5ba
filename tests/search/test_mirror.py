"""What lies in an object store while a search runs, and after it was lost: a real S3 server on this machine."""

import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from patience import BOUNDED_SECONDS, HANG_SECONDS
from recorded_searches import Session, planned
from store_server import StoreServer

from analysis.kept import NOTES, brought_here
from analysis.leaderboard import leaderboard
from analysis.records import SearchFiles
from analysis.sources import read_records
from search.mirror import Mirror
from search.mirroring import begin_store, mirrored, wait_for_turn
from search.plan import Plan
from search.transfer import checkpoint_of
from spaces.errors import SpecError
from spaces.reports import Progress, TrialReport, TrialStopped
from spaces.store import Store, check_writable, entered
from trainables.checkpoints import TrialDirectory
from trainables.remote_checkpoints import leave

Move = Callable[[], None]


@pytest.fixture
def plan(s3: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A search that is kept in the store, begun."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    plan = planned(tmp_path, storage=f"s3://bucket/{uuid.uuid4().hex}", checkpoints={"keep": 1})
    begin_store(plan.files, _url(plan))
    return plan


@pytest.fixture
def other_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Move:
    """Moves to a machine that has nothing of the search."""
    return lambda: monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "other-cache"))


def _url(plan: Plan) -> str:
    return f"{plan.spec.storage.path}/{plan.spec.name}"


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)


def test_another_machine_reads_the_search_as_the_first_one_has_it(plan: Plan, other_machine: Move) -> None:
    with mirrored(plan.files, say=print) as mirror:
        session = Session(plan, mirror=mirror)
        session.complete(0.5)
        session.complete(0.2)
        session.prune(3.0)
        session.fail("error")
        here = [entry.to_json() | {"checkpoint": None} for entry in leaderboard(session.record)]
    other_machine()
    record = read_records(_url(plan))
    assert [entry.to_json() | {"checkpoint": None} for entry in leaderboard(record)] == here
    assert list(record.history_of(1)) == list(session.record.history_of(1))
    assert record.best is not None
    assert record.best.checkpoint is not None
    assert record.best.checkpoint.startswith(f"{_url(plan)}/trials/1/checkpoints/")


def test_checkpoints_come_when_they_are_asked_for(plan: Plan, other_machine: Move) -> None:
    with mirrored(plan.files, say=print) as mirror:
        Session(plan, mirror=mirror).complete(0.5, num_bytes=77)
    other_machine()
    files = SearchFiles(brought_here(_url(plan)))
    assert not list(files.trial(0).checkpoints.iterdir())
    latest = TrialDirectory(files.trial(0).path).latest()
    assert latest is not None
    assert (latest.path / "weights").stat().st_size == 77


def test_another_search_starts_from_a_checkpoint_in_a_store(plan: Plan, other_machine: Move) -> None:
    with mirrored(plan.files, say=print) as mirror:
        Session(plan, mirror=mirror).complete(0.5, num_bytes=77)
    other_machine()
    folder = checkpoint_of(f"search:{_url(plan)}#best")
    assert (folder / "weights").stat().st_size == 77
    assert read_records(_url(plan)).trials[0].checkpoint == str(folder)


def test_what_retention_removes_is_removed_from_the_store(plan: Plan) -> None:
    with mirrored(plan.files, say=print) as mirror:
        session = Session(plan, mirror=mirror)
        session.complete(0.5)
        session.complete(0.2)
        session.prune(3.0)
    names = Store.at(_url(plan)).names()
    assert {name.split("/")[1] for name in names if "/checkpoints/" in name} == {"1"}
    assert not [name for name in names if "/reports/" in name]


def test_evaluations_that_the_driver_could_not_store_are_told_again_by_the_trial(
    plan: Plan, other_machine: Move
) -> None:
    with mirrored(plan.files, say=print) as mirror:
        session = Session(plan, mirror=mirror)
        number = session.start()
        session.report(number, 1, 5.0)
    for evaluation in (2, 3):  # the driver's last words are not stored; the trial's checkpoints are
        session.report(number, evaluation, 5.0 - evaluation)
    other_machine()
    files = SearchFiles(brought_here(_url(plan)))
    assert [row["evaluation"] for row in files.trial(number).read_history()] == [1, 2, 3]
    again = Session(_plan_on(files, plan))
    assert again.go_on() == [number]
    assert again.record.trials[number].last_value == 2.0
    assert list(again.record.trials[number].intermediate.values()) == [5.0, 3.0, 2.0]


def test_an_evaluation_is_answered_only_when_the_stored_study_knows_its_trial(
    plan: Plan, other_machine: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.mirror._EVERY_SECONDS", 60.0)  # nothing is stored by chance
    with mirrored(plan.files, say=print) as mirror:
        session = Session(plan, mirror=mirror)
        session.complete(0.5)
        number = session.start()
        session.report(number, 1, 5.0)  # and at this moment all that the driver has is lost
        other_machine()
        record = read_records(_url(plan))
    assert [trial.state for trial in record.trials] == ["COMPLETE", "RUNNING"]
    assert [row["evaluation"] for row in record.history_of(number)] == [1]


def test_nobody_waits_for_a_store_that_is_away(plan: Plan, s3: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.mirror._KNOWN_SECONDS", None)
    said: list[str] = []
    with mirrored(plan.files, say=said.append) as mirror:
        assert mirror is not None
        s3.cut_off()
        try:
            _until(lambda: len(said) == 1)
            mirror.began(0)
            mirror.wait_until_known(0)  # for ever, if it waited
        finally:
            s3.let_go_on()
        mirror.wait_until_known(0)


def test_what_a_trial_left_that_the_stored_study_does_not_know_is_not_gone_on_from(
    plan: Plan, other_machine: Move, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirrored(plan.files, say=print) as mirror:
        Session(plan, mirror=mirror).complete(0.5)
    lost = Session(plan)  # its driver stores nothing any more
    number = lost.start()
    for evaluation in (1, 2):
        lost.report(number, evaluation, 5.0)
    of_lost = TrialDirectory(plan.files.trial(number).path, attempt=2)
    other_machine()
    files = SearchFiles(brought_here(_url(plan)))
    with mirrored(files, say=print) as mirror:
        again = Session(_plan_on(files, plan), mirror=mirror)
        assert again.go_on() == []
        assert again.start() == number
        trial = TrialDirectory(files.trial(number).path)
        assert trial.begin_attempt() > of_lost.attempt
        assert trial.latest() is None
        again.report(number, 1, 3.0)
        assert again.files.trial(number).read_history()[0][plan.spec.metric] == 3.0
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    latest = of_lost.latest()
    assert latest is not None
    assert latest.report.progress.evaluation == 1, "the node that had the lost one takes up the new one, too"
    with pytest.raises(TrialStopped):
        of_lost.commit(latest.path, latest.report)


def test_a_checkpoint_that_was_kept_for_a_while_is_named_no_more(plan: Plan, other_machine: Move) -> None:
    with mirrored(plan.files, say=print) as mirror:
        session = Session(plan, mirror=mirror)
        session.complete(0.5)
        session.complete(0.2)
    for move in (lambda: None, other_machine):
        move()
        assert [trial.checkpoint is not None for trial in read_records(_url(plan)).trials] == [False, True]


def test_a_search_whose_trials_run_elsewhere_keeps_its_best_checkpoint_when_it_goes_on(plan: Plan) -> None:
    with mirrored(plan.files, say=print) as mirror:
        session = Session(plan, mirror=mirror)
        session.complete(0.5)
        # As on a driver's machine where no trial ran: it has the folder, and nothing in it.
        for path in plan.files.trial(0).checkpoints.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with mirrored(plan.files, say=print) as mirror:
        Session(plan, mirror=mirror).prune(3.0)
    assert [name for name in Store.at(_url(plan)).names() if "trials/0/checkpoints/" in name]


def test_the_run_of_a_trial_is_stored_when_it_has_ended(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.mirror._SETTLED_SECONDS", 0.0)
    names = [f"wandb/offline-run-20260101_000000-0123456789ab-{which}/run.wandb" for which in ("search", "0000")]
    store = Store.at(_url(plan))
    with mirrored(plan.files, say=print) as mirror:
        session = Session(plan, mirror=mirror)
        number = session.start()
        for name in names:
            (plan.files.path / name).parent.mkdir(parents=True)
            (plan.files.path / name).write_text("rows")
        _until(lambda: names[0] in store.names())
        session.report(number, 1, 5.0)
        assert names[1] not in store.names()
        session.recorder.finish(number, is_complete=False)
        _until(lambda: names[1] in store.names())


def _plan_on(files: SearchFiles, plan: Plan) -> Plan:
    """The plan, with the working folder of another machine."""
    return replace(plan, files=files)


def test_an_older_attempt_elsewhere_can_commit_nothing_any_more(plan: Plan, other_machine: Move) -> None:
    here = TrialDirectory(plan.files.trial(0).path)
    here.begin_attempt()
    other_machine()
    elsewhere = TrialDirectory(_entered(plan))
    assert elsewhere.begin_attempt() == 2
    folder = here.checkpoints / ".incoming"
    folder.mkdir()
    report = TrialReport(progress=Progress(step=1, epoch=1.0, tokens=0, evaluation=1), metrics={}, rows=[], seconds=1.0)
    with pytest.raises(TrialStopped):
        here.commit(folder, report)


def test_files_that_vanish_while_they_are_stored_replace_no_whole_checkpoint(
    plan: Plan, other_machine: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = _trained(plan.files.trial(0).path)
    put_all = Store.put_all

    def put_from_a_disk_that_goes_away(store: Store, folder: Path, names: Iterable[str], *, below: str) -> None:
        put_all(store, folder, names, below=below)
        shutil.rmtree(folder)

    monkeypatch.setattr(Store, "put_all", put_from_a_disk_that_goes_away)
    _commit(trial, evaluation=2)
    monkeypatch.setattr(Store, "put_all", put_all)
    other_machine()
    latest = TrialDirectory(_entered(plan)).latest()
    assert latest is not None
    assert latest.report.progress.evaluation == 1
    assert (latest.path / "weights").read_bytes() == b"w"


def _entered(plan: Plan) -> Path:
    return entered(f"{_url(plan)}/trials/0", search_levels=2)


def test_a_node_keeps_no_checkpoint_of_a_trial_that_left_it_and_gets_it_back(plan: Plan, other_machine: Move) -> None:
    other_machine()
    on_node = _trained(_entered(plan))
    leave(on_node.path)
    assert not on_node.checkpoints.exists()
    latest = on_node.latest()
    assert latest is not None
    assert (latest.path / "weights").read_bytes() == b"w"


def test_a_node_keeps_what_it_could_not_store_and_the_driver_keeps_all(
    plan: Plan, s3: StoreServer, other_machine: Move
) -> None:
    of_driver = _trained(plan.files.trial(1).path)
    leave(of_driver.path)
    assert of_driver.checkpoints.exists()
    other_machine()
    s3.cut_off()
    try:
        on_node = _trained(_entered(plan))
        leave(on_node.path)
        assert on_node.checkpoints.exists()
    finally:
        s3.let_go_on()


def _trained(trial: Path) -> TrialDirectory:
    """A trial with one checkpoint."""
    directory = TrialDirectory(trial)
    directory.begin_attempt()
    _commit(directory, evaluation=1)
    return directory


def _commit(trial: TrialDirectory, *, evaluation: int) -> None:
    folder = trial.checkpoints / ".incoming"
    folder.mkdir()
    (folder / "weights").write_bytes(b"w")
    progress = Progress(step=evaluation, epoch=1.0, tokens=0, evaluation=evaluation)
    trial.commit(folder, TrialReport(progress=progress, metrics={}, rows=[], seconds=1.0))


def test_a_store_that_is_away_stops_nothing_and_gets_all_of_it_later(plan: Plan, s3: StoreServer) -> None:
    said: list[str] = []
    with mirrored(plan.files, say=said.append) as mirror:
        session = Session(plan, mirror=mirror)
        session.complete(0.5)
        _until(lambda: "study.db" in Store.at(_url(plan)).names())
        s3.cut_off()
        try:
            session.complete(0.4)
            _until(lambda: len(said) == 1)
        finally:
            s3.let_go_on()
        _until(lambda: len(said) == 2)
    assert "does not answer" in said[0]
    assert "the search goes on" in said[0]
    assert "answers again" in said[1]
    stored = Store.at(_url(plan)).names()
    assert {f"trials/{number}/history.jsonl" for number in (0, 1)} <= set(stored)


def test_the_end_of_a_search_waits_a_bounded_time_and_says_what_is_not_stored(
    plan: Plan, s3: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.mirror._CLOSE_SECONDS", 2.0)
    said: list[str] = []
    try:
        with mirrored(plan.files, say=said.append) as mirror:
            Session(plan, mirror=mirror)
            s3.cut_off()
            (plan.files.path / "leaderboard.csv").write_text("number\n")
            began = time.monotonic()
        assert time.monotonic() - began < BOUNDED_SECONDS
    finally:
        s3.let_go_on()
    assert "not stored in s3://" in said[-1]
    assert "leaderboard.csv" in said[-1]
    assert str(plan.files.path) in said[-1]


def test_this_machines_copy_is_not_replaced_by_what_it_has_stored_itself(plan: Plan) -> None:
    with mirrored(plan.files, say=print) as mirror:
        session = Session(plan, mirror=mirror)
        session.complete(0.5)
    session.complete(0.1)  # killed before this was stored
    assert len(read_records(_url(plan)).trials) == 2


def test_a_copy_that_another_machine_went_on_from_is_replaced(
    plan: Plan, other_machine: Move, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirrored(plan.files, say=print) as mirror:
        Session(plan, mirror=mirror).complete(0.5)
    other_machine()
    files = SearchFiles(brought_here(_url(plan)))
    with mirrored(files, say=print) as mirror:
        Session(_plan_on(files, plan), mirror=mirror).complete(0.1)
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    assert len(read_records(_url(plan)).trials) == 2


def test_a_search_that_runs_elsewhere_is_not_run_here(plan: Plan, other_machine: Move) -> None:
    with mirrored(plan.files, say=print):
        other_machine()
        files = SearchFiles(brought_here(_url(plan)))
        with pytest.raises(SpecError, match=r"is being run by another machine at this moment: .*, process"):
            wait_for_turn(files, Store.at(_url(plan)), say=print)


def test_a_driver_whose_search_was_taken_over_stops_and_stores_nothing_more(plan: Plan) -> None:
    said: list[str] = []
    store = Store.at(_url(plan))
    with mirrored(plan.files, say=said.append) as mirror:
        assert mirror is not None
        _until(lambda: store.read(NOTES) is not None)
        notes = json.loads(store.read(NOTES) or "") | {"copy": "of another machine", "host": "10.0.0.9"}
        _until(lambda: _stays(store, json.dumps(notes), mirror))
        (plan.files.path / "late.txt").write_text("late")
    assert "10.0.0.9 has taken this search over" in said[0]
    assert (plan.files.control / "stop").exists()
    assert "late.txt" not in store.names()


def _stays(store: Store, text: str, mirror: Mirror) -> bool:
    store.write(NOTES, text)
    return mirror.is_taken_over


def test_a_search_is_not_begun_where_there_is_one(plan: Plan) -> None:
    with mirrored(plan.files, say=print) as mirror:
        Session(plan, mirror=mirror)
    with pytest.raises(SpecError, match=r"exists already. Go on with it by `tunesmith resume s3://"):
        begin_store(plan.files, _url(plan))


def test_what_is_no_search_is_named_with_the_searches_there(plan: Plan, other_machine: Move) -> None:
    with mirrored(plan.files, say=print) as mirror:
        Session(plan, mirror=mirror)
    other_machine()
    with pytest.raises(SpecError, match=r"is no search.* Searches in there: .*/walk"):
        brought_here(plan.spec.storage.path)


def test_no_bucket_and_no_server_are_told_apart(plan: Plan, s3: StoreServer) -> None:
    with pytest.raises(SpecError, match="there is no bucket `missing`"):
        check_writable(Store.at("s3://missing/searches"))
    s3.cut_off()
    try:
        with pytest.raises(SpecError, match=r"storage.path: cannot write to `s3://bucket/searches`"):
            check_writable(Store.at("s3://bucket/searches"))
    finally:
        s3.let_go_on()

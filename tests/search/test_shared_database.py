"""The study of a search in PostgreSQL: a real server, cut off and started again."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from patience import BOUNDED_SECONDS
from postgres_server import PASSWORD, PostgresServer
from recorded_searches import Session, planned
from sqlalchemy import Engine, PoolProxiedConnection, event

from analysis.leaderboard import leaderboard
from search.control import is_conducted
from search.databases import reach
from search.lease import LeaseLost, take_lease
from search.ledger import open_study
from search.plan import Plan
from search.run import conducting
from search.study_storage import Patience, StorageLost, leased
from spaces.errors import SpecError

Place = Callable[..., Plan]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def place(server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Plans a search whose study is in the database."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)

    def plan(name: str = "walk", **sections: object) -> Plan:
        storage = {"path": str(tmp_path / "searches"), "database": server.url}
        return planned(tmp_path, storage=storage, name=name, **sections)

    return plan


def _walk(plan: Plan, *, num_trials: int = 3) -> Session:
    session = Session(plan)
    for number in range(num_trials):
        session.complete(0.5 - number / 10)
    return session


def test_a_search_is_recorded_in_the_database_as_it_would_be_in_a_file(place: Place, tmp_path: Path) -> None:
    boards = []
    for plan in (place(), planned(tmp_path / "other")):
        session = _walk(plan)
        session.prune(3.0)
        session.fail("out_of_memory")
        entries = [entry.to_json() for entry in leaderboard(session.record)]
        boards.append([{**entry, "checkpoint": entry["checkpoint"] is not None} for entry in entries])
        assert session.record.name == "walk"
    assert boards[0] == boards[1]
    assert not place().files.study.exists()


def test_two_searches_of_one_name_share_the_database_and_nothing_else(place: Place, tmp_path: Path) -> None:
    first = _walk(place(), num_trials=2)
    other = planned(
        tmp_path / "other", storage={"path": str(tmp_path / "other"), "database": place().spec.storage.database}
    )
    second = _walk(other, num_trials=3)
    assert len(first.record.trials) == 2
    assert len(second.record.trials) == 3
    assert first.study.study_name != second.study.study_name


def test_the_pointer_in_the_folder_and_the_spec_hold_no_password(place: Place) -> None:
    files = _walk(place(), num_trials=1).files
    texts = [path.read_bytes() for path in files.path.rglob("*") if path.is_file()]
    assert all(PASSWORD.encode() not in text for text in texts)
    assert place().spec.storage.database in files.study_pointer.read_text()


def test_optuna_opens_the_study_with_nothing_of_ours_in_its_tables(place: Place, server: PostgresServer) -> None:
    session = _walk(place(), num_trials=1)
    study = optuna.load_study(study_name=session.study.study_name, storage=server.url_with_password)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"]
    assert optuna.storages.RDBStorage(server.url_with_password).get_current_version()


def test_tables_are_made_once_when_many_searches_begin_at_one_moment(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    fresh = server.fresh_database()
    plans = [
        planned(tmp_path / str(number), storage={"path": str(tmp_path / str(number)), "database": fresh})
        for number in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        sessions = list(pool.map(Session, plans))
    assert len({session.study._study_id for session in sessions}) == 4


def test_a_database_that_comes_back_loses_nothing_and_doubles_nothing(place: Place, server: PostgresServer) -> None:
    plan = place()
    Session(plan)
    said: list[str] = []
    patience = Patience(30.0)
    patience.say = said.append
    study = open_study(plan.files.path, patience=patience)
    server.stop()
    threading.Timer(1.0, server.start).start()
    study.set_user_attr("a", 1)
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs={"assignment": {}}))
    assert [trial.number for trial in study.trials] == [0]
    assert study.user_attrs["a"] == 1
    assert "does not answer: waiting for up to 30 s" in said[0]
    assert "answers again" in said[1]


def test_a_trial_is_added_once_when_the_answer_to_its_commit_is_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = place()
    Session(plan)
    study = open_study(plan.files.path, patience=Patience(30.0))
    lost = _LostAnswer(study._storage._backend.engine, statement="INSERT INTO trials")
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs={"assignment": {}}))
    assert lost.happened
    assert len(study.trials) == 1


def test_an_end_is_told_once_when_the_answer_to_its_commit_is_lost(place: Place) -> None:
    session = _walk(place(), num_trials=1)
    study = open_study(session.files.path, patience=Patience(30.0))
    number = session.start()
    lost = _LostAnswer(study._storage._backend.engine, statement="UPDATE trials")
    study._storage.set_trial_state_values(study.trials[number]._trial_id, optuna.trial.TrialState.FAIL)
    assert lost.happened
    assert study.trials[number].state.name == "FAIL"


def test_a_database_that_stays_away_ends_the_search_after_a_bounded_time(place: Place, server: PostgresServer) -> None:
    plan = place()
    Session(plan)
    patience = Patience(0.5)
    study = open_study(plan.files.path, patience=patience)
    server.stop()
    try:
        began = time.monotonic()
        with pytest.raises(StorageLost, match=r"has not answered for .* go on by `tunesmith resume`") as caught:
            study.set_user_attr("a", 1)
        assert time.monotonic() - began < BOUNDED_SECONDS
        assert PASSWORD not in str(caught.value)
        assert patience.broken is caught.value
    finally:
        server.start()


def test_a_second_driver_on_another_machine_is_refused_while_the_first_one_lives(
    place: Place, server: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = place()
    name = Session(plan).study.study_name
    engine = reach(server.url)
    lease = take_lease(engine, name, folder=plan.files.path, say=print, seconds=1.0)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    try:
        with pytest.raises(SpecError, match=r"is being run by another process at this moment: .*, process"):
            take_lease(engine, name, folder=elsewhere, say=print, seconds=1.0)
        lease.check()
    finally:
        lease.release()
    take_lease(engine, name, folder=elsewhere, say=print, seconds=1.0).release()


def test_a_dead_driver_elsewhere_is_waited_for_until_its_lease_has_run_out(
    place: Place, server: PostgresServer, tmp_path: Path
) -> None:
    plan = place()
    name = Session(plan).study.study_name
    engine = reach(server.url)
    dead = take_lease(engine, name, folder=plan.files.path, say=print, seconds=5)
    dead._ends.set()  # as kill -9 does: nothing is renewed, nothing released
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    said: list[str] = []
    lease = take_lease(engine, name, folder=elsewhere, say=said.append, seconds=5)
    assert "conducted this search; if it is gone" in said[0]
    dead._renewed = 0.0
    with pytest.raises(LeaseLost, match="taken this search over"):
        dead.check()
    lease.release()


def test_a_driver_that_lost_its_lease_writes_nothing_any_more(place: Place, server: PostgresServer) -> None:
    plan = place()
    Session(plan)
    with conducting(plan.files), leased(plan.files, say=print) as lease:
        assert lease is not None
        study = open_study(plan.files.path, patience=Patience(5.0), lease=lease)
        study.set_user_attr("before", 1)
        with reach(server.url).begin() as connection:
            connection.exec_driver_sql("UPDATE tunesmith_leases SET token = 'of another'")
        lease._renewed = 0.0
        with pytest.raises(LeaseLost):
            study.set_user_attr("after", 1)
    assert "after" not in open_study(plan.files.path).user_attrs


def test_status_knows_a_driver_that_runs_on_another_machine(
    place: Place, server: PostgresServer, tmp_path: Path
) -> None:
    plan = place()
    name = Session(plan).study.study_name
    assert not is_conducted(plan.files)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lease = take_lease(reach(server.url), name, folder=elsewhere, say=print)
    assert is_conducted(plan.files)
    lease.release()
    assert not is_conducted(plan.files)


def test_a_database_that_cannot_be_reached_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with pytest.raises(
        SpecError, match=r"storage.database: cannot reach postgresql://tuner@127.0.0.1:1/studies: "
    ) as caught:
        reach("postgresql://tuner@127.0.0.1:1/studies")
    assert PASSWORD not in str(caught.value)


def test_a_user_who_may_make_no_tables_is_told_so(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    url = server.fresh_database()
    with reach(url).begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    storage = {"path": str(tmp_path / "searches"), "database": url.replace("tuner@", "guest@")}
    with pytest.raises(SpecError, match=r"storage.database: cannot use .*permission denied.* may make tables"):
        Session(planned(tmp_path, storage=storage))


class _LostAnswer:
    """The next commit of a change to a trial arrives, and the connection dies before its answer does."""

    def __init__(self, engine: Engine, *, statement: str) -> None:
        self.happened = False
        self._is_next = False
        dialect = engine.dialect
        commit = dialect.do_commit

        def do_commit(connection: PoolProxiedConnection) -> None:
            commit(connection)
            if self._is_next and not self.happened:
                self.happened = True
                connection.dbapi_connection.close()
                raise dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

        @event.listens_for(engine, "before_cursor_execute")
        def _watch(connection: object, cursor: object, text: str, *_: object) -> None:
            self._is_next = self._is_next or text.startswith(statement)

        dialect.do_commit = do_commit

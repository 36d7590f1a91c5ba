"""The queue in a database: the same claims for SQLite and for a real PostgreSQL."""

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postgres_server import PASSWORD, PostgresServer

from cluster.queue_records import NewSearch, NoLongerKeeperError, Package
from cluster.queue_store import QueueStore, open_store
from cluster.queueing import EVERYBODY, Amount, Quota
from spaces.errors import SpecError

PACKAGE = Package(files={"spec.yaml": b"name: one", "code/own.py": b"x = 1"})


def new_search(name: str = "one", **facts: object) -> NewSearch:
    known = {
        "name": name, "user": "ann", "directory": f"/shared/{name}", "shelf": f"/shared/.submitted/{name}",
        "command": ("run", "spec.yaml"), "lane": Amount(cpus=1, gpus=0.5),
    }  # fmt: skip
    return NewSearch(**{**known, **facts})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    found = PostgresServer()
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "queue.db")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    url: str = request.getfixturevalue("server").fresh_database()
    return url


@pytest.fixture
def store(place: str) -> QueueStore:
    return open_store(place)


def test_what_was_handed_in_is_there_when_the_database_is_opened_again(store: QueueStore, place: str) -> None:
    new = new_search(environment={"A": "1"}, secret_files={"B": "/b"}, most_lanes=3, priority=2)
    added = store.add(new, PACKAGE)
    again = open_store(place).find("one")
    assert again == added
    assert again.search == new
    assert open_store(place).package(again.package) == PACKAGE


def test_a_folder_has_one_active_search_at_most(store: QueueStore) -> None:
    first = store.add(new_search(), PACKAGE)
    with pytest.raises(SpecError, match=r"in the queue already \(queued, of ann\)"):
        store.add(new_search(user="bob"), PACKAGE)
    store.cancel(first.number, by="ann")
    assert store.add(new_search(user="bob"), PACKAGE).number > first.number


def test_of_many_who_hand_in_the_same_search_at_once_one_does(store: QueueStore) -> None:
    taken: list[int] = []

    def add() -> None:
        with contextlib.suppress(SpecError):
            taken.append(store.add(new_search(), PACKAGE).number)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert len(store.searches()) == 1


def test_a_transition_is_made_once(store: QueueStore) -> None:
    queued = store.add(new_search(), PACKAGE)
    term = store.begin_term()
    assert term.start(queued, lanes=2, submission_id="job-1")
    assert not term.start(queued, lanes=2, submission_id="job-1")
    starting = store.get(queued.number)
    assert (starting.state, starting.lanes, starting.attempt, starting.submission_id) == ("STARTING", 2, 1, "job-1")
    assert term.runs(starting)
    assert not term.runs(starting)
    assert [event.event for event in store.events(queued.number)] == ["QUEUED", "STARTING", "RUNNING"]


def test_a_search_that_was_cancelled_meanwhile_is_not_started(store: QueueStore) -> None:
    queued = store.add(new_search(), PACKAGE)
    term = store.begin_term()
    assert store.cancel(queued.number, by="bob") == "CANCELLED"
    assert not term.start(queued, lanes=2, submission_id="job-1")
    assert store.get(queued.number).message == "cancelled by bob"


def test_one_that_runs_is_asked_to_stop_and_stays_until_it_has(store: QueueStore) -> None:
    queued = store.add(new_search(), PACKAGE)
    store.begin_term().start(queued, lanes=1, submission_id="job-1")
    assert store.cancel(queued.number, by="bob") == "STARTING"
    assert store.get(queued.number).stop_wanted_by == "bob"


def test_a_lost_search_waits_again_at_its_old_place_and_a_late_word_about_it_is_not_heard(store: QueueStore) -> None:
    queued = store.add(new_search(), PACKAGE)
    term = store.begin_term()
    term.start(queued, lanes=1, submission_id="job-1")
    lost = store.get(queued.number)
    assert term.put_back(lost, "its cluster is gone")
    again = store.get(queued.number)
    assert (again.state, again.number, again.lanes) == ("QUEUED", queued.number, 0)
    assert term.start(again, lanes=1, submission_id="job-2")
    assert not term.end(lost, "ENDED", "")
    assert store.get(queued.number).state == "STARTING"


def test_a_keeper_that_was_replaced_changes_nothing(store: QueueStore, place: str) -> None:
    queued = store.add(new_search(), PACKAGE)
    old = store.begin_term()
    new = open_store(place).begin_term()
    with pytest.raises(NoLongerKeeperError, match=f"keeper {old.number} was replaced by keeper {new.number}"):
        old.start(queued, lanes=1, submission_id="job-1")
    assert store.get(queued.number).state == "QUEUED"
    assert new.start(queued, lanes=1, submission_id="job-1")


def test_a_message_is_noted_only_when_it_is_news(store: QueueStore) -> None:
    queued = store.add(new_search(), PACKAGE)
    term = store.begin_term()
    term.explain(queued, "quota of ann")
    assert store.get(queued.number).message == "quota of ann"
    assert [event.event for event in store.events()] == ["QUEUED"]


def test_priorities_and_quotas_are_kept(store: QueueStore, place: str) -> None:
    queued = store.add(new_search(), PACKAGE)
    store.set_priority(queued.number, 7, by="ann")
    store.set_quota("ann", Quota(gpus=2))
    store.set_quota("ann", Quota(gpus=3, weight=2))
    store.set_quota(EVERYBODY, Quota(cpus=8))
    store.set_quota("bob", Quota(cpus=1))
    store.set_quota("bob", None)
    again = open_store(place)
    assert again.find("one").search.priority == 7
    assert again.quotas() == {EVERYBODY: Quota(cpus=8), "ann": Quota(gpus=3, weight=2)}


def test_a_name_finds_the_search_that_is_active_else_the_last_one(store: QueueStore) -> None:
    first = store.add(new_search(), PACKAGE)
    store.cancel(first.number, by="ann")
    second = store.add(new_search(), PACKAGE)
    assert store.find("one").number == second.number
    assert store.find(str(first.number)).number == first.number
    store.add(new_search(directory="/elsewhere/one"), PACKAGE)
    with pytest.raises(SpecError, match="give the number of one"):
        store.find("one")
    with pytest.raises(SpecError, match=r"no search `oen`\. Did you mean `one`\?"):
        store.find("oen")


def test_a_kill_between_any_two_statements_leaves_all_or_nothing(place: str) -> None:
    store = open_store(place)
    for number in range(3):
        before = len(store.searches())
        child = multiprocessing.get_context("spawn").Process(target=_add_until_killed, args=(place, f"search{number}"))
        child.start()
        while len(store.searches()) == before:
            time.sleep(0.01)
        time.sleep(number / 100)
        child.kill()
        child.join()
    added = store.searches()
    for each in added:
        assert store.package(each.package) == PACKAGE
        assert [event.event for event in store.events(each.number)] == ["QUEUED"]


def _add_until_killed(place: str, name: str) -> None:
    store = open_store(place)
    for number in range(10**6):
        store.add(new_search(f"{name}-{number}"), PACKAGE)


def test_a_password_in_the_url_is_refused() -> None:
    with pytest.raises(SpecError, match=r"put it into ~/\.pgpass"):
        open_store("postgresql://me:secret@host/queue")


def test_a_database_that_does_not_answer_is_named() -> None:
    with pytest.raises(SpecError, match=r"cannot open the queue's database at `postgresql://me@127\.0\.0\.1:9/x`: "):
        open_store("postgresql://me@127.0.0.1:9/x")


def test_the_same_files_are_kept_once(store: QueueStore) -> None:
    first = store.add(new_search(), PACKAGE)
    second = store.add(new_search("two"), replace(PACKAGE, files=dict(reversed(list(PACKAGE.files.items())))))
    assert first.package == second.package

"""The keeper's rounds over a real database and real folders of searches. The cluster is a stand-in that can be told
what happens to jobs, and the keeper is killed at every step that it takes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import filelock
import pytest
from store_server import StoreServer

from analysis.records import SearchFiles
from cluster.errors import ClusterError
from cluster.job_records import JobState, SearchJob
from cluster.queue_records import NewSearch, NoLongerKeeperError, Package, StartOrder
from cluster.queue_store import QueueStore, open_store
from cluster.queueing import Amount, ClusterRoom, Quota
from search.control import FIRST_LANES, ControlDesk, Lanes
from search.keeper import Keeper
from spaces.errors import SpecError
from spaces.store import Store

PACKAGE = Package(files={"spec.yaml": b"name: x"})


class Killed(BaseException):
    """The keeper's process dies here."""


@dataclass
class Cluster:
    """Takes jobs, each id once, as the Jobs API does; and dies with its keeper when it is told to."""

    gpus: float = 2.0
    known: dict[str, SearchJob] = field(default_factory=dict)
    orders: list[StartOrder] = field(default_factory=list)
    dies: Callable[[str], None] = lambda step: None

    def room(self) -> ClusterRoom:
        return ClusterRoom(total=Amount(cpus=8.0, gpus=self.gpus))

    def jobs(self) -> dict[str, SearchJob]:
        self.dies("jobs")
        return dict(self.known)

    def submit(self, ordered: StartOrder) -> None:
        self.dies("before submit")
        if ordered.queued.submission_id in self.known:
            raise SpecError("somebody has just submitted this search")
        self.orders.append(ordered)
        self.known[ordered.queued.submission_id] = SearchJob(
            submission_id=ordered.queued.submission_id, search=ordered.queued.search.name,
            directory=ordered.queued.search.directory, command=ordered.command[0], user=ordered.queued.search.user,
            state="running", reason="",
        )  # fmt: skip
        self.dies("after submit")

    def end_at_once(self, submission_id: str) -> None:
        self.end(submission_id, "stopped")

    def end(self, submission_id: str, state: JobState, exit_code: int | None = 0, reason: str = "") -> None:
        self.known[submission_id] = replace(
            self.known[submission_id], state=state, exit_code=exit_code, reason=reason
        )  # fmt: skip


class Conductor(threading.Thread):
    """A search that runs: holds its lock, shows its lanes, does what it is asked."""

    def __init__(self, directory: str, lanes: Lanes) -> None:
        super().__init__(daemon=True)
        files = SearchFiles(Path(directory))
        files.path.mkdir(parents=True, exist_ok=True)
        self.lock = filelock.FileLock(files.lock, thread_local=False)
        self.lock.acquire()
        self.desk = ControlDesk(files)
        self.lanes = lanes
        self.is_over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.is_over.is_set():
            self.desk.answer(self)
            time.sleep(0.02)
        self.lock.release()

    def stop_search(self) -> None:
        self.is_over.set()

    def stop_trial(self, number: int) -> bool:
        return False

    def pause(self) -> None:
        self.lanes = replace(self.lanes, is_paused=True)

    def go_on(self) -> None:
        self.lanes = replace(self.lanes, is_paused=False)

    def scale(self, num_concurrent: int) -> None:
        self.lanes = self.lanes.with_asked(num_concurrent)

    def grant(self, num_concurrent: int) -> None:
        self.lanes = self.lanes.with_granted(num_concurrent)

    def shows(self, lanes: Lanes) -> None:
        """Wait until everybody can see these lanes."""
        self.lanes = lanes
        time.sleep(0.7)


@pytest.fixture
def store(tmp_path: Path) -> QueueStore:
    return open_store(str(tmp_path / "queue.db"))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def conduct() -> Iterator[Callable[[str, Lanes], Conductor]]:
    started: list[Conductor] = []

    def begin(directory: str, lanes: Lanes) -> Conductor:
        started.append(Conductor(directory, lanes))
        time.sleep(0.5)
        return started[-1]

    yield begin
    for each in started:
        each.is_over.set()
        each.join()


@pytest.fixture
def add(store: QueueStore, tmp_path: Path) -> Callable[..., int]:
    def hand_in(name: str, user: str = "ann", **facts: object) -> int:
        known = {
            "directory": str(tmp_path / name), "shelf": str(tmp_path / ".submitted"), "command": ("run", "spec.yaml"),
            "lane": Amount(cpus=1, gpus=1),
        }  # fmt: skip
        return store.add(NewSearch(name=name, user=user, **{**known, **facts}), PACKAGE).number  # type: ignore[arg-type]

    return hand_in


def test_a_search_is_started_with_its_files_and_the_lanes_it_was_given(
    store: QueueStore, cluster: Cluster, add: Callable[..., int]
) -> None:
    number = add("one", environment={"A": "1"})
    Keeper(store, cluster).round()
    (order,) = cluster.orders
    assert order.package == PACKAGE
    assert order.environment == {"A": "1", FIRST_LANES: "2"}
    assert (store.get(number).state, store.get(number).lanes) == ("RUNNING", 2)


STEPS = ("jobs", "before submit", "after submit")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", range(4))
def test_a_keeper_that_is_killed_anywhere_starts_nothing_twice_and_loses_nothing(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], step: str, when: int
) -> None:
    numbers = [add(name, user) for name, user in (("one", "ann"), ("two", "bob"))]
    countdown = [when]

    def die(here: str) -> None:
        if here == step:
            countdown[0] -= 1
            if countdown[0] < 0:
                countdown[0] = 10**6
                raise Killed

    cluster.dies = die
    keeper = Keeper(store, cluster)
    for _ in range(6):
        try:
            keeper.round()
        except Killed:
            keeper = Keeper(store, cluster)
    assert [order.queued.number for order in cluster.orders] == numbers
    assert [store.get(number).state for number in numbers] == ["RUNNING", "RUNNING"]
    assert [store.get(number).attempt for number in numbers] == [1, 1]


def test_a_keeper_killed_between_telling_lanes_and_noting_them_overcommits_nothing(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], conduct: Callable[[str, Lanes], Conductor]
) -> None:
    one = add("one", most_lanes=1)
    Keeper(store, cluster).round()
    # The note of the growth was lost: the database says 1, the search was told 2.
    conduct(store.get(one).search.directory, Lanes(num_concurrent=2, num_running=2))
    two = add("two", "bob")
    Keeper(store, cluster).round()
    assert store.get(two).state == "QUEUED"
    assert store.get(two).message == "room comes when trials of other searches end"


def test_a_search_gives_up_a_lane_when_another_waits_and_gets_it_back_when_that_has_ended(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], conduct: Callable[[str, Lanes], Conductor]
) -> None:
    one = add("one")
    keeper = Keeper(store, cluster)
    keeper.round()
    conductor = conduct(store.get(one).search.directory, Lanes(num_concurrent=2, num_running=2))
    two = add("two", "bob")
    keeper.round()
    assert (conductor.lanes.num_concurrent, store.get(two).state) == (1, "QUEUED")
    conductor.shows(Lanes(num_concurrent=1, num_running=1))
    keeper.round()
    assert store.get(two).state == "RUNNING"
    cluster.end(store.get(two).submission_id, "finished")
    keeper.round()
    assert (store.get(two).state, conductor.lanes.num_concurrent) == ("ENDED", 2)


def test_a_search_whose_last_trials_run_gives_up_the_lanes_it_cannot_use(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], conduct: Callable[[str, Lanes], Conductor]
) -> None:
    one = add("one")
    keeper = Keeper(store, cluster)
    keeper.round()
    conductor = conduct(
        store.get(one).search.directory, Lanes(num_concurrent=2, num_running=1, is_running_out=True)
    )  # fmt: skip
    keeper.round()
    assert conductor.lanes.num_concurrent == 1


def test_what_a_person_asked_for_is_the_most_that_a_search_gets_until_they_ask_for_more(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], conduct: Callable[[str, Lanes], Conductor]
) -> None:
    one = add("one")
    keeper = Keeper(store, cluster)
    keeper.round()
    conductor = conduct(store.get(one).search.directory, Lanes(num_concurrent=2, granted=2, num_running=2))
    conductor.scale(1)
    conductor.shows(replace(conductor.lanes, num_running=1))
    keeper.round()
    assert (conductor.lanes.num_concurrent, conductor.lanes.granted) == (1, 1)
    two = add("two", "bob")
    keeper.round()
    assert store.get(two).state == "RUNNING", "the lane that nobody wanted is another's"
    cluster.end(store.get(two).submission_id, "finished")
    conductor.scale(5)
    conductor.shows(conductor.lanes)
    keeper.round()
    assert (conductor.lanes.num_concurrent, conductor.lanes.asked) == (2, 5)


def test_a_paused_search_lends_its_lanes_to_others_and_gets_them_back_when_it_goes_on(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], conduct: Callable[[str, Lanes], Conductor]
) -> None:
    one, two = add("one"), add("two", "bob", most_lanes=2)
    keeper = Keeper(store, cluster)
    keeper.round()
    paused = conduct(store.get(one).search.directory, Lanes(num_concurrent=1, granted=1, num_running=1))
    other = conduct(store.get(two).search.directory, Lanes(num_concurrent=1, granted=1, num_running=1))
    paused.pause()
    paused.shows(paused.lanes)
    keeper.round()
    assert paused.lanes.granted == 0
    assert other.lanes.granted == 1, "a trial of the paused one still runs"
    paused.shows(replace(paused.lanes, num_running=0))
    keeper.round()
    assert other.lanes.granted == 2
    assert store.get(one).message == "paused: others have its lanes meanwhile"
    paused.go_on()
    other.shows(replace(other.lanes, num_running=2))
    keeper.round()
    assert (paused.lanes.granted, other.lanes.granted) == (0, 1)
    assert store.get(one).message == "room comes when trials of other searches end"
    other.shows(replace(other.lanes, num_running=1))
    keeper.round()
    assert (paused.lanes.granted, other.lanes.granted) == (1, 1)
    keeper.round()
    assert store.get(one).message == ""
    assert [order.queued.attempt for order in cluster.orders] == [1, 1], "nothing was started anew"


def test_a_day_of_waiting_counts_as_one_of_priority(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.gpus = 1.0
    old = add("old")
    two_days_on = time.time() + 2 * 86400 + 60
    monkeypatch.setattr(time, "time", lambda: two_days_on)
    fresh = add("fresh", "bob", priority=1)
    Keeper(store, cluster).round()
    assert [store.get(number).state for number in (old, fresh)] == ["RUNNING", "QUEUED"]


def test_why_one_waits_is_written_down(store: QueueStore, cluster: Cluster, add: Callable[..., int]) -> None:
    store.set_quota("ann", Quota(gpus=1))
    add("one")
    two = add("two")
    Keeper(store, cluster).round()
    assert store.get(two).message == "quota of ann: 1 of 1 GPUs in use"


def test_when_the_cluster_was_lost_its_searches_go_on_from_where_they_were(
    store: QueueStore, cluster: Cluster, add: Callable[..., int]
) -> None:
    number = add("one")
    Keeper(store, cluster).round()
    SearchFiles(Path(store.get(number).search.directory)).path.mkdir()
    SearchFiles(Path(store.get(number).search.directory)).spec.write_text("name: one")
    cluster.known.clear()
    Keeper(store, cluster).round()
    first, second = cluster.orders
    assert second.command == ("resume", store.get(number).search.directory, "--address", "auto")
    assert first.queued.submission_id != second.queued.submission_id
    assert store.get(number).attempt == 2


def test_a_search_whose_last_process_still_lives_is_not_conducted_by_a_second_one(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], conduct: Callable[[str, Lanes], Conductor]
) -> None:
    number = add("one")
    keeper = Keeper(store, cluster)
    keeper.round()
    conductor = conduct(store.get(number).search.directory, Lanes(num_concurrent=2))
    cluster.known.clear()
    keeper.round()
    keeper.round()
    assert len(cluster.orders) == 1
    assert store.get(number).message == "its last process is not gone yet"
    conductor.is_over.set()
    conductor.join()
    keeper.round()
    assert len(cluster.orders) == 2


def test_a_process_that_is_lost_again_and_again_is_a_failure(
    store: QueueStore, cluster: Cluster, add: Callable[..., int]
) -> None:
    number = add("one")
    keeper = Keeper(store, cluster)
    for _ in range(5):
        keeper.round()
        for submission_id in cluster.known:
            cluster.end(submission_id, "failed", exit_code=-9, reason="killed")
    assert len(cluster.orders) == 3
    assert store.get(number).state == "FAILED"
    assert store.get(number).message == "its process was lost (killed), 3 times"


@pytest.mark.parametrize(
    ("state", "exit_code", "ends"),
    [("finished", 0, "ENDED"), ("stopped", 130, "CANCELLED"), ("failed", 3, "FAILED")],
)
def test_how_a_job_ended_is_how_its_search_ended(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], state: JobState, exit_code: int, ends: str
) -> None:
    number = add("one")
    keeper = Keeper(store, cluster)
    keeper.round()
    cluster.end(store.get(number).submission_id, state, exit_code)
    keeper.round()
    assert store.get(number).state == ends


def test_one_that_is_to_stop_stops_in_order(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], conduct: Callable[[str, Lanes], Conductor]
) -> None:
    number = add("one")
    keeper = Keeper(store, cluster)
    keeper.round()
    conductor = conduct(store.get(number).search.directory, Lanes(num_concurrent=2))
    store.cancel(number, by="ann")
    keeper.round()
    assert conductor.is_over.is_set()
    cluster.end(store.get(number).submission_id, "stopped", 130)
    keeper.round()
    assert (store.get(number).state, store.get(number).message) == ("CANCELLED", "stopped by ann; it can be resumed")


def test_one_that_does_not_stop_in_order_is_ended(store: QueueStore, cluster: Cluster, add: Callable[..., int]) -> None:
    number = add("one")
    keeper = Keeper(store, cluster, patience_seconds=0.0)
    keeper.round()
    store.cancel(number, by="ann")
    keeper.round()
    keeper.round()
    assert store.get(number).state == "CANCELLED"


def test_a_cluster_that_refuses_a_job_is_asked_again_until_patience_ends(
    store: QueueStore, cluster: Cluster, add: Callable[..., int]
) -> None:
    number = add("one")

    def refuse(step: str) -> None:
        if step == "before submit":
            raise ClusterError("no node takes jobs now")

    cluster.dies = refuse
    keeper = Keeper(store, cluster)
    keeper.round()
    assert (store.get(number).state, store.get(number).message) == ("STARTING", "trying again: no node takes jobs now")
    cluster.dies = lambda step: None
    keeper.round()
    assert store.get(number).state == "RUNNING"
    second = add("two")
    cluster.dies = refuse
    cluster.end(store.get(number).submission_id, "finished")
    keeper = Keeper(store, cluster, patience_seconds=0.0)
    keeper.round()
    assert store.get(second).state == "FAILED"


def test_an_older_keeper_does_nothing_once_there_is_a_newer_one(
    store: QueueStore, cluster: Cluster, add: Callable[..., int]
) -> None:
    old = Keeper(store, cluster)
    new = Keeper(store, cluster)
    add("one")
    with pytest.raises(NoLongerKeeperError):
        old.round()
    assert cluster.orders == []
    new.round()
    assert len(cluster.orders) == 1


@pytest.fixture
def far(s3: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What tells a search in an object store from others."""
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "head"))
    return {"directory": "s3://bucket/searches/far", "shelf": "s3://bucket/searches/.submitted/far-1"}


@pytest.mark.parametrize("cache", [None, "own"])
def test_a_search_in_a_store_is_asked_in_the_folder_that_its_process_works_in(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], conduct: Callable[[str, Lanes], Conductor],
    far: dict[str, object], tmp_path: Path, cache: str | None,
) -> None:  # fmt: skip
    own = {} if cache is None else {"TUNESMITH_CACHE": str(tmp_path / cache)}
    one = add("far", **far, environment=own)
    keeper = Keeper(store, cluster)
    keeper.round()
    works_in = tmp_path / (cache or "head") / "searches" / "s3" / "bucket" / "searches" / "far"
    conductor = conduct(str(works_in), Lanes(num_concurrent=2, granted=2, num_running=2))
    add("two", "bob")
    keeper.round()
    assert conductor.lanes.num_concurrent == 1, "it gave up a lane for the other"
    store.cancel(one, by="ann")
    keeper.round()
    assert conductor.is_over.is_set()


@pytest.mark.parametrize("begun", ["mirror.json", "nested.yaml"])
def test_a_search_in_a_store_goes_on_also_where_the_head_is_a_new_machine(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], far: dict[str, object], begun: str
) -> None:
    add("far", **far)
    Keeper(store, cluster).round()
    Store.at(str(far["directory"])).write(begun, "{}")
    cluster.known.clear()
    Keeper(store, cluster).round()
    assert [order.command[:2] for order in cluster.orders] == [("run", "spec.yaml"), ("resume", far["directory"])]


def test_a_search_that_never_began_in_its_store_begins(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], far: dict[str, object]
) -> None:
    add("far", **far)
    Keeper(store, cluster).round()
    cluster.known.clear()
    Keeper(store, cluster).round()
    assert [order.command for order in cluster.orders] == [("run", "spec.yaml")] * 2


def test_a_store_that_does_not_answer_is_waited_for(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], far: dict[str, object], s3: StoreServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    number = add("far", **far)
    Keeper(store, cluster).round()
    Store.at(str(far["directory"])).write("mirror.json", "{}")
    cluster.known.clear()
    s3.cut_off()
    Keeper(store, cluster).round()
    assert (store.get(number).state, len(cluster.orders)) == ("STARTING", 1)
    assert store.get(number).message.startswith("trying again: `s3://bucket/searches/far` does not answer")
    s3.let_go_on()
    Keeper(store, cluster).round()
    assert cluster.orders[-1].command[0] == "resume"


def test_a_nested_cross_validation_that_was_lost_goes_on(
    store: QueueStore, cluster: Cluster, add: Callable[..., int], tmp_path: Path
) -> None:
    add("one", is_fixed=True)
    Keeper(store, cluster).round()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "nested.yaml").write_text("name: one")
    cluster.known.clear()
    Keeper(store, cluster).round()
    assert cluster.orders[-1].command[0] == "resume"

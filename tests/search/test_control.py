"""Asking a search to stop from another process. A thread stands in for the other process; the lock is real."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import filelock
import pytest
from patience import HANG_SECONDS

from analysis.records import SearchFiles
from search.control import (
    ControlDesk,
    Lanes,
    ask_to_go_on,
    ask_to_pause,
    ask_to_scale,
    ask_to_stop,
    ask_to_take,
    is_conducted,
    shown_lanes,
)
from spaces.errors import SpecError


class Conductor(threading.Thread):
    """Holds the lock and looks at its desk, as a search does, until it is asked to stop."""

    def __init__(self, files: SearchFiles, *, running: tuple[int, ...] = (), answers: bool = True) -> None:
        super().__init__(daemon=True)
        self.lock = filelock.FileLock(files.lock, thread_local=False)
        self.lock.acquire()
        self.desk = ControlDesk(files)
        self.running = running
        self.answers = answers
        self.stopped: list[int] = []
        self.lanes = Lanes(num_concurrent=2)
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            if self.answers:
                self.desk.answer(self)
            time.sleep(0.02)
        self.lock.release()

    def stop_search(self) -> None:
        self.is_over.set()

    def stop_trial(self, number: int) -> bool:
        self.stopped.append(number)
        return number in self.running

    def pause(self) -> None:
        self.lanes = replace(self.lanes, is_paused=True)

    def go_on(self) -> None:
        self.lanes = replace(self.lanes, is_paused=False)

    def scale(self, num_concurrent: int) -> None:
        self.lanes = self.lanes.with_asked(num_concurrent)

    def grant(self, num_concurrent: int) -> None:
        self.lanes = self.lanes.with_granted(num_concurrent)


@pytest.fixture
def files(tmp_path: Path) -> SearchFiles:
    return SearchFiles(tmp_path)


@pytest.fixture
def conductor(files: SearchFiles) -> Iterator[Conductor]:
    found = Conductor(files, running=(3,))
    found.start()
    yield found
    found.is_over.set()
    found.join()


def test_a_search_that_is_asked_to_stop_answers_and_stops(files: SearchFiles, conductor: Conductor) -> None:
    assert is_conducted(files)
    assert ask_to_stop(files, trial=None, timeout_seconds=HANG_SECONDS)
    conductor.join(HANG_SECONDS)
    assert not is_conducted(files)


def test_a_trial_that_runs_is_stopped_and_the_search_goes_on(files: SearchFiles, conductor: Conductor) -> None:
    assert ask_to_stop(files, trial=3, timeout_seconds=HANG_SECONDS)
    assert conductor.stopped == [3]
    assert conductor.is_alive()


def test_a_trial_that_does_not_run_is_refused(files: SearchFiles, conductor: Conductor) -> None:
    assert not ask_to_stop(files, trial=4, timeout_seconds=HANG_SECONDS)


def test_nobody_is_asked_where_nobody_conducts(files: SearchFiles) -> None:
    with pytest.raises(SpecError, match="nothing to stop"):
        ask_to_stop(files, trial=None, timeout_seconds=HANG_SECONDS)
    assert not files.control.exists()


def test_a_search_that_does_not_answer_is_named_and_not_stopped_later(files: SearchFiles) -> None:
    deaf = Conductor(files, answers=False)
    deaf.start()
    with pytest.raises(SpecError, match="did not answer within"):
        ask_to_stop(files, trial=None, timeout_seconds=0.2)
    assert list(files.control.iterdir()) == []
    deaf.is_over.set()
    deaf.join()


def test_what_was_asked_of_an_earlier_session_is_forgotten(files: SearchFiles) -> None:
    files.control.mkdir()
    (files.control / "stop").touch()
    conductor = Conductor(files)
    conductor.start()
    time.sleep(0.5)
    assert conductor.is_alive()
    conductor.is_over.set()
    conductor.join()


def test_a_search_is_paused_scaled_and_goes_on_and_another_process_sees_it(
    files: SearchFiles, conductor: Conductor
) -> None:
    ask_to_pause(files, timeout_seconds=HANG_SECONDS)
    ask_to_scale(files, 5, timeout_seconds=HANG_SECONDS)
    assert conductor.lanes == Lanes(num_concurrent=5, asked=5, is_paused=True)
    _wait_until_shown(files, Lanes(num_concurrent=5, asked=5, is_paused=True))
    ask_to_go_on(files, timeout_seconds=HANG_SECONDS)
    _wait_until_shown(files, Lanes(num_concurrent=5, asked=5))


def test_what_an_earlier_session_showed_is_not_shown_later(files: SearchFiles, conductor: Conductor) -> None:
    _wait_until_shown(files, Lanes(num_concurrent=2))
    conductor.is_over.set()
    conductor.join()
    assert shown_lanes(files) is None


def _wait_until_shown(files: SearchFiles, lanes: Lanes) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while shown_lanes(files) != lanes:
        assert time.monotonic() < deadline, shown_lanes(files)
        time.sleep(0.02)


def test_a_queue_is_the_most_that_a_person_gets_and_what_they_asked_for_the_most_that_a_queue_gives() -> None:
    lanes = Lanes(num_concurrent=4, granted=4)
    assert lanes.with_asked(2).num_concurrent == 2
    assert lanes.with_asked(9).num_concurrent == 4
    assert lanes.with_asked(2).with_granted(3).num_concurrent == 2
    assert lanes.with_asked(9).with_granted(6).num_concurrent == 6
    assert lanes.with_granted(0).num_concurrent == 0
    assert Lanes(num_concurrent=4).with_asked(9).num_concurrent == 9, "no queue, no limit"


def test_a_queue_tells_a_search_how_much_room_it_has(files: SearchFiles, conductor: Conductor) -> None:
    ask_to_take(files, 3, timeout_seconds=HANG_SECONDS)
    assert (conductor.lanes.num_concurrent, conductor.lanes.granted) == (3, 3)
    ask_to_scale(files, 1, timeout_seconds=HANG_SECONDS)
    ask_to_take(files, 2, timeout_seconds=HANG_SECONDS)
    assert (conductor.lanes.num_concurrent, conductor.lanes.granted, conductor.lanes.asked) == (1, 2, 1)

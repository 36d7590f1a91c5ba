"""What a process knows of nodes that are taken back. The real thing: tests/cluster/test_faults_on_ray.py."""

import time

import pytest
from patience import HANG_SECONDS

from trainables import notice
from trainables.notice import DrainWatch, draining_nodes, this_node


def test_outside_of_ray_there_is_no_node_and_nobody_to_ask() -> None:
    assert this_node() == ""
    assert draining_nodes() is None


def test_what_was_known_stays_known_while_the_head_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([frozenset({"a"}), None, None])
    monkeypatch.setattr(notice, "_LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(notice, "draining_nodes", lambda: next(answers, None))
    watch = DrainWatch()
    deadline = time.monotonic() + HANG_SECONDS
    while not watch.is_drained(("a", "b")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    assert watch.is_drained(("a",))
    assert not watch.is_drained(("b",))
    assert not watch.is_drained(())

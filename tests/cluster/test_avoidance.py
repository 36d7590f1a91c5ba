"""Nodes that trials keep away from, and for how long."""

import pytest

from cluster.avoidance import FULL_FOR_SECONDS, Avoidance

HOSTS = {"aaaaaaaaaaaa": "10.0.0.1", "bbbbbbbbbbbb": "10.0.0.2"}
A, B = HOSTS


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_full_node_is_tried_again_after_a_while(clock: Clock) -> None:
    avoidance = Avoidance(hosts=lambda: HOSTS, clock=clock)
    avoidance.fill(B)
    assert avoidance.nodes == (B,)
    clock.seconds += FULL_FOR_SECONDS - 1
    assert avoidance.nodes == (B,)
    clock.seconds += 1
    assert avoidance.nodes == ()


def test_where_all_disks_are_full_trials_keep_away_from_none_and_so_do_not_wait_for_ever(clock: Clock) -> None:
    avoidance = Avoidance(hosts=lambda: HOSTS, clock=clock)
    avoidance.fill(A)
    avoidance.fill(B)
    assert avoidance.is_full_everywhere
    assert avoidance.nodes == ()


def test_a_node_that_is_drained_counts_where_trials_have_been_and_for_good() -> None:
    draining = {A, B}
    avoidance = Avoidance(hosts=lambda: HOSTS, draining=lambda: draining)
    assert avoidance.nodes == (), "Ray itself starts nothing there, and no process of ours waits there"
    avoidance.uses(A)
    assert avoidance.nodes == (A,)
    draining.clear()
    assert avoidance.nodes == (A,), "its place stays as it was: another place means a cold start"


def test_all_nodes_are_full_once_each_is_full_or_goes(clock: Clock) -> None:
    draining: set[str] = set()
    avoidance = Avoidance(hosts=lambda: HOSTS, draining=lambda: draining, clock=clock)
    avoidance.fill(A)
    assert not avoidance.is_full_everywhere
    draining.add(B)
    assert avoidance.is_full_everywhere
    clock.seconds += FULL_FOR_SECONDS
    assert not avoidance.is_full_everywhere


def test_where_nobody_knows_the_nodes_none_is_full_everywhere() -> None:
    avoidance = Avoidance()
    avoidance.fill(A)
    assert not avoidance.is_full_everywhere
    assert avoidance.name_of(A) == "aaaaaaaa"


def test_a_node_is_called_by_its_address_and_how_its_id_begins() -> None:
    assert Avoidance(hosts=lambda: HOSTS).name_of(B) == "10.0.0.2 (bbbbbbbb)"

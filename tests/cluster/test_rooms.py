"""Workers and nodes: what fits where, fractions of GPUs included."""

import pytest

from cluster.rooms import Rooms, Worker


@pytest.mark.parametrize(
    ("nodes", "worker", "workers", "lanes"),
    [
        ([(4, 16), (4, 16)], (4, 4), 1, 2),
        ([(1, 16)] * 4, (4, 4), 1, 0),
        ([(1, 16)] * 4, (1, 4), 4, 1),
        ([(2, 16)], (0.4, 1), 1, 4),
        ([(2, 16)], (0.6, 1), 1, 2),
        ([(1, 16)], (1 / 3, 1), 1, 3),
        ([(8, 3)], (0.5, 1), 1, 3),
        ([(0, 7)], (0, 2), 1, 3),
        ([(0, 7)], (0, 2), 2, 1),
        ([], (0, 1), 1, 0),
    ],
)
def test_so_many_lanes_fit(
    nodes: list[tuple[float, float]], worker: tuple[float, float], workers: int, lanes: int
) -> None:
    rooms = Rooms(Worker(gpus=gpus, cpus=cpus) for gpus, cpus in nodes)
    one = Worker(gpus=worker[0], cpus=worker[1])
    assert rooms.most(one, workers=workers, lanes=100) == lanes
    for _ in range(lanes):
        assert rooms.take(one, count=workers)
    assert not rooms.take(one, count=workers)


def test_a_whole_gpu_is_not_made_of_two_halves() -> None:
    rooms = Rooms([Worker(gpus=2, cpus=8)])
    assert rooms.take(Worker(gpus=0.6, cpus=1), count=2)
    assert not rooms.take(Worker(gpus=1, cpus=1), count=1)
    assert rooms.take(Worker(gpus=0.4, cpus=1), count=1)


def test_a_small_worker_goes_where_least_is_left() -> None:
    rooms = Rooms([Worker(gpus=4, cpus=4), Worker(gpus=1, cpus=4)])
    assert rooms.take(Worker(gpus=1, cpus=1), count=1)
    assert rooms.take(Worker(gpus=4, cpus=1), count=1), "the large node was left whole"


def test_workers_of_which_one_does_not_fit_take_nothing() -> None:
    rooms = Rooms([Worker(gpus=1, cpus=2)])
    assert not rooms.take(Worker(gpus=1, cpus=1), count=2)
    assert rooms.take(Worker(gpus=1, cpus=2), count=1)


def test_what_is_free_on_the_largest_node_is_kept_for_one_that_waits() -> None:
    rooms = Rooms([Worker(gpus=3, cpus=8), Worker(gpus=1, cpus=8)])
    rooms.set_aside(Worker(gpus=4, cpus=4), count=1)
    assert rooms.most(Worker(gpus=1, cpus=1), workers=1, lanes=9) == 1
    assert rooms.most(Worker(gpus=0, cpus=1), workers=1, lanes=20) == 12

"""What `auto` chooses, and that a search and a rehearsal go by it."""

import pytest

from search.algorithms import AlgorithmConfig
from search.auto import Situation, chosen

AUTO = AlgorithmConfig(name="auto")


@pytest.mark.parametrize(
    ("situation", "name"),
    [
        (Situation(num_trials=12, grid_size=12), "grid"),
        (Situation(num_trials=12, grid_size=12, num_parallel=12), "grid"),
        (Situation(num_trials=12, grid_size=13), "tpe"),
        (Situation(num_trials=12, grid_size=None), "tpe"),
        (Situation(num_trials=12, grid_size=None, num_parallel=5), "tpe"),
        (Situation(num_trials=12, grid_size=None, num_parallel=6), "quasi_random"),
    ],
)
def test_auto_goes_by_space_trials_and_parallelism(situation: Situation, name: str) -> None:
    algorithm, reason = chosen(AUTO, situation)
    assert algorithm.name == name
    assert reason


def test_other_algorithms_stand_for_themselves() -> None:
    own = AlgorithmConfig(name="random")
    assert chosen(own, Situation(num_trials=5, grid_size=5, num_parallel=5)) == (own, "")

"""Which lines of a leaderboard are shown."""

import pytest
from records_by_hand import finished, search_of

from analysis.leaderboard import Entry, leaderboard
from analysis.records import TrialRecord
from analysis.selection import select
from spaces.errors import SpecError

LR, SIZE = "training.learning_rate", "model.config.hidden_size"
FAILED = TrialRecord(number=3, state="FAIL", value=None, params={LR: 1.0}, intermediate={}, error="nan")


def _entries() -> list[Entry]:
    return leaderboard(
        search_of(
            finished(0, 0.7, params={LR: 0.001, SIZE: 32}, seconds=30.0, metrics={"eval/f1": 0.6}),
            finished(1, 0.9, params={LR: 0.01, SIZE: 64}, seconds=10.0, metrics={"eval/f1": 0.5}),
            finished(2, 0.8, params={LR: 0.1}, seconds=20.0),
            FAILED,
        )
    )


def _numbers(entries: list[Entry]) -> list[int]:
    return [entry.trial.number for entry in entries]


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        (["training.learning_rate < 0.05"], [1, 0]),
        (["learning_rate < 0.05"], [1, 0]),
        (["learning_rate < 0.05 and value > 0.8"], [1]),
        (["learning_rate < 0.05", "seconds > 20"], [0]),
        (["hidden_size >= 32"], [1, 0]),  # trial 2 has none
        (["failure == 'diverged'"], []),
    ],
)
def test_expressions_pick_trials_by_parameters_and_columns(where: list[str], numbers: list[int]) -> None:
    assert _numbers(select(_entries(), where=where)) == numbers


@pytest.mark.parametrize(
    ("sort", "numbers"),
    [("seconds", [1, 2, 0, 3]), ("-seconds", [0, 2, 1, 3]), ("hidden_size", [0, 1, 2, 3]), ("eval/f1", [1, 0, 2, 3])],
)
def test_any_column_parameter_or_metric_sorts_and_what_lacks_it_comes_last(sort: str, numbers: list[int]) -> None:
    assert _numbers(select(_entries(), sort=sort)) == numbers


def test_a_filter_leaves_ranks_as_they_are() -> None:
    assert [entry.rank for entry in select(_entries(), where=["value < 0.85"])] == [2, 3]


def test_states_have_words() -> None:
    assert _numbers(select(_entries(), states=["failed"])) == [3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": ["lerning_rate < 1"]}, "Did you mean `learning_rate`"),
        ({"where": ["__import__('os')"]}, "calls `__import__`, which is not known"),
        ({"sort": "secods"}, "Did you mean `seconds`"),
        ({"states": ["finnished"]}, "Did you mean `finished`"),
    ],
)
def test_a_name_that_is_not_there_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        select(_entries(), **arguments)  # type: ignore[arg-type]  # of several options

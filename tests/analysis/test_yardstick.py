"""Searches that measure the same, and those that do not."""

import pytest
from records_by_hand import finished, search_of

from analysis.leaderboard import leaderboard
from analysis.leaderboard_text import remarks
from analysis.yardstick import differing
from spaces.errors import SpecError


def test_searches_are_ranked_together_by_value() -> None:
    one = search_of(finished(0, 0.7), finished(1, 0.9), name="one")
    other = search_of(finished(0, 0.8), name="other")
    ranking = leaderboard(one, other)
    assert [(entry.search, entry.trial.number, entry.rank) for entry in ranking] == [
        ("one", 1, 1), ("other", 0, 2), ("one", 0, 3)
    ]  # fmt: skip


@pytest.mark.parametrize("other", [{"metric": "eval/loss"}, {"mode": "min"}])
def test_searches_that_optimise_different_things_are_not_ranked_together(other: dict[str, str]) -> None:
    with pytest.raises(SpecError, match="optimises eval/accuracy"):
        leaderboard(search_of(finished(0, 0.7)), search_of(finished(0, 0.7), **other))


def test_what_differs_in_data_is_named_by_its_path() -> None:
    one = search_of(
        finished(0, 0.7), yardstick={"task": "causal_lm", "data": {"max_length": 48, "splits": {"seed": 0}}}
    )
    other = search_of(
        finished(0, 0.7), yardstick={"task": "causal_lm", "data": {"max_length": 96, "splits": {"seed": 0}}}
    )
    assert differing([one, other]) == ["data.max_length: 48 and 96"]
    assert any("data.max_length: 48 and 96" in line for line in remarks(leaderboard(one, other), [one, other]))


def test_a_search_measures_the_same_as_itself_even_if_nothing_is_recorded() -> None:
    record = search_of(finished(0, 0.7))
    assert differing([record, record]) == []
    assert differing([record, search_of(finished(0, 0.7))]) == ["what is measured with is not recorded"]

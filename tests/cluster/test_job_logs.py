"""What of a job's log is shown."""

import pytest

from cluster.job_logs import own_lines

RAY = (
    "2026-11-22 00:47:28,881\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
    "Running entrypoint for job tunesmith-walk-84fd11-1: python -m cluster.arrival '{}'\n"
)
OWN = "starting on head\n[1/5] trial 0 finished\n2026-11-22 said by a function\n"


@pytest.mark.parametrize("size", [1, 7, 60, 1000])
def test_lines_of_ray_are_left_out_wherever_a_piece_ends(size: int) -> None:
    text = RAY + OWN
    assert "".join(own_lines(text[start : start + size] for start in range(0, len(text), size))) == OWN


def test_a_search_that_quotes_ray_is_shown_as_it_is() -> None:
    assert "".join(own_lines([RAY, OWN, RAY])) == OWN + RAY


@pytest.mark.parametrize("text", ["", RAY, RAY.rstrip("\n")])
def test_before_a_search_has_said_something_there_is_nothing(text: str) -> None:
    assert "".join(own_lines([text])) == ""


def test_a_first_line_without_an_end_is_shown() -> None:
    assert "".join(own_lines([RAY, "error: no"])) == "error: no"

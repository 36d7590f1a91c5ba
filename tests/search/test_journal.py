"""What a scheduler's journal keeps, and what it forgets when a search was lost with more in it than in its study."""

from pathlib import Path
from typing import Any

import pytest

from search.journal import Journal
from search.numbered_scheduler import is_ahead_of_study

KNOWN: list[dict[str, Any]] = [
    {"trial": 2, "resource": 1.0, "value": 0.5},
    {"ended": 1},
    {"goes_on": 2, "to_the_end": False},
    {"hand_overs": [{"donor": 0, "receiver": 2, "resource": 1.0, "assignment": {}}]},
]
AHEAD: list[dict[str, Any]] = [
    {"trial": 3, "resource": 1.0, "value": 0.5},
    {"ended": 3},
    {"ended": 2},
    {"goes_on": 3, "to_the_end": False},
    {"hand_overs": [{"donor": 0, "receiver": 3, "resource": 1.0, "assignment": {}}]},
    {"hand_overs": [{"donor": 3, "receiver": 0, "resource": 1.0, "assignment": {}}]},
]


@pytest.mark.parametrize("event", AHEAD)
def test_an_event_of_a_trial_that_the_study_does_not_have_so_is_forgotten(tmp_path: Path, event: Any) -> None:
    journal = Journal(tmp_path / "scheduler.jsonl")
    for each in [*KNOWN, event, *KNOWN]:
        journal.append(each)
    journal.forget(lambda each: is_ahead_of_study(each, num_trials=3, running={2}))
    assert list(journal.read()) == KNOWN * 2
    journal.append({"ended": 0})
    assert list(Journal(tmp_path / "scheduler.jsonl").read()) == [*KNOWN * 2, {"ended": 0}]


def test_a_journal_with_nothing_to_forget_is_not_written_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "scheduler.jsonl")
    journal.forget(lambda event: True)
    assert not (tmp_path / "scheduler.jsonl").exists()
    journal.append({"ended": 0})
    before = (tmp_path / "scheduler.jsonl").stat().st_ino
    journal.forget(lambda event: False)
    assert (tmp_path / "scheduler.jsonl").stat().st_ino == before

from pathlib import Path

import pytest

from analysis.records import SearchFiles, TrialFiles
from analysis.sources import read_records
from spaces.errors import SpecError


@pytest.fixture
def trial(tmp_path: Path) -> TrialFiles:
    files = SearchFiles(tmp_path).trial(3)
    files.path.mkdir(parents=True)
    return files


def test_history_comes_back_as_it_was_written(trial: TrialFiles) -> None:
    rows = [{"step": 1, "train/loss": 0.5}, {"step": 2, "train/loss": float("inf")}]
    trial.append_history(rows[:1])
    trial.append_history(rows[1:])
    assert trial.read_history() == rows


def test_a_torn_last_line_is_left_out(trial: TrialFiles) -> None:
    trial.append_history([{"step": 1}, {"step": 2}])
    with trial.history.open("a") as file:
        file.write('{"step": 3, "train/lo')
    assert trial.read_history() == [{"step": 1}, {"step": 2}]


def test_a_trial_without_history_has_no_rows(trial: TrialFiles) -> None:
    assert trial.read_history() == []


def test_rewriting_leaves_no_temporary_file(trial: TrialFiles) -> None:
    trial.append_history([{"step": 1}, {"step": 2}])
    trial.rewrite_history([{"step": 1}])
    assert trial.read_history() == [{"step": 1}]
    assert [path.name for path in trial.path.iterdir()] == ["history.jsonl"]


def test_a_folder_without_a_study_is_refused_and_names_the_searches_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.db").touch()
    with pytest.raises(SpecError, match=r"is no search.*mine"):
        read_records(tmp_path)


def test_a_folder_that_is_not_there_is_answered_by_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "topics").mkdir()
    with pytest.raises(SpecError, match=r"there is no such folder\. Did you mean `topics`"):
        read_records(tmp_path / "topic")

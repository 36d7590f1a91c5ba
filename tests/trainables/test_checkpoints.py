"""The folder of one trial: a kill at any moment leaves the old checkpoint or the new one."""

import shutil
from pathlib import Path

import pytest

from spaces.reports import Progress, TrialReport, TrialStopped
from trainables.checkpoints import TrialDirectory


def report(evaluation: int) -> TrialReport:
    progress = Progress(step=evaluation, epoch=float(evaluation), tokens=0, evaluation=evaluation)
    return TrialReport(progress=progress, metrics={"eval/loss": 1.0 / evaluation})


def write(directory: TrialDirectory, name: str = "written") -> Path:
    folder = directory.checkpoints / name
    folder.mkdir()
    (folder / "weights").write_text("w")
    return folder


@pytest.fixture
def directory(tmp_path: Path) -> TrialDirectory:
    made = TrialDirectory(tmp_path / "trial")
    made.begin_attempt()
    return made


def test_attempts_count_up(tmp_path: Path) -> None:
    assert [TrialDirectory(tmp_path / "trial").begin_attempt() for _ in range(3)] == [1, 2, 3]


def test_a_new_trial_has_no_checkpoint(directory: TrialDirectory) -> None:
    assert directory.latest() is None


def test_a_checkpoint_takes_what_its_files_take_and_one_that_was_replaced_nothing(directory: TrialDirectory) -> None:
    first = directory.commit(write(directory), report(1))
    (first / "more").mkdir()
    (first / "more" / "weights").write_text("wwww")
    assert directory.bytes_with(first) == 5
    directory.commit(write(directory), report(2))
    assert directory.bytes_with(first) == 0


def test_a_folder_that_was_never_begun_has_no_checkpoint(tmp_path: Path) -> None:
    assert TrialDirectory(tmp_path / "nothing").latest() is None


def test_a_committed_checkpoint_comes_back_with_its_report(directory: TrialDirectory) -> None:
    reported = report(1)
    place = directory.commit(write(directory), reported)
    latest = TrialDirectory(directory.path).latest()
    assert latest is not None
    assert (latest.path, latest.report) == (place, reported)
    assert (place / "weights").read_text() == "w"


def test_a_folder_without_pointer_is_not_used(directory: TrialDirectory) -> None:
    write(directory, "evaluation-00001-attempt-1")
    assert directory.latest() is None


def test_a_half_written_folder_leaves_the_checkpoint_before(directory: TrialDirectory) -> None:
    place = directory.commit(write(directory), report(1))
    write(directory, "half")
    latest = directory.latest()
    assert latest is not None
    assert latest.path == place


def test_a_pointer_to_a_removed_folder_is_no_checkpoint(directory: TrialDirectory) -> None:
    shutil.rmtree(directory.commit(write(directory), report(1)))
    assert directory.latest() is None


def test_a_kill_before_the_pointer_moves_leaves_the_checkpoint_before(
    directory: TrialDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = directory.commit(write(directory), report(1))

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        directory.commit(write(directory), report(2))
    latest = directory.latest()
    assert latest is not None
    assert (latest.path, latest.report.progress.evaluation) == (place, 1)
    assert (place / "weights").is_file()


def test_a_commit_removes_all_older_folders(directory: TrialDirectory) -> None:
    directory.commit(write(directory), report(1))
    write(directory, "half")
    place = directory.commit(write(directory), report(2))
    assert [entry for entry in directory.checkpoints.iterdir() if entry.is_dir()] == [place]


def test_a_checkpoint_can_be_committed_again_with_another_report(directory: TrialDirectory) -> None:
    place = directory.commit(write(directory), report(1))
    assert directory.commit(place, report(1)) == place
    assert (place / "weights").is_file()


def test_a_superseded_attempt_cannot_commit(directory: TrialDirectory) -> None:
    TrialDirectory(directory.path).begin_attempt()
    with pytest.raises(TrialStopped):
        directory.commit(write(directory), report(1))
    assert directory.latest() is None


def test_a_superseded_attempt_leaves_the_newer_ones_checkpoint(directory: TrialDirectory) -> None:
    newer = TrialDirectory(directory.path)
    newer.begin_attempt()
    place = newer.commit(write(newer), report(1))
    with pytest.raises(TrialStopped):
        directory.commit(write(directory, "late"), report(2))
    assert (place / "weights").is_file()

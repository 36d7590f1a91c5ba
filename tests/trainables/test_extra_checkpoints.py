"""A trial that is called away between two evaluations: it saves, ends there, and goes on elsewhere as if it had not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from store_server import StoreServer
from tiny_trials import Document, Ran, labelled, prose, run, weights

from spaces.reports import Progress, TrialCalledAway, TrialReport, TrialStopped
from spaces.store import Store, entered
from trainables.checkpoints import TrialDirectory
from trainables.extra_checkpoints import commit_extra, start_of
from trainables.remote_checkpoints import void
from trainables.trial import parse_document, run_trial

BY_STEPS = {"eval_strategy": "steps", "eval_steps": 5, "logging_steps": 3, "num_train_epochs": 2}


def called_away_at(document: Document, folder: Path, step: int, *, save_checkpoints: bool = True) -> Ran:
    """The trial, told after so many steps of this attempt that its machine is about to be taken back."""
    ran, directory = Ran(), TrialDirectory(folder)
    directory.begin_attempt()
    directory.is_called_away = _after(step)
    try:
        ran.outcome = run_trial(
            parse_document(document), ran.reports.append, directory=directory, save_checkpoints=save_checkpoints
        )
    except TrialCalledAway:
        return ran
    return ran


def _after(step: int) -> Callable[[], bool]:
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= step


@pytest.mark.parametrize(
    ("training", "step"),
    [(BY_STEPS, 3), (BY_STEPS, 6), (BY_STEPS | {"gradient_accumulation_steps": 2}, 2), ({"num_train_epochs": 3}, 12),
     (BY_STEPS | {"lr_scheduler_type": "reduce_lr_on_plateau"}, 7)],
    ids=["before the first evaluation", "after it", "accumulation", "evaluated by epochs", "plateau"],
)  # fmt: skip
def test_a_trial_that_was_called_away_gives_what_it_gives_undisturbed(
    tmp_path: Path, training: Document, step: int
) -> None:
    document = labelled(tmp_path, **training)
    whole = run(document, tmp_path / "whole")
    begun = called_away_at(document, tmp_path / "moved", step)
    assert begun.outcome is None, "it ended where it was called away"
    assert len(begun.reports) < len(whole.reports)
    run(prose(tmp_path, max_steps=1))  # the process does something else in between
    moved = run(document, tmp_path / "moved")
    repeated = min(1, len(begun.reports))
    assert begun.metrics + moved.metrics[repeated:] == whole.metrics
    assert weights(moved) == weights(whole)


def test_no_row_of_the_curve_is_lost_and_no_step_is_trained_twice(tmp_path: Path) -> None:
    document = labelled(tmp_path, **BY_STEPS | {"logging_steps": 1})
    whole = run(document, tmp_path / "whole")
    begun = called_away_at(document, tmp_path / "moved", 6)
    moved = run(document, tmp_path / "moved")
    told = begun.rows + moved.rows[len(moved.reports[0].rows) :]
    assert [(row["step"], row.get("train/loss")) for row in told] == [
        (row["step"], row.get("train/loss")) for row in whole.rows
    ]


def test_a_checkpoint_that_was_reported_stays_what_it_was(tmp_path: Path) -> None:
    document = labelled(tmp_path, **BY_STEPS)
    begun = called_away_at(document, tmp_path / "trial", 6)
    assert begun.reports[-1].checkpoint is not None
    before = weights(begun)
    directory = TrialDirectory(tmp_path / "trial")
    start, latest = start_of(directory), directory.latest()
    assert start is not None
    assert latest is not None
    assert str(latest.path) == begun.reports[-1].checkpoint
    assert start.checkpoint.path != latest.path
    assert weights(begun) == before


def test_it_may_be_called_away_more_than_once(tmp_path: Path) -> None:
    document = labelled(tmp_path, **BY_STEPS)
    whole = run(document, tmp_path / "whole")
    for _ in range(4):
        called_away_at(document, tmp_path / "moved", 1)
    assert len(list((tmp_path / "moved" / "checkpoints").glob("step-*"))) == 1
    moved = run(document, tmp_path / "moved")
    assert moved.metrics[-1] == whole.metrics[-1]
    assert not list((tmp_path / "moved" / "checkpoints").glob("step-*")), "the next evaluation took its place"


def test_without_checkpoints_it_trains_on(tmp_path: Path) -> None:
    ran = called_away_at(labelled(tmp_path, **BY_STEPS), tmp_path / "trial", 2, save_checkpoints=False)
    assert ran.outcome is not None
    assert ran.outcome.failure is None


def test_an_older_attempt_saves_no_more(tmp_path: Path) -> None:
    old, new = TrialDirectory(tmp_path), TrialDirectory(tmp_path)
    old.begin_attempt()
    new.begin_attempt()
    (folder := old.checkpoints / "written").mkdir()
    report = TrialReport(progress=Progress(step=1, epoch=0.1, tokens=0, evaluation=0), metrics={})
    with pytest.raises(TrialStopped):
        commit_extra(old, folder, step=1, report=report, rows=[])
    assert start_of(new) is None


@pytest.fixture
def machine(tmp_path: Path, s3: StoreServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], TrialDirectory]:
    """A machine with a cache of its own, which takes a trial over."""

    def takes_over(name: str, url: str) -> TrialDirectory:
        monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / name))
        directory = TrialDirectory(entered(url, search_levels=2))
        directory.begin_attempt()
        return directory

    return takes_over


def _written(directory: TrialDirectory, weights: str) -> Path:
    (folder := directory.checkpoints / ".written").mkdir()
    (folder / "weights").write_text(weights)
    return folder


def _report(evaluation: int, seconds: float = 0.0) -> TrialReport:
    progress = Progress(step=10 * evaluation, epoch=1.0, tokens=0, evaluation=evaluation)
    return TrialReport(progress=progress, metrics={"eval/loss": 0.5} if evaluation else {}, seconds=seconds)


def test_a_machine_that_shares_no_disk_goes_on_from_the_extra_checkpoint_in_the_store(
    machine: Callable[[str, str], TrialDirectory],
) -> None:
    url = "s3://bucket/searches/words/trials/0"
    first = machine("first", url)
    first.commit(_written(first, "evaluated"), _report(1, 4.0))
    commit_extra(first, _written(first, "further"), step=15, report=_report(0, 6.0), rows=[{"step": 15}])
    second = machine("second", url)
    start = start_of(second)
    assert start is not None
    assert start.evaluated is not None
    assert (start.checkpoint.path / "weights").read_text() == "further"
    assert (start.evaluated.path / "weights").read_text() == "evaluated"
    assert (start.checkpoint.report.seconds, start.rows) == (6.0, ({"step": 15},))
    second.commit(_written(second, "newer"), _report(2, 9.0))
    third = start_of(machine("third", url))
    assert third is not None
    assert (third.checkpoint.path / "weights").read_text() == "newer"
    assert third.rows == ()
    assert not [name for name in Store.at(url).names() if "step-" in name], "what is out of date is removed there"


@pytest.mark.parametrize("evaluations", [0, 1])
def test_a_trial_does_not_go_on_from_what_another_one_of_its_number_left_on_the_machine(
    machine: Callable[[str, str], TrialDirectory], evaluations: int
) -> None:
    url = f"s3://bucket/searches/words/trials/{1 + evaluations}"
    first = machine("one", url)
    for evaluation in range(1, evaluations + 1):
        first.commit(_written(first, "evaluated"), _report(evaluation))
    commit_extra(first, _written(first, "further"), step=15, report=_report(0), rows=[])
    void(Store.at(url))
    assert start_of(machine("one", url)) is None

"""Which checkpoints stay, by what lies on the disk."""

import shutil
from pathlib import Path

import pytest
from recorded_searches import Session, planned

from search.disk_use import size_of
from search.pins import pin_checkpoints


def _kept(session: Session) -> list[int]:
    return sorted(int(path.parent.parent.name) for path in session.files.path.glob("trials/*/checkpoints/evaluation-*"))


def test_the_best_stay_and_losers_go_at_once(tmp_path: Path) -> None:
    session = Session(planned(tmp_path, checkpoints={"keep": 2}))
    seen = []
    for loss in (0.5, 0.4, 0.6, 0.3):
        session.complete(loss)
        seen.append(_kept(session))
    session.prune(0.1)
    assert [*seen, _kept(session)] == [[0], [0, 1], [0, 1], [1, 3], [1, 3]]


def test_what_failed_keeps_its_last_checkpoint_unless_it_diverged(tmp_path: Path) -> None:
    session = Session(planned(tmp_path))
    for kind in ("lost", "diverged", "error", "out_of_memory"):
        session.fail(kind)  # type: ignore[arg-type]  # kinds of failures
    assert _kept(session) == [0, 2, 3]
    assert [trial.number for trial in session.record.trials if trial.checkpoint] == [0, 2, 3]


def test_above_the_limit_failures_go_first_then_the_worst_and_never_the_best(tmp_path: Path) -> None:
    session = Session(planned(tmp_path, checkpoints={"keep": 3, "max_disk": "3kB"}))
    session.complete(0.5, num_bytes=1000)
    session.fail("lost")
    session.complete(0.4, num_bytes=1000)
    session.complete(0.6, num_bytes=990)
    assert _kept(session) == [0, 2, 3]
    session.complete(0.3, num_bytes=2500)
    assert _kept(session) == [4]


def test_no_trial_starts_whose_checkpoints_would_not_fit(tmp_path: Path) -> None:
    session = Session(planned(tmp_path, checkpoints={"keep": 1, "max_disk": "1.5kB"}))
    assert session.recorder.verdict().action == "start"
    number = session.start()
    session.report(number, 1, 0.5, num_bytes=1000)
    waiting = session.recorder.verdict()
    assert (waiting.action, waiting.reason.split(":")[0]) == ("wait", "checkpoints.max_disk")
    session.recorder.finish(number, is_complete=False)
    assert session.recorder.verdict().action == "start"


def test_what_an_interrupted_session_left_is_removed_and_what_goes_on_is_not(tmp_path: Path) -> None:
    session = Session(planned(tmp_path))
    session.complete(0.5)
    session.prune(0.9)
    running = session.start()
    session.report(running, 1, 0.8)
    for orphan in (1, 7):  # a loser whose removal was cut short, a trial that never was
        (session.files.trial(orphan).checkpoints / "evaluation-00001-attempt-1").mkdir(parents=True)
    again = Session(session.plan)
    assert _kept(again) == [0, running]
    assert not again.files.trial(7).path.exists()


def test_a_trial_that_ended_loses_nothing_before_the_study_knows_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(planned(tmp_path))
    session.complete(0.3)
    number = session.start()
    session.report(number, 1, 0.9)

    def killed(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(session.recorder._ledger), "finish", killed)
    with pytest.raises(KeyboardInterrupt):
        session.recorder.finish(number, is_complete=False)
    assert _kept(session) == [0, number]


def test_a_file_with_two_names_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 700)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert size_of(tmp_path) == 700


def test_a_checkpoint_that_another_search_starts_from_stays_as_long_as_that_search(tmp_path: Path) -> None:
    session = Session(planned(tmp_path))
    session.complete(0.5)
    best = session.record.trials[0].checkpoint
    other = planned(tmp_path / "other")
    Session(other)
    pin_checkpoints({"model": {"pretrained": best}, "space": {"a.b": {"choice": ["x", 3]}}}, other.files)
    session.complete(0.4)
    assert _kept(session) == [0, 1]
    shutil.rmtree(other.files.path)
    assert _kept(Session(session.plan)) == [1]

"""Failed trials run again, finished ones train for longer: what becomes of them in the record and on disk."""

from pathlib import Path
from typing import Any

import pytest
from recorded_searches import Session, planned

from analysis.leaderboard import leaderboard
from search.going_on import Extension, extend, retry
from search.plan import Plan
from search.revisions import read_revisions
from spaces.errors import SpecError
from spaces.reports import Progress, Row, TrialFailure, TrialReport
from trainables.checkpoints import TrialDirectory


def _silent(words: str) -> None:
    pass


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return planned(tmp_path, checkpoints={"keep": 2})


def test_a_failed_trial_is_run_again_under_a_new_number_from_its_last_checkpoint(plan: Plan) -> None:
    session = Session(plan)
    failed = session.fail("lost", evaluations=2)
    retry(plan.files, say=_silent)
    again = Session(plan)
    (number,) = again.go_on()
    assert number != failed
    start = TrialDirectory(plan.files.trial(number).path).latest()
    assert start is not None
    assert start.report.progress.evaluation == 2
    again.train_on(number, 0.5, first=3, length=4)
    retried, new = again.record.trials
    assert (retried.state, retried.superseded_by) == ("FAIL", number)
    assert (new.state, new.params, new.value) == ("COMPLETE", retried.params, 0.5)
    assert [row["evaluation"] for row in plan.files.trial(number).read_history()] == [1, 2, 3, 4]
    assert list(new.intermediate) == [1000, 2000, 3000, 4000]


def test_a_retried_failure_is_counted_and_ranked_once(plan: Plan) -> None:
    session = Session(plan)
    session.fail("error")
    session.complete(0.7)
    retry(plan.files, say=_silent)
    again = Session(plan)
    again.train_on(again.go_on()[0], 0.5, first=3, length=4)
    record = again.record
    assert {state: record.count(state) for state in ("COMPLETE", "FAIL", "RUNNING")} == {
        "COMPLETE": 2, "FAIL": 0, "RUNNING": 0
    }  # fmt: skip
    assert [(entry.rank, entry.trial.number) for entry in leaderboard(record)] == [(1, 2), (2, 1), (None, 0)]


def test_a_search_killed_on_the_way_adds_each_retry_once(plan: Plan) -> None:
    session = Session(plan)
    session.fail("lost")
    retry(plan.files, say=_silent)
    # As a kill between folder and row leaves it: a folder of a trial that never was.
    plan.files.trial(1).checkpoints.mkdir(parents=True)
    (plan.files.trial(1).path / "trial.yaml").write_text("number: 1\n")
    for _ in range(3):
        record = Session(plan).record
    assert [(trial.number, trial.state) for trial in record.trials] == [(0, "FAIL"), (1, "RUNNING")]


def test_what_diverged_is_retried_only_when_asked_for_and_from_its_start(plan: Plan) -> None:
    session = Session(plan)
    session.fail("diverged")
    with pytest.raises(SpecError, match="diverge again"):
        retry(plan.files, say=_silent)
    retry(plan.files, kinds=["diverged"], say=_silent)
    (number,) = Session(plan).go_on()
    assert TrialDirectory(plan.files.trial(number).path).latest() is None


def test_a_number_that_did_not_fail_and_an_unknown_kind_are_refused(plan: Plan) -> None:
    session = Session(plan)
    session.fail("error")
    session.complete(0.5)
    with pytest.raises(SpecError, match=r"trial 1 is no failed trial\. Failed, and not retried yet: 0"):
        retry(plan.files, numbers=[1], say=_silent)
    with pytest.raises(SpecError, match="Did you mean `lost`"):
        retry(plan.files, kinds=["lots"], say=_silent)


def test_more_trials_are_suggested_as_if_there_had_been_more_from_the_start(plan: Plan, tmp_path: Path) -> None:
    session = Session(plan)
    session.fail("error")
    session.complete(0.5)
    retry(plan.files, say=_silent)
    extend(plan.files, Extension(overrides=["search.trials=9"]), say=_silent)
    again = Session(plan)
    again.train_on(again.go_on()[0], 0.4, first=3, length=4)
    later = [again.next_params() for _ in range(3)]
    plain = Session(planned(tmp_path / "uninterrupted"))
    assert [plain.next_params() for _ in range(5)][2:] == later
    assert again.plan.num_trials == 9


def test_the_best_go_on_for_longer_from_links_to_their_checkpoints(plan: Plan) -> None:
    session = Session(plan)
    for loss in (0.5, 0.4, 0.3):
        session.complete(loss)
    extend(plan.files, Extension(overrides=["config.length=6"]), say=_silent)
    again = Session(plan)
    assert again.go_on() == [3, 4]
    for number, loss in ((3, 0.1), (4, 0.2)):
        start = TrialDirectory(plan.files.trial(number).path).latest()
        assert start is not None
        assert not start.report.progress.is_final
        again.train_on(number, loss, first=5, length=6)
    record = again.record
    assert [(trial.state, trial.superseded_by) for trial in record.trials] == [
        ("PRUNED", None), ("COMPLETE", 4), ("COMPLETE", 3), ("COMPLETE", None), ("COMPLETE", None)
    ]  # fmt: skip
    assert record.best is not None
    assert (record.best.number, record.best.params) == (3, record.trials[2].params)
    assert not plan.files.trial(2).checkpoints.exists()
    assert record.trials[3].own_share == pytest.approx(1 / 3)


def test_of_the_best_that_lost_their_checkpoints_the_extension_trains_the_rest_anew(plan: Plan) -> None:
    session = Session(plan)
    for loss in (0.5, 0.4, 0.3):
        session.complete(loss)
    extend(plan.files, Extension(overrides=["config.length=6"], top=3), say=_silent)
    (revision,) = read_revisions(plan.files)
    assert (revision.goes_on, revision.starts_anew) == ((2, 1), (0,))
    assert revision.changes == {"config.length": 4}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("config.length=3", "longer training needs a larger number than 4, but got 3"),
        ("search.trials=1", "there are 2 trials already, but got 1"),
        ("search.seed=7", "tunesmith fork"),
        ("search.trials=6", "nothing would change"),
    ],
)
def test_what_is_no_extension_is_refused_and_leaves_the_spec_as_it_was(plan: Plan, override: str, message: str) -> None:
    session = Session(plan)
    session.complete(0.5)
    session.complete(0.4)
    before = plan.files.spec.read_text()
    with pytest.raises(SpecError, match=message):
        extend(plan.files, Extension(overrides=[override]), say=_silent)
    assert plan.files.spec.read_text() == before


def _classifier(folder: Path, **training: Any) -> Plan:
    """The plan of a search for the best classifier, which trains 4 epochs."""
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    sections = {
        "trainable": None,
        "config": {},
        "task": "sequence_classification",
        "model": {"architecture": "bert", "config": tiny},
        "data": {"source": {"builtin": "stdlib-docstrings"}, "tokenizer": {"train": "bpe", "vocab_size": 300}},
        "training": {"num_train_epochs": 4} | training,
        "space": {"training.learning_rate": {"log_uniform": [1e-4, 1e-2]}},
        "search": {"trials": 6, "algorithm": "random"},
    }
    return planned(folder, **sections)


LONGER = ["training.num_train_epochs=6"]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_that_knows_its_end_is_refused_by_name_and_says_what_can_be_done(
    tmp_path: Path, schedule: str
) -> None:
    plan = _classifier(tmp_path, lr_scheduler_type=schedule)
    Session(plan).complete(0.5)
    with pytest.raises(
        SpecError, match=f"trial 0 cannot go on .* `{schedule}` falls to 0 .*--anew.*--inexact"
    ) as refused:
        extend(plan.files, Extension(overrides=LONGER), say=_silent)
    assert refused.value.path == "training.lr_scheduler_type"
    assert read_revisions(plan.files) == []


@pytest.mark.parametrize(("manner", "starts_at"), [("inexact", 4), ("anew", None)])
def test_by_name_it_goes_on_all_the_same_or_begins_anew(tmp_path: Path, manner: Any, starts_at: int | None) -> None:
    plan = _classifier(tmp_path)
    Session(plan).complete(0.5)
    extend(plan.files, Extension(overrides=LONGER, manner=manner), say=_silent)
    (number,) = Session(plan).go_on()
    start = TrialDirectory(plan.files.trial(number).path).latest()
    assert (start.report.progress.evaluation if start else None) == starts_at
    assert "num_train_epochs: 6" in plan.files.trial(number).document.read_text()


def test_with_a_constant_rate_training_goes_on_and_an_unfinished_trial_trains_as_long(tmp_path: Path) -> None:
    plan = _classifier(tmp_path, lr_scheduler_type="constant_with_warmup", warmup_steps=10)
    session = Session(plan)
    session.complete(0.5)
    unfinished = session.start()
    session.report(unfinished, 1, 0.9)
    extend(plan.files, Extension(overrides=LONGER), say=_silent)
    again = Session(plan)
    assert again.go_on() == [unfinished, 2]
    for number in (unfinished, 2):
        assert "num_train_epochs: 6" in plan.files.trial(number).document.read_text()


def test_before_training_anew_it_must_be_known_which_are_the_best(tmp_path: Path) -> None:
    plan = _classifier(tmp_path)
    session = Session(plan)
    session.complete(0.5)
    session.start()
    with pytest.raises(SpecError, match=r"trial 1 .* did not finish: `tunesmith resume` first"):
        extend(plan.files, Extension(overrides=LONGER, manner="anew"), say=_silent)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.max_steps=100"], "says how long it trains in another way"),
        (["training.learning_rate=0.1"], "tunesmith fork"),
        (["training.num_train_epochs=2"], "larger number than 4, but got 2"),
    ],
)
def test_a_task_is_extended_by_its_own_length_only(tmp_path: Path, overrides: list[str], message: str) -> None:
    plan = _classifier(tmp_path)
    Session(plan).complete(0.5)
    with pytest.raises(SpecError, match=message):
        extend(plan.files, Extension(overrides=overrides), say=_silent)


def test_asking_who_trains_for_longer_without_longer_training_is_refused(plan: Plan) -> None:
    Session(plan).complete(0.5)
    with pytest.raises(SpecError, match="give a longer training, too"):
        extend(plan.files, Extension(overrides=["search.trials=9"], top=2), say=_silent)


def test_a_trial_that_failed_before_the_extension_is_retried_from_its_start(plan: Plan) -> None:
    session = Session(plan)
    failed = session.fail("lost")
    session.complete(0.5)
    extend(plan.files, Extension(overrides=["config.length=6"]), say=_silent)
    again = Session(plan)
    again.train_on(again.go_on()[0], 0.4, first=5, length=6)
    retry(plan.files, say=_silent)
    later = Session(plan)
    (number,) = later.go_on()
    assert later.record.trials[failed].superseded_by == number
    assert TrialDirectory(plan.files.trial(number).path).latest() is None


# --- folds ---------------------------------------------------------------------------------------------


def _in_folds(folder: Path) -> Plan:
    search = {"algorithm": "random", "metric": "loss", "mode": "min", "trials": 6, "cross_validation": 3}
    return planned(folder, search=search)


def _save_fold(plan: Plan, number: int, fold: int, evaluation: int, *, is_final: bool) -> Path:
    """The checkpoint of one fold, as its training leaves it."""
    place = TrialDirectory(plan.files.trial(number).path, attempt=1).fold(fold)
    folder = place.checkpoints / ".incoming"
    folder.mkdir()
    progress = Progress(step=evaluation, epoch=evaluation, tokens=0, evaluation=evaluation, is_final=is_final)
    return place.commit(folder, TrialReport(progress=progress, metrics={"loss": 0.5}, seconds=10.0))


def test_a_failed_trial_of_several_folds_goes_on_in_the_fold_it_was_in(tmp_path: Path) -> None:
    plan = _in_folds(tmp_path)
    session = Session(plan)
    failed = session.start()
    TrialDirectory(plan.files.trial(failed).path).begin_attempt()
    _save_fold(plan, failed, 0, 2, is_final=True)
    checkpoint = _save_fold(plan, failed, 1, 1, is_final=False)
    rows: list[Row] = [{"evaluation": n, "step": n, "epoch": n, "tokens": 0} for n in (1, 2, 3)]
    progress = Progress(step=3, epoch=3, tokens=0, evaluation=3)
    session.recorder.report(
        failed, TrialReport(progress=progress, metrics={"loss": 0.5}, rows=rows, checkpoint=str(checkpoint))
    )
    session.recorder.fail(failed, TrialFailure(kind="lost", message="gone"), rows=[])
    retry(plan.files, say=_silent)
    again = Session(plan)
    (number,) = again.go_on()
    reached = TrialDirectory(plan.files.trial(number).path).reached()
    assert [(place.index, checkpoint.report.progress.is_final) for place, checkpoint in reached] == [
        (0, True), (1, False)
    ]  # fmt: skip
    assert [row["evaluation"] for row in plan.files.trial(number).read_history()] == [1, 2, 3]
    origin = again.record.trials[number].origin
    assert origin is not None
    assert origin.seconds_before == 20.0


def test_folds_do_not_go_on_for_longer_but_begin_anew(tmp_path: Path) -> None:
    plan = _in_folds(tmp_path)
    Session(plan).complete(0.5)
    with pytest.raises(SpecError, match="longer ones begin anew"):
        extend(plan.files, Extension(overrides=("config.length=8",)), say=_silent)

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from analysis.records import SearchFiles
from analysis.sources import read_records
from search.ledger import Ledger, create_study
from search.progress import SearchProgress
from search.recorder import Recorder
from search.samplers import SAMPLERS
from search.spec import AlgorithmConfig, SearchSpec
from search.tracker import NullTracker, Row
from spaces.objectives import Objective
from spaces.reports import Progress, TrialFailure, TrialReport
from spaces.space import Space
from spaces.usage import TrialUsage

DOCUMENT = {"trainable": "m:f", "config": {"x": 0.5}}
SPACE = Space.parse({"config.x": {"uniform": [0.0, 1.0]}}, document=DOCUMENT)
SPEC = SearchSpec.model_validate(
    {"name": "s", **DOCUMENT, "space": {"config.x": {"uniform": [0.0, 1.0]}}, "search": {"metric": "loss"}}
)


class RecordingTracker(NullTracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.ends: list[tuple[int, str, Any]] = []
        self.samples: dict[int, list[Any]] = {}

    def log_rows(self, number: int, rows: Sequence[Row]) -> None:
        self.rows += rows

    def log_samples(self, number: int, samples: Sequence[Any]) -> None:
        self.samples[number] = list(samples)

    def end_trial(self, number: int, *, state: str, summary: Any, error: str | None) -> None:
        self.ends.append((number, state, summary))


class Session:
    """A recorder over a folder, as one session of a search has it."""

    def __init__(self, folder: Path, study: optuna.Study, *, keep: int = 1) -> None:
        self.files = SearchFiles(folder)
        self.tracker = RecordingTracker()
        proposer = SAMPLERS["random"](SPACE, AlgorithmConfig(name="random"), seed=0)
        self.recorder = Recorder(
            self.files,
            Ledger(study, proposer=proposer, metric="loss", step_of=lambda progress: progress.step),
            self.tracker,
            SearchProgress(metric="loss", mode="min", num_trials=9, console=Console(file=io.StringIO())),
            objectives=[Objective(name="loss", mode="min")],
            keep_checkpoints=keep,
            is_at_end=lambda progress: progress.step >= 9,
            document_of=lambda proposal: SPACE.apply(proposal.assignment),
            trial_facts={"cpus": 1},
            record=read_records(folder),
            price_per_hour=7.2,
        )

    def start(self) -> int:
        proposal = self.recorder.ask()
        assert proposal is not None
        self.recorder.start(proposal)
        return proposal.number

    def report(
        self,
        number: int,
        step: int,
        loss: float,
        *,
        has_checkpoint: bool = False,
        seconds: float = 0.0,
        usage: TrialUsage | None = None,
    ) -> None:
        checkpoint = self.files.trial(number).checkpoints / f"e{step}"
        if has_checkpoint:
            checkpoint.mkdir(parents=True)
        row = {"step": step, "epoch": float(step), "tokens": 0, "evaluation": step, "loss": loss}
        progress = Progress(step=step, epoch=step, tokens=0, evaluation=step)
        self.recorder.report(
            number,
            TrialReport(
                progress=progress,
                metrics={"loss": loss},
                rows=[{"step": step - 0.5, "train/loss": loss}, row],
                checkpoint=str(checkpoint) if has_checkpoint else None,
                seconds=seconds,
                usage=usage,
            ),
        )


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return create_study(tmp_path, SPEC, attributes={})


def test_rows_reach_history_and_tracker_in_order_and_once(tmp_path: Path, study: optuna.Study) -> None:
    session = Session(tmp_path, study)
    number = session.start()
    for step, loss in [(1, 0.9), (2, 0.8), (2, 0.8), (1, 0.9), (3, 0.7)]:
        session.report(number, step, loss)
    history = session.files.trial(number).read_history()
    assert [row["step"] for row in history] == [0.5, 1, 1.5, 2, 2.5, 3]
    assert session.tracker.rows == history


def test_what_the_last_evaluation_produced_is_kept_and_shown_once(tmp_path: Path, study: optuna.Study) -> None:
    session = Session(tmp_path, study)
    number = session.start()
    for step in (1, 2):
        sample = {"prompt": "a", "expected": "é", "generated": str(step)}
        progress = Progress(step=step, epoch=step, tokens=0, evaluation=step)
        session.recorder.report(number, TrialReport(progress=progress, metrics={"loss": 1.0}, samples=[sample]))
    session.recorder.finish(number, is_complete=True)
    lines = session.files.trial(number).samples.read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"prompt": "a", "expected": "é", "generated": "2"}]
    assert session.tracker.samples == {number: [{"prompt": "a", "expected": "é", "generated": "2"}]}


def test_a_resumed_trial_loses_its_torn_tail_and_no_evaluation(tmp_path: Path, study: optuna.Study) -> None:
    session = Session(tmp_path, study)
    number = session.start()
    session.report(number, 1, 0.9)
    session.report(number, 2, 0.8)
    session.files.trial(number).append_history([{"step": 2.5, "train/loss": 0.75}])
    again = Session(tmp_path, study)
    again.recorder.start(again.recorder.unfinished()[0])
    assert [row["step"] for row in again.files.trial(number).read_history()] == [0.5, 1, 1.5, 2]
    again.report(number, 2, 0.8)
    again.report(number, 3, 0.7)
    assert [row["step"] for row in again.tracker.rows] == [2.5, 3]


def test_an_evaluation_that_only_the_history_has_reaches_the_study_at_a_resume(
    tmp_path: Path, study: optuna.Study
) -> None:
    session = Session(tmp_path, study)
    number = session.start()
    session.files.trial(number).append_history([{"step": 4, "epoch": 4.0, "tokens": 0, "evaluation": 1, "loss": 0.6}])
    again = Session(tmp_path, study)
    again.recorder.start(again.recorder.unfinished()[0])
    assert study.trials[0].intermediate_values == {4: 0.6}


def test_a_trial_stopped_early_is_pruned_and_one_at_the_end_is_complete(tmp_path: Path, study: optuna.Study) -> None:
    session = Session(tmp_path, study)
    for last in (2, 9):
        number = session.start()
        session.report(number, 1, 0.9)
        session.report(number, last, 0.5)
        session.recorder.finish(number, is_complete=False)
    assert [trial.state for trial in read_records(tmp_path).trials] == ["PRUNED", "COMPLETE"]


def test_a_failure_leaves_its_rows_its_reason_and_its_traceback(tmp_path: Path, study: optuna.Study) -> None:
    session = Session(tmp_path, study)
    number = session.start()
    failure = TrialFailure(kind="diverged", message="train/loss became nan at step 7", details="Traceback ...")
    session.recorder.fail(number, failure, rows=[{"step": 7, "train/loss": float("nan")}])
    text = session.files.trial(number).error.read_text()
    assert text == "diverged: train/loss became nan at step 7\n\nTraceback ...\n"
    assert read_records(tmp_path).trials[0].error == "train/loss became nan at step 7"
    assert session.files.trial(number).read_history()[0]["step"] == 7


def test_a_trial_that_never_reports_the_metric_fails_and_names_what_it_reports(
    tmp_path: Path, study: optuna.Study
) -> None:
    session = Session(tmp_path, study)
    number = session.start()
    progress = Progress(step=1, epoch=1, tokens=0, evaluation=1)
    session.recorder.report(number, TrialReport(progress=progress, metrics={"los": 1.0}))
    session.recorder.finish(number, is_complete=True)
    assert read_records(tmp_path).trials[0].error == "it does not report `loss`, the search's metric; it reports los"


@pytest.mark.parametrize(("keep", "kept"), [(0, []), (1, [3]), (2, [1, 3]), (9, [0, 1, 3])])
def test_checkpoints_of_the_best_finished_trials_are_kept_and_no_others(
    tmp_path: Path, study: optuna.Study, keep: int, kept: list[int]
) -> None:
    session = Session(tmp_path, study, keep=keep)
    for loss, is_complete in [(0.5, True), (0.4, True), (0.1, False), (0.3, True)]:
        number = session.start()
        session.report(number, 1, loss, has_checkpoint=True)
        session.recorder.finish(number, is_complete=is_complete)
    found = sorted(int(path.parent.name) for path in tmp_path.glob("trials/*/checkpoints"))
    assert found == kept
    assert [trial.number for trial in read_records(tmp_path).trials if trial.checkpoint] == kept


def test_a_later_session_still_knows_which_checkpoint_is_best(tmp_path: Path, study: optuna.Study) -> None:
    session = Session(tmp_path, study)
    number = session.start()
    session.report(number, 1, 0.1, has_checkpoint=True)
    session.recorder.finish(number, is_complete=True)
    later = Session(tmp_path, study)
    number = later.start()
    later.report(number, 1, 0.2, has_checkpoint=True)
    later.recorder.finish(number, is_complete=True)
    assert [trial.number for trial in read_records(tmp_path).trials if trial.checkpoint] == [0]


def test_what_a_trial_used_is_in_the_record_and_in_its_run(tmp_path: Path, study: optuna.Study) -> None:
    session = Session(tmp_path, study)
    number = session.start()
    usage = TrialUsage(device="GPU", energy_wh=3.5, energy_is_estimate=True, peak_memory_bytes=1024, mfu=0.4)
    session.report(number, 9, 0.5, seconds=1800.0, usage=usage)
    session.recorder.finish(number, is_complete=True)
    trial = read_records(tmp_path).trials[number]
    assert (trial.usage, trial.cost) == (usage, 3.6)
    summary = session.tracker.ends[0][2]
    assert (summary["trial/energy_wh"], summary["trial/cost"], summary["trial/mfu"]) == (3.5, 3.6, 0.4)


def test_a_failed_trial_has_its_kind_and_what_it_cost(tmp_path: Path, study: optuna.Study) -> None:
    session = Session(tmp_path, study)
    number = session.start()
    failure = TrialFailure(kind="out_of_memory", message="a single example does not fit", seconds=900.0)
    session.recorder.fail(number, failure, rows=[])
    trial = read_records(tmp_path).trials[number]
    assert (trial.state, trial.failure, trial.seconds, trial.cost) == ("FAIL", "out_of_memory", 900.0, 1.8)

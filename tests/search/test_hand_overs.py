"""What the record says of a trial that went on from another one's checkpoint."""

import io
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from analysis.leaderboard import leaderboard
from analysis.leaderboard_text import to_table
from analysis.records import SearchFiles
from analysis.sources import read_records
from search.ledger import Ledger, create_study
from search.progress import SearchProgress
from search.recorder import Recorder
from search.rules import HandOver
from search.samplers import SAMPLERS
from search.spec import AlgorithmConfig, SearchSpec
from search.tracker import NullTracker
from search.yaml_text import parse_yaml
from spaces.objectives import Objective
from spaces.reports import Progress, TrialReport
from spaces.space import Space
from trainables.checkpoints import TrialDirectory

DOCUMENT = {"trainable": "m:f", "config": {"x": 0.5}}
SPACE = Space.parse({"config.x": {"uniform": [0.0, 1.0]}}, document=DOCUMENT)
SPEC = SearchSpec.model_validate(
    {"name": "s", **DOCUMENT, "space": {"config.x": {"uniform": [0.0, 1.0]}}, "search": {"metric": "loss"}}
)
HANDED = HandOver(receiver=1, donor=0, assignment={"config.x": 0.25}, resource=1)


class _Session:
    """A recorder over a folder, and trials that save a checkpoint with each report."""

    def __init__(self, folder: Path, study: optuna.Study) -> None:
        self.files = SearchFiles(folder)
        proposer = SAMPLERS["random"](SPACE, AlgorithmConfig(name="random"), seed=0)
        self.recorder = Recorder(
            self.files,
            Ledger(study, proposer=proposer, metric="loss", step_of=lambda progress: progress.step),
            NullTracker(),
            SearchProgress(metric="loss", mode="min", num_trials=9, console=Console(file=io.StringIO())),
            objectives=[Objective(name="loss", mode="min")],
            keep_checkpoints=9,
            is_at_end=lambda progress: False,
            document_of=lambda proposal: SPACE.apply(proposal.assignment),
            trial_facts={},
            record=read_records(folder),
            price_per_hour=3600.0,
            values_change=True,
        )

    def start(self) -> int:
        proposal = self.recorder.ask()
        assert proposal is not None
        self.recorder.start(proposal)
        TrialDirectory(self.files.trial(proposal.number).path).begin_attempt()
        return proposal.number

    def report(self, number: int, step: int, loss: float, *, seconds: float) -> None:
        directory = TrialDirectory(self.files.trial(number).path)
        directory.begin_attempt()
        folder = directory.checkpoints / "written"
        folder.mkdir()
        (folder / "weights").write_text(f"{number} {step}")
        row: Any = {"step": step, "epoch": float(step), "tokens": 0, "evaluation": step, "loss": loss}
        report = TrialReport(
            progress=Progress(step=step, epoch=step, tokens=0, evaluation=step), metrics={"loss": loss}, rows=[row],
            seconds=seconds,
        )  # fmt: skip
        directory.commit(folder, report)
        last = directory.latest()
        assert last is not None
        self.recorder.report(number, last.reported_again(directory))


@pytest.fixture
def session(tmp_path: Path) -> _Session:
    """Trial 0 is good and took 4 seconds, trial 1 is bad and took 10; they wait, and 1 takes over 0's weights."""
    session = _Session(tmp_path, create_study(tmp_path, SPEC, attributes={}))
    for loss, seconds in ((0.1, 4.0), (0.9, 10.0)):
        number = session.start()
        session.report(number, 1, loss, seconds=seconds)
        assert session.recorder.pause(number)
    session.recorder.hand_over([HANDED])
    return session


def _weights(session: _Session, number: int) -> str:
    last = TrialDirectory(session.files.trial(number).path).latest()
    assert last is not None
    return (last.path / "weights").read_text()


def test_the_receiver_has_the_donors_checkpoint_and_what_it_goes_on_with(session: _Session) -> None:
    assert [_weights(session, number) for number in (0, 1)] == ["0 1", "0 1"]
    assert session.recorder.proposal(1).assignment == {"config.x": 0.25}
    assert session.recorder.start(session.recorder.proposal(1))["config"] == {"x": 0.25}
    began = parse_yaml(session.files.trial(1).document.read_text())[0]
    assert began["document"]["config"]["x"] == began["params"]["config.x"] != 0.25
    assert [each["from_trial"] for each in began["lineage"]] == [0]


def test_a_hand_over_that_is_repeated_changes_nothing(session: _Session) -> None:
    before = read_records(session.files.path).trials[1].lineage
    session.recorder.hand_over([HANDED])
    assert read_records(session.files.path).trials[1].lineage == before
    assert _weights(session, 1) == "0 1"


def test_training_that_was_given_up_is_paid_for(session: _Session) -> None:
    session.recorder.start(session.recorder.proposal(1))
    session.report(1, 2, 0.05, seconds=6.0)  # the donor's 4 seconds and 2 of its own
    session.recorder.finish(1, is_complete=True)
    trial = read_records(session.files.path).trials[1]
    assert (trial.seconds, trial.cost) == (12.0, 12.0)


def test_the_history_says_what_each_evaluation_was_trained_with(session: _Session) -> None:
    session.recorder.start(session.recorder.proposal(1))
    session.report(1, 2, 0.05, seconds=6.0)
    first, second = session.files.trial(1).read_history()
    began = parse_yaml(session.files.trial(1).document.read_text())[0]["params"]["config.x"]
    assert (first["params/config.x"], second["params/config.x"]) == (began, 0.25)


def test_the_leaderboard_marks_the_receiver_and_shows_its_last_values(session: _Session) -> None:
    session.recorder.start(session.recorder.proposal(1))
    session.recorder.finish(1, is_complete=True)
    record = read_records(session.files.path)
    console = Console(file=io.StringIO(), width=80)
    console.print(to_table(leaderboard(record), record, width=80))
    assert "1* " in console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    best = leaderboard(record)[0].to_json()
    assert (best["number"], best["params"]) == (1, {"config.x": 0.25})
    assert best["lineage"][0]["from_trial"] == 0

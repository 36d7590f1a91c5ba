import os
import threading
from pathlib import Path
from typing import Any, Literal

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event

from analysis.own_runs import trial_summary
from analysis.sources import read_records
from analysis.study_source import stored
from search.ledger import Ledger, create_study, open_study
from search.samplers import SAMPLERS
from search.spec import AlgorithmConfig, SearchSpec
from spaces.errors import SpecError
from spaces.reports import Progress, TrialReport
from spaces.space import Space

SPACE = Space.parse({"config.x": {"uniform": [0.0, 1.0]}}, document={"config": {"x": 0.5}})
SPEC = SearchSpec.model_validate(
    {"name": "s", "trainable": "m:f", "config": {"x": 0.5}, "space": {}, "search": {"metric": "loss", "mode": "max"}}
)


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return create_study(tmp_path, SPEC, attributes={"num_trials": 3})


def _ledger(study: optuna.Study) -> Ledger:
    proposer = SAMPLERS["random"](SPACE, AlgorithmConfig(name="random"), seed=0)
    return Ledger(study, proposer=proposer, metric="loss", step_of=lambda progress: progress.step)


def _report(step: int, **metrics: float) -> TrialReport:
    return TrialReport(progress=Progress(step=step, epoch=step, tokens=0, evaluation=step), metrics=metrics)


def test_optuna_says_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    create_study(tmp_path, SPEC, attributes={})
    open_study(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_trial_is_in_the_database_before_it_runs(study: optuna.Study, tmp_path: Path) -> None:
    proposal = _ledger(study).ask()
    assert proposal is not None
    stored = open_study(tmp_path).trials[0]
    assert stored.state == TrialState.RUNNING
    assert stored.params == proposal.assignment == stored.user_attrs["assignment"]


def test_an_early_stopped_trial_is_told_pruned_with_all_its_values(study: optuna.Study) -> None:
    ledger = _ledger(study)
    ledger.ask()
    for step, value in [(1, 0.3), (2, 0.5)]:
        ledger.report(0, _report(step, loss=value))
    ledger.finish(0, state="PRUNED", values=[0.5], result={})
    trial = study.trials[0]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.3, 2: 0.5}


def test_a_failed_trial_has_no_value_and_keeps_its_reason(study: optuna.Study) -> None:
    ledger = _ledger(study)
    ledger.ask()
    ledger.report(0, _report(1, loss=0.3))
    ledger.finish(0, state="FAIL", values=None, result={"error": "train/loss became nan at step 4"})
    trial = study.trials[0]
    assert (trial.state, trial.value) == (TrialState.FAIL, None)
    assert trial.user_attrs["result"]["error"] == "train/loss became nan at step 4"


@pytest.mark.parametrize("metrics", [{}, {"loss": float("nan")}, {"loss": float("inf")}, {"other": 1.0}])
def test_what_is_no_finite_objective_is_no_intermediate_value(study: optuna.Study, metrics: dict[str, Any]) -> None:
    ledger = _ledger(study)
    ledger.ask()
    ledger.report(0, _report(1, **metrics))
    assert study.trials[0].intermediate_values == {}


def test_an_evaluation_that_comes_again_changes_nothing(study: optuna.Study) -> None:
    ledger = _ledger(study)
    ledger.ask()
    ledger.report(0, _report(1, loss=0.3))
    _ledger(study).report(0, _report(1, loss=0.9))
    assert study.trials[0].intermediate_values == {1: 0.3}


def test_what_an_interrupted_session_left_running_is_found_and_can_be_finished(study: optuna.Study) -> None:
    first = _ledger(study)
    proposals = [first.ask(), first.ask()]
    first.finish(0, state="COMPLETE", values=[1.0], result={})
    again = _ledger(study)
    assert again.unfinished() == [proposals[1]]
    again.finish(1, state="COMPLETE", values=[2.0], result={})
    assert again.unfinished() == []
    assert study.best_trial.number == 1


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is no search"):
        open_study(tmp_path)


def test_who_reads_a_search_as_it_begins_meets_a_whole_study_or_none(tmp_path: Path) -> None:
    met: list[object] = []
    folders = [tmp_path / str(index) for index in range(4)]

    def read() -> None:
        for folder in folders:
            while True:
                try:
                    met.append(read_records(folder).num_planned)
                    break
                except Exception as error:
                    if "no study.db" not in str(error):
                        met.append(error)
                        break

    for folder in folders:
        folder.mkdir()
    reader = threading.Thread(target=read)
    reader.start()
    for folder in folders:
        create_study(folder, SPEC, attributes={"num_trials": 3})
    reader.join(60)
    assert met == [3] * len(folders)
    assert [path.name for folder in folders for path in folder.iterdir()] == ["study.db"] * len(folders)


def test_a_study_that_could_not_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        create_study(tmp_path, SPEC, attributes={"num_trials": object()})
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_with_this_number_left_unfinished_is_in_nobodys_way(tmp_path: Path) -> None:
    """Numbers of processes come back soon in containers."""
    create_study(tmp_path, SPEC, attributes={"num_trials": 5})
    (tmp_path / "study.db").rename(tmp_path / f".study.db-{os.getpid()}")
    create_study(tmp_path, SPEC, attributes={"num_trials": 3})
    assert read_records(tmp_path).num_planned == 3
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


def test_what_a_trial_costs_the_database_does_not_depend_on_how_many_there_were(study: optuna.Study) -> None:
    ledger, transactions = _ledger(study), []
    engine = study._storage._backend.engine  # type: ignore[attr-defined]  # Optuna caches what it wraps
    event.listen(engine, "begin", lambda connection: transactions.append(connection))
    costs = []
    for number in range(8):
        transactions.clear()
        ledger.ask()
        ledger.report(number, _report(1, loss=0.3))
        ledger.finish(number, state="COMPLETE", values=[0.3], result={"seconds": 1.0})
        costs.append(len(transactions))
    assert costs == [4] * 8, "it appears, its value, its result, its end"


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETE", "PRUNED", "FAIL"])
def test_what_the_ledger_keeps_of_a_trial_is_what_the_database_has(
    state: Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL"], study: optuna.Study, tmp_path: Path
) -> None:
    ledger = _ledger(study)
    ledger.ask()
    ledger.reassign(0, {"config.x": 1 / 3}, lineage=[{"at": 1.0, "from_trial": 7}])
    for step, value in [(2, 0.1 + 0.2), (1, 0.5)]:
        ledger.record_value(0, step=step, value=value)
    if state == "RUNNING":
        kept = ledger.recorded(0)
    else:
        values = [0.1 + 0.2] if state == "COMPLETE" else None
        kept = ledger.finish(0, state=state, values=values, result={"metrics": {"loss": 1e-9}, "error": None})
    assert trial_summary(kept) == trial_summary(stored(open_study(tmp_path).trials[0]))


def test_a_trial_without_a_number_is_not_complete(study: optuna.Study) -> None:
    ledger = _ledger(study)
    ledger.ask()
    with pytest.raises(ValueError, match="trial 0 is complete with"):
        ledger.finish(0, state="COMPLETE", values=[float("nan")], result={})
    assert study.trials[0].state == TrialState.RUNNING

"""A search of ours, tracked by the real client: what is read back from the server, or from the files of offline runs,
is the record of its folder.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import Run as Tunesmith
from fake_wandb import ENTITY, FakeWandb
from recorded_searches import SPEC, Session, planned
from tracked_searches import TrackedSession
from wandb_server import fake_server

from analysis.leaderboard import leaderboard
from analysis.leaderboard_text import to_csv
from analysis.own_runs import RECORD, STUDY, record_of_own_runs, search_summary, trial_summary
from analysis.records import SearchRecord
from analysis.runs import Run
from analysis.sources import read_records
from analysis.stored import StoredStudy, StoredTrial, record_of
from search.going_on import Extension, extend, retry
from search.inheritance import find_inheritance, write_inheritance
from spaces.errors import SpecError

server = fake_server
WALK = f"wandb:{ENTITY}/demo/walk"


def told(record: SearchRecord) -> Any:
    """All that a record says, curves as plain mappings, but not where it was read."""
    trials = [replace(trial, intermediate=dict(trial.intermediate)) for trial in record.trials]
    return replace(record, directory=None, trials=trials, spec_of=dict, document_of=str, history_of=str)  # type: ignore[arg-type]


def rows_of(record: SearchRecord) -> list[Any]:
    return [list(record.history_of(trial.number)) for trial in record.trials]


def test_a_search_is_read_back_from_wandb_to_the_digit(server: FakeWandb, tmp_path: Path) -> None:
    session = TrackedSession(planned(tmp_path))
    for loss in (1 / 3, 0.1 + 0.2, 2e-17):
        session.complete(loss)
    session.prune(0.7)
    session.fail("diverged")
    session.close()
    server.operations.asked.clear()
    there = read_records(WALK)
    assert to_csv(leaderboard(there)) == to_csv(leaderboard(session.record))
    assert server.operations.asked.count("Runs") == 1
    assert not [name for name in server.operations.asked if "istory" in name], "histories are read when they are needed"
    assert told(there) == told(session.record)
    assert rows_of(there) == rows_of(session.record)
    assert there.document_of(0) == session.plan.space.apply(session.record.trials[0].params)


def test_a_search_that_still_runs_has_what_its_trials_reported(server: FakeWandb, tmp_path: Path) -> None:
    session = TrackedSession(planned(tmp_path))
    session.complete(0.5)
    running = session.start()
    for evaluation in (1, 2):
        session.report(running, evaluation, 0.5 / evaluation)
    session.close(interrupted=True)
    assert told(read_records(WALK)) == told(session.record)
    assert dict(read_records(WALK).trials[running].intermediate) == {1000: 0.5, 2000: 0.25}


def test_retries_and_longer_trainings_are_read_back(server: FakeWandb, tmp_path: Path) -> None:
    plan = planned(tmp_path, checkpoints={"keep": 2})
    session = TrackedSession(plan)
    session.fail("lost")
    for loss in (0.5, 0.4, 0.3):
        session.complete(loss)
    session.close()
    retry(plan.files, say=lambda words: None)
    extend(plan.files, Extension(overrides=["config.length=6"]), say=lambda words: None)
    again = TrackedSession(plan)
    for number in again.go_on():
        again.train_on(number, 0.1, first=1 if number == 4 else 5, length=6)
    again.close()
    there = read_records(WALK)
    assert told(there) == told(again.record)
    assert {trial.state for trial in there.trials if trial.superseded_by is None} == {"COMPLETE", "PRUNED"}
    assert sum(trial.superseded_by is not None for trial in there.trials) == 3


def test_evidence_of_another_search_is_read_back_though_it_has_no_run(server: FakeWandb, tmp_path: Path) -> None:
    earlier = Session(planned(tmp_path / "earlier"))
    for loss in (0.5, 0.2, 0.4):
        earlier.complete(loss)
    search = {**SPEC["search"], "warm_start": [{"search": str(earlier.files.path)}]}
    plan = planned(tmp_path / "new", trainable=earlier.plan.spec.trainable, search=search)
    new = Session(plan)
    write_inheritance(find_inheritance(plan), new.study, plan.space, plan.files)
    session = TrackedSession(plan)
    session.complete(0.3)
    session.close()
    assert len(server.runs) == 2, "the search and the one trial that it ran"
    there = read_records(WALK)
    assert told(there) == told(session.record)
    assert [trial.origin is None for trial in there.trials] == [False, False, False, True]


def test_offline_runs_give_the_same_record_without_a_server(tmp_path: Path) -> None:
    wandb.teardown()
    session = TrackedSession(planned(tmp_path), mode="offline")
    session.complete(1 / 3)
    session.fail("error")
    session.close(interrupted=True)
    again = TrackedSession(session.plan, mode="offline")
    again.complete(0.2)
    again.close()
    folder = again.files.path / "wandb"
    assert told(read_records(folder)) == told(again.record)
    assert rows_of(read_records(folder)) == rows_of(again.record)


def test_two_searches_of_one_name_are_told_apart_by_their_ids(server: FakeWandb, tmp_path: Path) -> None:
    for place, fingerprint, loss in (("a", "aaaaaaaaaaaa", 0.5), ("b", "bbbbbbbbbbbb", 0.25)):
        session = TrackedSession(planned(tmp_path / place), fingerprint=fingerprint)
        session.complete(loss)
        session.close()
    with pytest.raises(SpecError, match=r"has 2 searches: name one, `.*/walk#aaaaaaaaaaaa` \(walk, 1 trials\)"):
        read_records(WALK)
    assert read_records(f"{WALK}#bbbb").trials[0].value == 0.25
    together = read_records(f"wandb:{ENTITY}/demo", metric="loss")
    assert [entry.trial.value for entry in leaderboard(together)] == [0.25, 0.5]
    with pytest.raises(SpecError, match="has no one search `#cccc`"):
        read_records(f"{WALK}#cccc")


def test_without_the_run_of_the_search_it_is_said_what_is_missing(server: FakeWandb, tmp_path: Path) -> None:
    session = TrackedSession(planned(tmp_path))
    session.complete(0.5)
    session.close()
    server.store.delete(server.runs["0123456789ab-search"])
    with pytest.raises(SpecError, match="lacks the run of the search itself"):
        read_records(WALK)
    assert read_records(WALK, metric="loss").trials[0].value == 0.5


def test_the_command_shows_the_leaderboard_of_a_group(
    server: FakeWandb, tmp_path: Path, tunesmith_here: Tunesmith
) -> None:
    session = TrackedSession(planned(tmp_path))
    session.complete(1 / 3)
    session.prune(0.5)
    session.close()
    there, here = (tunesmith_here("leaderboard", place, "--json") for place in (WALK, str(session.files.path)))
    assert there.stderr == ""
    assert json.loads(there.stdout) == json.loads(here.stdout)


# --- what a real search has and a recorded one has not ---------------------------------------------------

FOLDS = {"trainings": 3, "fold_kind": "fold", "divisions": 3, "test_share": 0.5}
RESULT = {
    "steps": 10,
    "seconds": 7.5,
    "folds_ended": 3,
    "metrics": {"loss": 0.2, **{f"fold/{fold}/loss": 0.1 * fold for fold in range(3)}, "perplexity": float("inf")},
    "usage": {"device": "GPU", "energy_wh": 1.5, "energy_is_estimate": True, "mfu": 0.4},
    "clock": {"began_at": 1.0, "ended_at": 2.0, "process": "host:1"},
    "checkpoint": None,
    "error": None,
}
LINEAGE = [{"at": 2, "from_trial": 0, "params": {"lr": 0.1}, "seconds": 1.0}]


def _written(study: StoredStudy) -> list[Run]:
    """The runs of a study, through the text that W&B keeps."""
    search = Run(id="f-search", name="s", state="finished", summary=search_summary(study))
    own = [trial for trial in study.trials if "origin" not in trial.attributes]
    return [search, *(Run(id=f"f-{t.number:04d}", name="t", state="finished", summary=trial_summary(t)) for t in own)]


def test_folds_several_objectives_and_populations_are_read_back() -> None:
    inherited = {"kind": "inherited", "trial": 7, "search": "/elsewhere"}
    trials = [
        StoredTrial(number=0, state="PRUNED", attributes={"assignment": {}, "result": {}, "origin": inherited}),
        StoredTrial(
            number=1,
            state="COMPLETE",
            values=(0.2, 1e9),
            intermediate={1: 0.3, 2: 0.2},
            attributes={"assignment": {"lr": 0.1, "mix": [1, 2]}, "result": RESULT, "lineage": LINEAGE},
        ),
    ]
    attributes = {
        "num_trials": 5, "folds": FOLDS, "gpus_per_trial": 2.0, "currency": "EUR", "notes": ["a note"],
        "baseline": {"loss": 1.0}, "baseline_name": "majority", "seconds": 9.0, "ended_by": "time",
    }  # fmt: skip
    study = StoredStudy(
        name="s", modes=("min", "max"), metrics=("loss", "trial/mfu"), attributes=attributes, trials=trials
    )
    there = record_of_own_runs(_written(study))
    assert there is not None
    assert told(there) == told(record_of(study))
    assert there.trials[1].fold_values == (0.0, 0.1, 0.2)
    assert (there.trials[1].values, there.trials[1].gpu_hours) == ((0.2, 1e9), 7.5 * 2 / 3600)


def test_thousands_of_inherited_trials_go_into_texts_of_less_than_a_megabyte() -> None:
    inherited = {"kind": "inherited", "trial": 0, "search": "/elsewhere"}
    attributes = {"assignment": {"a" * 50: 0.1}, "result": RESULT, "origin": inherited}
    curve = {step: 1 / step for step in range(1, 101)}
    study = StoredStudy(
        name="s",
        modes=("min",),
        attributes={"num_trials": 1},
        trials=[
            StoredTrial(number=number, state="PRUNED", intermediate=curve, attributes=attributes)
            for number in range(2000)
        ],
    )
    runs = _written(study)
    assert max(len(text) for text in runs[0].summary.values()) < 1_000_000
    read = record_of_own_runs(runs)
    assert read is not None
    assert told(read) == told(record_of(study))


def test_secrets_do_not_reach_wandb() -> None:
    trial = StoredTrial(number=0, state="RUNNING", attributes={"assignment": {"training.hub_token": "hush"}})
    study = StoredStudy(name="s", modes=("min",), attributes={"yardstick": {"data": {"hub_token": "hush"}}})
    assert "hush" not in trial_summary(trial)[RECORD] + search_summary(study)[STUDY]

"""What a new search takes over from searches that are kept elsewhere than in a folder: W&B, databases, tables."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb
from fake_wandb import ENTITY, FakeWandb
from recorded_searches import SPEC, Session, planned
from tracked_searches import TrackedSession
from wandb_server import fake_server

from search.inheritance import Inheritance, find_inheritance, write_inheritance
from search.plan import Plan
from search.yaml_text import parse_yaml
from spaces.errors import SpecError

server = fake_server
WALK = f"wandb:{ENTITY}/demo/walk"
OTHER_LENGTH = {"x": 0.5, "y": 1, "length": 5}


@pytest.fixture
def earlier(server: FakeWandb, tmp_path: Path) -> TrackedSession:
    """Four trials in W&B: two finished, one stopped early, one failed."""
    session = TrackedSession(planned(tmp_path / "earlier"))
    for loss in (1 / 3, 0.2):
        session.complete(loss)
    session.prune(0.9)
    session.fail("out_of_memory")
    session.close()
    return session


def _new(folder: Path, source: str, trainable: str | None, **sections: Any) -> Plan:
    search = {**SPEC["search"], "warm_start": [source], **sections.pop("search", {})}
    named = {} if trainable is None else {"trainable": trainable}
    return planned(folder, search=search, **named, **sections)


def _written(plan: Plan) -> tuple[Session, Inheritance]:
    found = find_inheritance(plan)
    session = Session(plan)
    write_inheritance(found, session.study, plan.space, plan.files)
    return Session(plan), found


def test_a_search_in_wandb_teaches_what_its_folder_would(earlier: TrackedSession, tmp_path: Path) -> None:
    trainable = earlier.plan.spec.trainable
    there, by_wandb = _written(_new(tmp_path / "there", WALK, trainable))
    here, by_folder = _written(_new(tmp_path / "here", str(earlier.files.path), trainable))
    assert [each.assignment for each in by_wandb.evidence] == [each.assignment for each in by_folder.evidence]
    assert len(by_wandb.evidence) == 4
    for number in range(4):
        one, other = (session.study.trials[number] for session in (there, here))
        assert (one.state, one.values, one.intermediate_values) == (
            other.state,
            other.values,
            other.intermediate_values,
        )
        assert one.user_attrs["result"] == other.user_attrs["result"]
        one_trial, other_trial = (session.files.trial(number) for session in (there, here))
        assert one_trial.read_history() == other_trial.read_history()
        documents = [parse_yaml(trial.document.read_text())[0]["document"] for trial in (one_trial, other_trial)]
        assert documents[0] == documents[1]
    assert {trial.origin.search for trial in there.record.trials if trial.origin} == {WALK}
    assert by_wandb.words == [f"{WALK}: 4 of 4 trials count here, the rest of the document is equal"]


def test_a_search_in_wandb_with_another_document_gives_its_best_points(earlier: TrackedSession, tmp_path: Path) -> None:
    plan = _new(tmp_path / "new", WALK, earlier.plan.spec.trainable, config=OTHER_LENGTH)
    session, found = _written(plan)
    best = [earlier.record.trials[number].params for number in (1, 0)]
    assert (found.evidence, found.points) == ([], best)
    assert session.next_params() == best[0]


def test_a_search_in_wandb_whose_function_is_not_here_gives_points(earlier: TrackedSession, tmp_path: Path) -> None:
    Path(str(earlier.plan.spec.trainable).partition(":")[0]).unlink()
    found = find_inheritance(_new(tmp_path / "new", WALK, None))
    assert (found.evidence, len(found.points)) == ([], 2)
    assert "is not known here" in found.words[0]


def test_runs_of_others_give_points_by_the_names_of_their_parameters(server: FakeWandb, tmp_path: Path) -> None:
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    for index, (x, loss) in enumerate([(0.25, 0.5), (0.75, 0.1), (1.5, 0.01)]):  # the last one is outside of the space
        run = wandb.init(project="theirs", id=f"r{index}", config={"hparams": {"x": x}, "z": index}, settings=settings)
        run.log({"loss": loss})
        run.finish()
    session, found = _written(_new(tmp_path, f"wandb:{ENTITY}/theirs", None))
    assert found.points == [{"config.x": 0.75}, {"config.x": 0.25}]
    assert [session.next_params()["config.x"] for _ in range(2)] == [0.75, 0.25]


@pytest.mark.parametrize("column", ["x", "config.x", "other.x"])
def test_a_table_gives_points(tmp_path: Path, column: str) -> None:
    pd.DataFrame({column: [0.1, 0.2, 0.3], "loss": [0.3, 0.1, None]}).to_csv(tmp_path / "results.csv", index=False)
    found = find_inheritance(_new(tmp_path / "new", str(tmp_path / "results.csv"), None))
    assert found.points == [{"config.x": 0.2}, {"config.x": 0.1}]


def test_a_study_of_ours_in_a_database_gives_points(tmp_path: Path) -> None:
    session = Session(planned(tmp_path / "earlier"))
    session.complete(0.5)
    found = find_inheritance(_new(tmp_path / "new", f"sqlite:///{session.files.study}", None))
    assert found.points == [session.record.trials[0].params]


def test_what_cannot_be_read_names_its_key(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(json.dumps({"x": 0.5, "accuracy": 0.9}))
    with pytest.raises(SpecError, match="no column `loss` with numbers") as refused:
        find_inheritance(_new(tmp_path / "new", str(tmp_path / "results.jsonl"), None))
    assert refused.value.path == "search.warm_start.0"

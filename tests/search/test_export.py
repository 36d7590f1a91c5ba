"""`export`: whose model, from which checkpoint, to where, and what its card says."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import Run
from recorded_searches import Session, planned
from rich.console import Console
from safetensors.torch import load_file
from trained_searches import trained

from search.export import export
from spaces.errors import SpecError

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return trained(tmp_path_factory.mktemp("search"), trials=2)


def test_the_best_trials_weights_are_exported(search: Session, tmp_path: Path) -> None:
    done = export(search.files.path, tmp_path / "model", console=QUIET)
    best = search.record.best
    assert best is not None
    assert done.trial.number == best.number
    own = load_file(Path(str(best.checkpoint)) / "model.safetensors")
    exported = load_file(tmp_path / "model" / "model.safetensors")
    assert all(own[name].equal(exported[name]) for name in own | exported)


def test_a_trial_without_a_checkpoint_says_who_has_one_and_can_be_trained_once_more(
    search: Session, tmp_path: Path
) -> None:
    best = search.record.best
    assert best is not None
    other = 1 - best.number
    with pytest.raises(SpecError, match=rf"no checkpoint any more\. Trials with one: {best.number}\. `--retrain`"):
        export(search.files.path, tmp_path / "model", trial=str(other), console=QUIET)
    assert not (tmp_path / "model").exists()
    export(search.files.path, tmp_path / "again", trial=str(best.number), retrain=True, console=QUIET)
    own = load_file(Path(str(best.checkpoint)) / "model.safetensors")
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert all(own[name].equal(again[name]) for name in own | again)


def test_the_card_has_what_others_want_to_know_and_no_local_path(search: Session, tmp_path: Path) -> None:
    done = export(search.files.path, tmp_path / "model", console=QUIET)
    text = (tmp_path / "model" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    head = yaml.safe_load(front)
    assert head["pipeline_tag"] == "text-classification"
    assert head["library_name"] == "transformers"
    assert {"loss", "accuracy"} <= set(head["metrics"])
    assert "base_model" not in head
    assert f"# colours, trial {done.trial.number}" in body
    for words in ("training.learning_rate", "Labels: blue, green, red", "pipeline(", "transformers"):
        assert words in body, words
    assert str(search.files.path.parent.parent) not in text
    assert "/root" not in text
    assert "/tmp" not in text


def test_an_existing_folder_is_kept_unless_it_is_an_export_that_may_be_replaced(
    search: Session, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear reader")
    for overwrite in (False, True):
        with pytest.raises(SpecError, match="exists already" if not overwrite else "no export of a model"):
            export(search.files.path, tmp_path / "mine", overwrite=overwrite, console=QUIET)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear reader"
    export(search.files.path, tmp_path / "model", console=QUIET)
    (tmp_path / "model" / "stale").write_text("")
    export(search.files.path, tmp_path / "model", overwrite=True, console=QUIET)
    assert not (tmp_path / "model" / "stale").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model"]


@pytest.mark.parametrize(("trial", "says"), [("worst", "`best` or a number from 0 to 1"), ("7", "from 0 to 1")])
def test_a_trial_that_is_not_there_is_refused(search: Session, tmp_path: Path, trial: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        export(search.files.path, tmp_path / "model", trial=trial, console=QUIET)


def test_the_checkpoints_of_a_function_are_its_own(tmp_path: Path) -> None:
    session = Session(planned(tmp_path))
    session.complete(0.5)
    with pytest.raises(SpecError, match="what its function has written"):
        export(session.files.path, tmp_path / "model", console=QUIET)


def test_a_trial_of_several_seeds_is_no_single_model_until_it_is_trained_once_more(tmp_path: Path) -> None:
    session = trained(tmp_path, trials=1, search={"algorithm": "grid", "metric": "eval/accuracy", "seeds": 2})
    with pytest.raises(SpecError, match="is 2 models, one a seed"):
        export(session.files.path, tmp_path / "model", console=QUIET)
    export(session.files.path, tmp_path / "model", retrain=True, console=QUIET)
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_the_command_says_how_to_load_it(search: Session, tmp_path: Path, tunesmith_here: Run) -> None:
    done = tunesmith_here("export", str(search.files.path), "--to", "model", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["pipeline"] == "text-classification"
    assert Path(told["folder"]) == tmp_path / "model"
    again = tunesmith_here("export", str(search.files.path), "--to", "model")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr

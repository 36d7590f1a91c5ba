"""A search that starts from another one's checkpoint: what is looked up, recorded, and refused."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from bad_specs import SCRATCH
from tiny_trials import labelled, masked, run, tuned

from analysis.records import SearchFiles
from search.load import load_spec
from search.plan import make_plan
from search.recorded_spec import fingerprint_of, resolved_spec
from search.yaml_text import to_yaml
from spaces.errors import SpecError
from spaces.space import Space


def earlier(folder: Path, values: list[float | None], *, kept: dict[int, str] | None = None) -> Path:
    """The folder of a search with one trial a value; None failed. `kept` are the checkpoints that are still there."""
    files = SearchFiles(folder / "earlier")
    files.path.mkdir()
    study = optuna.create_study(storage=f"sqlite:///{files.study}", study_name="earlier", direction="maximize")
    study.set_metric_names(["eval/accuracy"])
    for number, value in enumerate(values):
        trial = study.ask()
        trial.set_user_attr("assignment", {})
        trial.set_user_attr("result", {"checkpoint": (kept or {}).get(number)})
        study.tell(trial, value, state=None if value is not None else optuna.trial.TrialState.FAIL)
    return files.path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a finished trial left."""
    folder = tmp_path_factory.mktemp("trial")
    return str(run(tuned(folder, max_steps=1), folder / "trial").reports[-1].checkpoint)


def spec_of(folder: Path, pretrained: Any, space: dict[str, Any] | None = None) -> Path:
    document = labelled(folder)
    del document["data"]["tokenizer"]
    document["model"] = {"pretrained": pretrained}
    path = folder / "spec.yaml"
    path.write_text(to_yaml({"name": "later", **document, "space": space or {}}))
    return path


@pytest.mark.parametrize("which", ["#best", "", "#1"])
def test_the_checkpoint_of_the_best_or_a_numbered_trial_is_where_it_starts(
    tmp_path: Path, checkpoint: str, which: str
) -> None:
    search = earlier(tmp_path, [0.5, 0.9, 0.7, None], kept={1: checkpoint})
    plan = make_plan(load_spec(spec_of(tmp_path, f"search:{search}{which}")))
    assert plan.document["model"]["pretrained"] == checkpoint


def test_the_folder_is_recorded_and_not_the_question(tmp_path: Path, checkpoint: str) -> None:
    loaded = load_spec(spec_of(tmp_path, f"search:{earlier(tmp_path, [0.9], kept={0: checkpoint})}#best"))
    assert resolved_spec(loaded.spec)["model"]["pretrained"] == checkpoint
    assert fingerprint_of(loaded.spec) == fingerprint_of(load_spec(spec_of(tmp_path, checkpoint)).spec)


def test_a_trial_of_the_new_search_trains_with_the_tokenizer_of_the_checkpoint(tmp_path: Path, checkpoint: str) -> None:
    spec = spec_of(tmp_path, f"search:{earlier(tmp_path, [0.9], kept={0: checkpoint})}")
    document = make_plan(load_spec(spec, overrides=["training.max_steps=1"])).document
    assert run(document).failure is None


def test_a_masked_language_model_gives_a_classifier_its_body_and_its_tokenizer(tmp_path: Path) -> None:
    first = str(run(masked(tmp_path, max_steps=3), tmp_path / "masked").reports[-1].checkpoint)
    spec = spec_of(tmp_path, f"search:{earlier(tmp_path, [0.9], kept={0: first})}#best")
    document = make_plan(load_spec(spec, overrides=["training.max_steps=1", "training.learning_rate=1.0e-30"])).document
    later = run(document, tmp_path / "later")
    assert later.failure is None
    pretrained, tuned_ = weights(first), weights(str(later.reports[-1].checkpoint))
    body = {name for name in pretrained if name.startswith("bert.")}
    assert {name for name in tuned_ if name not in body} == {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias",
    }  # fmt: skip
    assert [name for name in body if tuned_[name] != pretrained[name]] == []
    assert tokens(str(later.reports[-1].checkpoint)) == tokens(first)


def weights(checkpoint: str) -> dict[str, list[float]]:
    from safetensors.torch import load_file

    return {name: value.flatten().tolist() for name, value in load_file(Path(checkpoint) / "model.safetensors").items()}


def tokens(checkpoint: str) -> dict[str, int]:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(checkpoint).get_vocab()


def test_where_to_start_from_can_be_searched(tmp_path: Path, checkpoint: str) -> None:
    search = earlier(tmp_path, [0.9], kept={0: checkpoint})
    choices = [f"search:{search}#best", checkpoint]
    rate = {"log_uniform": [1e-5, 1e-3], "when": {"model.pretrained": choices[0]}}
    space = {"model.pretrained": {"choice": choices[:1]}, "training.learning_rate": rate}
    spec = load_spec(spec_of(tmp_path, checkpoint, space)).spec
    assert spec.space["model.pretrained"] == {"choice": [checkpoint]}
    assert spec.space["training.learning_rate"]["when"] == {"model.pretrained": checkpoint}
    assert isinstance(make_plan(load_spec(spec_of(tmp_path, checkpoint, space))).space, Space)


def test_a_command_line_can_name_it(tmp_path: Path, checkpoint: str) -> None:
    search = earlier(tmp_path, [0.9], kept={0: checkpoint})
    loaded = load_spec(spec_of(tmp_path, checkpoint), overrides=[f"model.pretrained=search:{search}#0"])
    assert loaded.spec.model is not None
    assert loaded.spec.model.pretrained == checkpoint


REFUSED = {
    "no folder": ("search:{folder}/gone#best", "is no search"),
    "nothing": ("search:", "expected `search:FOLDER#best`"),
    "no such trial": ("search:{search}#9", "has no trial 9: it has 3 of them"),
    "no number": ("search:{search}#last", "behind `#` stands `best` or the number of a trial"),
    "not kept": ("search:{search}#1", r"trial 1 was not kept .* Trials with one: 0\."),
    "not finished": ("search:{search}#2", "trial 2 of `.*` has not finished"),
}


@pytest.mark.parametrize(("place", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_there_is_refused_on_its_line(tmp_path: Path, checkpoint: str, place: str, says: str) -> None:
    search = earlier(tmp_path, [0.9, 0.5], kept={0: checkpoint})
    optuna.load_study(study_name="earlier", storage=f"sqlite:///{search / 'study.db'}").ask()
    spec = spec_of(tmp_path, place.format(folder=tmp_path, search=search))
    with pytest.raises(SpecError, match=says) as caught:
        load_spec(spec)
    assert caught.value.path == "model.pretrained"
    line = next(number for number, text in enumerate(spec.read_text().splitlines(), 1) if "pretrained:" in text)
    assert caught.value.line == line


def test_a_search_without_a_finished_trial_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has no finished trial yet"):
        load_spec(spec_of(tmp_path, f"search:{earlier(tmp_path, [None])}#best"))


def test_a_text_of_a_users_own_function_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "own.yaml"
    spec.write_text("name: own\ntrainable: a:b\nconfig: {place: 'search:me'}\nsearch: {metric: loss}\n")
    assert load_spec(spec).spec.config == {"place": "search:me"}


def test_a_spec_without_a_search_reads_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.transfer.read_records", lambda _: pytest.fail("a study was opened"))
    (tmp_path / "good.yaml").write_text(SCRATCH)
    assert load_spec(tmp_path / "good.yaml").spec.name == "good"

"""From a spec to what travels to a cluster."""

import re
import shutil
from pathlib import Path

import pytest
from conftest import Run

from search.intake import HandedIn, take_in
from search.submission import SHELF, Submission, prepare_submission
from spaces.errors import SpecError

OWN = """
name: own
trainable: train:train
config: {x: 0.5}
space: {config.x: {uniform: [0, 1]}}
search: {metric: loss, trials: 2}
storage: /shared/searches
"""
TASK = """
name: words
task: causal_lm
model: {architecture: gpt2, config: {n_embd: 16, n_layer: 1, n_head: 2}}
data: {source: {files: "data/*.txt"}, max_length: 16}
space: {training.learning_rate: {log_uniform: [1e-4, 1e-2]}}
search: {trials: 2}
storage: /shared/searches
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "spec.yaml").write_text(OWN)
    (tmp_path / "own" / "train.py").write_text("import sizes\ndef train(config, report): ...")
    (tmp_path / "own" / "sizes.py").write_text("")
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "data").mkdir()
    for name in ("one.txt", "two.txt"):
        (tmp_path / "data" / name).write_text("some words " * 50)
    return tmp_path


def travels(submission: Submission) -> list[str]:
    return [str(name) for name in submission.bundle.names]


def test_a_spec_travels_with_its_function_and_runs_by_the_same_name(here: Path) -> None:
    found = prepare_submission(Path("own/spec.yaml"), overrides=["search.trials=3"])
    assert travels(found) == ["own/sizes.py", "own/spec.yaml", "own/train.py"]
    assert found.command == ("run", "own/spec.yaml", "--set", "search.trials=3", "--address", "auto")
    assert found.directory == "/shared/searches/own"
    assert found.shelf.startswith("/shared/searches/.submitted/own-")


def test_relative_data_travels_and_absolute_data_is_expected_there(here: Path) -> None:
    assert travels(prepare_submission(Path("task.yaml"))) == ["data/one.txt", "data/two.txt", "task.yaml"]
    found = prepare_submission(Path("task.yaml"), overrides=["data.source.files=/shared/data/*.txt"])
    assert travels(found) == ["task.yaml"]
    assert found.expected == ("/shared/data/*.txt",)


def test_places_that_a_space_chooses_from_travel_too(here: Path) -> None:
    (here / "model").mkdir()
    (here / "model" / "config.json").write_text("{}")
    sources = "space={data.source: {choice: [{files: data/one.txt}, {files: data/two.txt}, {files: /shared/x.txt}]}}"
    found = prepare_submission(
        Path("task.yaml"), checks=False,
        overrides=["data.source={builtin: stdlib-docs}", sources, "data.tokenizer={pretrained: ./model}"],
    )  # fmt: skip
    assert travels(found) == ["data/one.txt", "data/two.txt", "model/config.json", "task.yaml"]
    assert found.expected == ("/shared/x.txt",)


def test_hub_ids_stay_where_they_are(here: Path) -> None:
    found = prepare_submission(
        Path("task.yaml"), checks=False, overrides=["model={pretrained: org/model}", "data.source={hub: org/texts}"]
    )
    assert travels(found) == ["task.yaml"]


def test_a_folder_of_a_search_is_resumed_with_nothing_on_its_back(here: Path) -> None:
    folder = here / "searches" / "own"
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text(OWN.replace("train:train", f"{here}/own/train.py:train"))
    found = prepare_submission(folder)
    assert found.resumes
    assert found.command == ("resume", str(folder), "--address", "auto")
    assert travels(found) == ["own/sizes.py", "own/train.py"]


def test_what_came_with_a_search_does_not_travel_again(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    storage = tmp_path_factory.mktemp("storage")
    shelf = storage / SHELF / "own-0123456789ab"
    shutil.copytree(here, shelf)
    (storage / "own").mkdir()
    (storage / "own" / "spec.yaml").write_text(OWN.replace("train:train", f"{shelf}/own/train.py:train"))
    found = prepare_submission(storage / "own")
    assert travels(found) == []
    assert found.command[:2] == ("resume", str(storage / "own"))
    assert not [name for name in found.expected if SHELF in name]


@pytest.mark.parametrize("storage", ["./searches", "~/searches", "searches"])
def test_storage_must_mean_the_same_on_all_nodes(here: Path, storage: str) -> None:
    with pytest.raises(SpecError, match=rf"absolute path of shared storage .* got `{storage}`") as caught:
        prepare_submission(Path("task.yaml"), overrides=[f"storage={storage}"])
    assert caught.value.path == "storage"


def test_a_search_in_an_object_store_has_its_folder_and_its_shelf_there(here: Path) -> None:
    found = prepare_submission(Path("own/spec.yaml"), overrides=["storage=s3://bucket/searches/"])
    assert found.directory == "s3://bucket/searches/own"
    assert found.shelf.startswith("s3://bucket/searches/.submitted/own-")
    assert found.spec.storage.path == "s3://bucket/searches"


def test_a_warm_start_may_be_in_an_object_store(here: Path) -> None:
    found = prepare_submission(
        Path("task.yaml"), overrides=["search.warm_start=[s3://bucket/searches/before]"], checks=False
    )
    assert found.expected == ("s3://bucket/searches/before",)


def test_a_queue_takes_a_search_of_an_object_store_as_it_is_submitted(here: Path) -> None:
    files = {path.name: path.read_bytes() for path in (here / "own").iterdir()}
    handed_in = HandedIn(user="ann", place="spec.yaml", files=files, overrides=["storage=s3://bucket/searches"])
    new, _ = take_in(handed_in)
    assert new.directory == "s3://bucket/searches/own"
    assert new.shelf.startswith("s3://bucket/searches/.submitted/own-")


def test_a_nested_cross_validation_goes_on_by_its_folder(here: Path) -> None:
    folds = "{cross_validation: {folds: 2, outer_folds: 2}, trials: 2}"
    nested = TASK.replace("/shared/searches", str(here / "kept")).replace("{trials: 2}", folds)
    (here / "kept" / "words").mkdir(parents=True)
    (here / "kept" / "words" / "nested.yaml").write_text(nested.replace("data/*.txt", "/shared/data/*.txt"))
    found = prepare_submission(here / "kept" / "words")
    assert found.command == ("resume", str(here / "kept" / "words"), "--address", "auto")
    assert travels(found) == []


def test_files_that_are_not_there_are_named(here: Path) -> None:
    with pytest.raises(SpecError, match=r"no file matches `date/\*\.txt`"):
        prepare_submission(Path("task.yaml"), overrides=["data.source.files=date/*.txt"], checks=False)


def test_a_wrong_spec_is_refused_here_and_not_on_the_cluster(here: Path) -> None:
    with pytest.raises(SpecError, match="learning_rat"):
        prepare_submission(Path("task.yaml"), overrides=["space={training.learning_rat: {uniform: [0, 1]}}"])


def test_a_warm_start_needs_a_folder_that_the_nodes_see(here: Path) -> None:
    with pytest.raises(SpecError, match="absolute path of its folder") as caught:
        prepare_submission(Path("task.yaml"), overrides=["search.warm_start=[./before]"], checks=False)
    assert caught.value.path == "search.warm_start"


def test_a_secret_is_refused_where_others_read_it(here: Path) -> None:
    with pytest.raises(SpecError, match=r"`WANDB_API_KEY` looks like a secret.*--secret-file WANDB_API_KEY=PATH"):
        prepare_submission(Path("task.yaml"), environment=["WANDB_API_KEY=1234"])
    found = prepare_submission(
        Path("task.yaml"), environment=["TUNESMITH_CACHE=/shared/cache"], secret_files=["WANDB_API_KEY=/run/key"]
    )
    assert (found.environment, found.secret_files) == (
        {"TUNESMITH_CACHE": "/shared/cache"}, {"WANDB_API_KEY": "/run/key"},
    )  # fmt: skip


def test_w_and_b_online_says_that_the_cluster_needs_a_key(here: Path) -> None:
    online = ["tracking.wandb.mode=online"]
    assert "WANDB_API_KEY" in prepare_submission(Path("task.yaml"), overrides=online).expected[0]
    keyed = prepare_submission(Path("task.yaml"), overrides=online, secret_files=["WANDB_API_KEY=/run/key"])
    assert keyed.expected == ()


@pytest.mark.parametrize("text", ["A", "=b", "A B=c", "A="])
def test_what_is_no_pair_is_refused(here: Path, text: str) -> None:
    with pytest.raises(SpecError, match="`--env` takes NAME=VALUE"):
        prepare_submission(Path("task.yaml"), environment=[text])


@pytest.mark.parametrize("action", [(), ("retry", "--trial", "3"), ("extend", "--trials", "60"), ("confirm",)])
def test_a_search_that_is_there_goes_on_as_was_asked(here: Path, action: tuple[str, ...]) -> None:
    found = prepare_submission(Path("own/spec.yaml"), resumes=True, action=action)
    name, *options = action or ("resume",)
    assert found.command == (name, "/shared/searches/own", *options, "--address", "auto")
    assert found.resumes
    assert found.action == (name, *options)


@pytest.mark.parametrize(
    ("action", "resumes", "words"),
    [
        (("retri",), True, "Did you mean `retry`?"),
        (("run",), True, "one of resume, retry, extend, confirm"),
        (("extend", "--address=auto"), True, "is set on the cluster"),
        (("retry",), False, "add `--resume` to its spec"),
    ],
)
def test_what_cannot_go_on_is_refused_here(here: Path, action: tuple[str, ...], resumes: bool, words: str) -> None:
    with pytest.raises(SpecError, match=re.escape(words)):
        prepare_submission(Path("own/spec.yaml"), resumes=resumes, action=action)


def test_the_options_of_an_action_are_checked_before_it_is_sent(here: Path, tunesmith: Run) -> None:
    refused = tunesmith(
        "submit", "own/spec.yaml", "--resume", "--as", "retry --nope", "--address", "http://127.0.0.1:1"
    )
    assert refused.returncode == 2
    assert "No such option: --nope" in refused.stderr
    unknown = tunesmith("submit", "own/spec.yaml", "--resume", "--as", "retri", "--address", "http://127.0.0.1:1")
    assert unknown.returncode == 2
    assert "Did you mean `retry`?" in unknown.stderr


def test_an_action_with_good_options_gets_as_far_as_the_cluster(here: Path, tunesmith_here: Run) -> None:
    for action in ("resume", "retry --trial 3", "extend --trials 60", "confirm --top 2"):
        done = tunesmith_here(
            "submit", "own/spec.yaml", "--resume", "--as", action, "--address", "http://127.0.0.1:9"
        )  # fmt: skip
        assert done.returncode == 4, done.stderr
        assert "no Ray cluster answers" in done.stderr

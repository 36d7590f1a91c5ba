"""Nested cross-validation: who sees what, and the whole story once."""

import json
import shutil
import time
from pathlib import Path

import pytest
from conftest import Run
from machines import Machine, switch_off
from store_server import StoreServer

from analysis.records import TrialRecord
from search.load import load_spec
from search.nested import final_spec, inner_specs
from search.plan import make_plan
from search.spec import SearchSpec
from spaces.store import Store
from trainables.preparation import load_test_split, prepare

SPEC = """
name: honest
task: sequence_classification
model:
  architecture: bert
  config: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}
data:
  source: {files: FILE}
  tokenizer: {train: bpe, vocab_size: 300}
  max_length: 16
training: {num_train_epochs: 1, per_device_train_batch_size: 16}
space: {training.learning_rate: {choice: [1.0e-2, 1.0e-6]}}
search:
  algorithm: grid
  metric: eval/accuracy
  cross_validation: {folds: 2, outer_folds: 3}
"""


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    rows = [{"text": f"{kind} number {n} is {kind}", "label": kind} for n in range(24) for kind in ("fruit", "tool")]
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC.replace("FILE", str(tmp_path / "notes.jsonl")))
    return path


def texts(spec: SearchSpec, part: str) -> set[str]:
    assert spec.task is not None
    assert spec.model is not None
    assert spec.data is not None
    prepared = prepare(spec.task, spec.model, spec.data)
    rows = load_test_split(prepared) if part == "test" else getattr(prepared, part)
    return set(prepared.tokenizer.batch_decode(rows["input_ids"][:], skip_special_tokens=True))


def winner() -> TrialRecord:
    return TrialRecord(
        number=0, state="COMPLETE", value=0.9, params={"training.learning_rate": 0.01}, intermediate={1: 0.9}
    )


def test_every_document_is_once_what_a_whole_search_never_saw(spec_file: Path, tmp_path: Path) -> None:
    unseen = [texts(inner, "test") for inner in inner_specs(load_spec(spec_file).spec, str(tmp_path), 3)]
    assert [len(part) for part in unseen] == [16, 16, 16]
    assert len(set.union(*unseen)) == 48


def test_the_winner_is_measured_on_what_its_search_never_saw_and_trained_on_all_the_rest(
    spec_file: Path, tmp_path: Path
) -> None:
    for inner in inner_specs(load_spec(spec_file).spec, str(tmp_path), 3):
        last = final_spec(inner, winner())
        assert texts(last, "validation") == texts(inner, "test")
        assert texts(last, "train") == texts(inner, "train") | texts(inner, "validation")


def test_the_winner_is_one_trial_with_its_own_values(spec_file: Path, tmp_path: Path) -> None:
    inner = next(inner_specs(load_spec(spec_file).spec, str(tmp_path), 3))
    last = final_spec(inner, winner())
    assert last.training["learning_rate"] == 0.01
    assert not last.space
    assert last.search.folds is None


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.splits.test_fold={index: 0, of: 3}", "each search sets its own"),
        ("stopping.patience=2", "would be chosen by the very documents that measure it"),
        ("search.cross_validation.outer_folds=1", "expected a number >= 2"),
    ],
)
def test_what_cannot_be_nested_is_refused(spec_file: Path, override: str, says: str, tunesmith_here: Run) -> None:
    done = tunesmith_here("check", str(spec_file), "--set", override)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())


@pytest.mark.ray
@pytest.mark.slow
def test_the_whole_story_is_told_and_a_second_run_finds_it_done(spec_file: Path, tunesmith: Run) -> None:
    first = tunesmith("run", str(spec_file), "--set", "search.cross_validation.outer_folds=2", "--json")
    told = json.loads(first.stdout)
    assert len(told["folds"]) == 2
    low, high = told["interval"]
    assert low <= told["value"] <= high
    assert told["value"] == pytest.approx(sum(fold["outer_value"] for fold in told["folds"]) / 2)
    again = tunesmith("resume", told["directory"], "--json")
    assert json.loads(again.stdout) == told
    assert "no search" not in tunesmith("leaderboard", f"{told['directory']}/honest-outer-0").stdout


@pytest.mark.ray
@pytest.mark.slow
def test_in_a_store_another_machine_goes_on_with_what_is_not_done(
    spec_file: Path, tmp_path: Path, s3: StoreServer
) -> None:
    url = "s3://bucket/searches/honest"
    first, second, third = (Machine(tmp_path / name) for name in ("first", "second", "third"))
    process = first.start(
        "run", str(spec_file), "--set", "search.cross_validation.outer_folds=2", "--storage", "s3://bucket/searches"
    )
    deadline = time.monotonic() + 400
    while "honest-outer-0-winner/mirror.json" not in Store.at(url).names():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the first search did not end"
        time.sleep(0.3)
    switch_off(process)
    shutil.rmtree(first.folder)
    told = json.loads(second.run("resume", url, "--json"))
    assert [fold["index"] for fold in told["folds"]] == [0, 1]
    assert json.loads(third.run("resume", url, "--json")) | {"directory": None} == told | {"directory": None}
    assert [entry["state"] for entry in third.leaderboard(f"{url}/honest-outer-1")] == ["COMPLETE"] * 2
    refused = third.tried("run", str(spec_file), "--storage", "s3://bucket/searches")
    assert (refused.returncode, f"`{url}` exists already" in refused.stderr) == (2, True)


def test_a_plan_of_one_search_has_no_outer_fold(spec_file: Path) -> None:
    plan = make_plan(load_spec(spec_file, overrides=["search.cross_validation={folds: 2}"]))
    assert plan.document["data"]["splits"]["test_fold"] is None

"""Confirming: who is trained again, with which seeds, on what; and the whole story under kill -9."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, command
from patience import Gate
from recorded_searches import Session, planned

from analysis.confirmation import read_confirmations
from analysis.offline_wandb import read_offline_run
from analysis.sources import read_records
from search.choosing import chosen_configurations
from search.confirm import fresh_seeds
from search.confirmation_sections import ConfirmationConfig, ConfirmedConfiguration
from search.confirmation_space import ConfirmationSpace
from search.confirmation_spec import confirmation_spec, on_all_but_test
from search.load import load_spec, validate
from search.plan import Plan, make_plan
from search.published import published_points, published_spec
from search.recorded_spec import resolved_spec
from search.stages import plan_of
from search.trial_documents import base_document
from search.unseen import check_test_split
from search.yaml_text import to_yaml
from spaces.errors import SpecError
from spaces.presets import preset_named

CLASSIFIER = """
name: colours
task: sequence_classification
model: {architecture: bert, config: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}}
data: {source: {files: FILE}, tokenizer: {train: bpe, vocab_size: 300}, max_length: 16}
training: {num_train_epochs: 1}
space: {training.learning_rate: {log_uniform: [1.0e-5, 1.0e-2]}}
"""
LANGUAGE_MODEL = """
name: preset
task: causal_lm
model: {architecture: lstm, config: {hidden_size: 16, embedding_size: 16, num_layers: 1}}
data: {source: {files: FILE}, tokenizer: {train: bpe, vocab_size: 300}, max_length: 16}
training: {num_train_epochs: 1}
space: {preset: rnn-lm}
"""


def plan_from(tmp_path: Path, text: str, *overrides: str) -> Plan:
    (tmp_path / "texts.txt").write_text("red\ngreen\n")
    (tmp_path / "spec.yaml").write_text(text.replace("FILE", str(tmp_path / "texts.txt")))
    return make_plan(load_spec(tmp_path / "spec.yaml", overrides=[f"storage={tmp_path}", *overrides]))


def config_of(plan: Plan, *, seeds: tuple[int, ...] = (1001, 1002), **fields: Any) -> ConfirmationConfig:
    documents = [base_document(plan.spec) for _ in range(2)]
    documents[1]["training"]["learning_rate"] = 0.5
    made = [
        ConfirmedConfiguration(name=f"trial {index}", kind="trial", trial=index, document=document)
        for index, document in enumerate(documents)
    ]
    return ConfirmationConfig(
        search=plan.spec.name, fingerprint="f" * 12, number=1, seeds=seeds, configurations=tuple(made), **fields
    )


# --- who ---------------------------------------------------------------------------------------------------


def test_the_best_finished_trials_are_chosen_and_the_winner_comes_first(tmp_path: Path) -> None:
    session = Session(planned(tmp_path))
    for loss in (0.5, 0.1, 0.3):
        session.complete(loss)
    session.prune(0.0)
    chosen = chosen_configurations(session.record, session.plan, top=2).configurations
    assert [(each.trial, each.searched) for each in chosen] == [
        (1, {"loss": pytest.approx(0.1)}), (2, {"loss": pytest.approx(0.3)}),
    ]  # fmt: skip
    assert chosen[0].document["config"]["x"] == session.record.trials[1].params["config.x"]


def test_trials_that_are_asked_for_are_taken_in_that_order(tmp_path: Path) -> None:
    session = Session(planned(tmp_path))
    for loss in (0.5, 0.1, 0.3):
        session.complete(loss)
    pruned = session.prune(0.0)
    chosen = chosen_configurations(session.record, session.plan, top=2, numbers=[0, pruned, 0])
    assert [each.trial for each in chosen.configurations] == [0, pruned]
    assert "trial 3 was stopped early" in chosen.notes[0]


@pytest.mark.parametrize(("number", "says"), [(9, "trials 0 to 1"), (1, "failed .it is diverged.")])
def test_a_trial_that_cannot_be_confirmed_is_refused(tmp_path: Path, number: int, says: str) -> None:
    session = Session(planned(tmp_path))
    session.complete(0.5)
    session.fail("diverged")
    with pytest.raises(SpecError, match=says):
        chosen_configurations(session.record, session.plan, top=1, numbers=[number])


def test_without_a_finished_trial_there_is_nothing_to_confirm(tmp_path: Path) -> None:
    session = Session(planned(tmp_path))
    session.prune(0.5)
    with pytest.raises(SpecError, match="nothing to confirm"):
        chosen_configurations(session.record, session.plan, top=1)


# --- with which seeds, on what -----------------------------------------------------------------------------


def test_seeds_are_fresh_and_the_same_whenever_the_same_is_asked_for() -> None:
    seeds = fresh_seeds("abc", 1, count=5, taken=set())
    assert seeds == fresh_seeds("abc", 1, count=5, taken=set())
    assert not set(seeds) & set(fresh_seeds("abc", 2, count=5, taken=set()))
    assert not set(seeds) & set(fresh_seeds("abc", 1, count=5, taken=set(seeds)))
    assert len(set(fresh_seeds("abc", 1, count=100, taken=set()))) == 100


def test_every_configuration_meets_every_seed_on_the_test_split_and_is_else_as_it_was(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, CLASSIFIER)
    config = config_of(plan)
    space = ConfirmationSpace(config)
    points = list(space.grid())
    assert [(point["seed"], point["configuration"]) for point in points] == [
        (1001, "trial 0"), (1001, "trial 1"), (1002, "trial 0"), (1002, "trial 1"),
    ]  # fmt: skip
    document = space.apply(points[3])
    assert document["measure_test"] is True
    assert document["training"].pop("seed") == 1002
    expected = json.loads(json.dumps(config.configurations[1].document))
    del expected["training"]["seed"], document["measure_test"]
    assert document == expected


def test_the_spec_of_a_confirmation_survives_its_file(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, CLASSIFIER, "search.metric=eval/accuracy")
    spec = confirmation_spec(plan.spec, config_of(plan), name="confirmation-1", storage=plan.files.path)
    file = tmp_path / "again.yaml"
    file.write_text(to_yaml(resolved_spec(spec)))
    again = make_plan(load_spec(file))
    assert again.num_trials == 4
    before = plan_of(spec)
    assert [again.space.apply(point) for point in again.space.grid()] == [
        before.space.apply(point) for point in before.space.grid()
    ]
    assert (again.spec.metric, again.spec.mode) == ("eval/accuracy", "max")


def test_after_a_cross_validation_nothing_is_held_out_but_test(tmp_path: Path) -> None:
    folded = plan_from(tmp_path, CLASSIFIER, "search.cross_validation=3")
    each = ConfirmedConfiguration(name="a", kind="base", document=base_document(folded.spec))
    made = on_all_but_test(each, folded.spec)
    assert made.document["data"]["splits"]["train_on_validation"] is True
    config = config_of(folded).model_copy(update={"configurations": (made,)})
    assert "folds" not in ConfirmationSpace(config).apply({"seed": 1001, "configuration": "a"})
    plain = plan_from(tmp_path, CLASSIFIER)
    assert on_all_but_test(each, plain.spec) == each


def test_patience_keeps_something_to_stop_by(tmp_path: Path) -> None:
    folded = plan_from(tmp_path, CLASSIFIER, "search.cross_validation=3", "stopping.patience=2")
    each = ConfirmedConfiguration(name="a", kind="base", document=base_document(folded.spec))
    assert on_all_but_test(each, folded.spec) == each


# --- what is refused ---------------------------------------------------------------------------------------


def test_a_search_without_a_test_split_is_told_how_to_get_one(tmp_path: Path) -> None:
    check_test_split(plan_from(tmp_path, CLASSIFIER))
    with pytest.raises(SpecError, match=r"held nothing out.*data\.splits\.test: 0\.1"):
        check_test_split(plan_from(tmp_path, CLASSIFIER, "data.splits.test=0"))


def test_a_function_must_say_that_it_measures_test(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"measure_test: false.*test/loss"):
        check_test_split(planned(tmp_path))
    check_test_split(planned(tmp_path, config={"x": 0.5, "y": 1, "length": 4, "measure_test": False}))


@pytest.mark.parametrize(
    "override",
    ["data.splits.train_on_validation=true", "space.data.splits.train_on_validation={choice: [true, false]}"],
)
def test_no_search_sees_the_test_split(tmp_path: Path, override: str) -> None:
    with pytest.raises(SpecError, match="train_on_validation"):
        plan_from(tmp_path, CLASSIFIER, override)


def test_a_confirmation_searches_nothing(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, CLASSIFIER)
    raw = resolved_spec(plan.spec) | {"confirmation": config_of(plan).model_dump(mode="json")}
    with pytest.raises(SpecError, match="searches nothing"):
        validate(raw)


# --- the published grid ------------------------------------------------------------------------------------


def test_the_published_grid_is_all_that_was_published_of_what_the_search_varies(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, LANGUAGE_MODEL)
    points = published_points(preset_named("rnn-lm"), plan)
    assert len(points) == 4
    assert {point["training.per_device_train_batch_size"] for point in points} == {40, 80}
    fixed = plan_from(tmp_path, LANGUAGE_MODEL, "training.per_device_train_batch_size=4")
    assert all("training.per_device_train_batch_size" not in point for point in points_of(fixed))
    assert len(points_of(fixed)) == 2


def points_of(plan: Plan) -> list[dict[str, Any]]:
    return published_points(preset_named("rnn-lm"), plan)


def test_the_published_grid_makes_a_search_of_its_own_of_exactly_those_points(tmp_path: Path) -> None:
    plan = plan_from(tmp_path, LANGUAGE_MODEL)
    points = published_points(preset_named("rnn-lm"), plan)
    made = plan_of(published_spec(plan, points))
    assert made.num_trials == len(points)
    assert made.start_points() == points
    assert made.files.path.parent == plan.files.path
    document = made.space.apply(points[0])
    assert document["training"]["learning_rate"] == 30.0
    assert document["training"]["optim"] == plan.document["training"]["optim"]


# --- the whole story ---------------------------------------------------------------------------------------

SPEC: dict[str, Any] = {
    "name": "walk", "trainable": "walking:train", "config": {"x": 0.5, "seed": 0, "measure_test": False},
    "space": {"config.x": {"uniform": [0.0, 1.0]}},
    "search": {"algorithm": "random", "metric": "loss", "mode": "min", "trials": 3},
    "resources": {"concurrent_trials": 1},
}  # fmt: skip
FUNCTION = f"""
import os
{Gate.FUNCTION}
LOG = os.path.join(os.path.dirname(__file__), "calls.log")

def train(config, report):
    with open(LOG, "a") as file:
        file.write(f"{{config['x']}} {{config['seed']}} {{config['measure_test']}}\\n")
    wait_at_gate(LOG)
    noise = config["seed"] % 7 / 100
    loss = abs(config["x"] - 0.3) + noise
    report({{"loss": loss}} | ({{"test/loss": loss + 0.1}} if config["measure_test"] else {{}}), is_final=True)
"""


def calls(folder: Path) -> list[str]:
    return [line for line in (folder / "calls.log").read_text().splitlines() if line.endswith("True")]


@pytest.mark.ray
def test_a_confirmation_that_is_killed_goes_on_and_runs_nothing_twice(
    tmp_path: Path, tunesmith: Run, tunesmith_here: Run
) -> None:
    (tmp_path / "spec.yaml").write_text(to_yaml(SPEC))
    (tmp_path / "walking.py").write_text(FUNCTION)
    done = tunesmith("run", "spec.yaml")
    assert done.returncode == 0, done.stderr
    asked = ("confirm", "searches/walk", "--top", "2", "--seeds", "3", "--json")
    gate = Gate(tmp_path / "calls.log")
    gate.close_after(3 + 4)  # those of the search, and some of the confirmation's
    driver = subprocess.Popen(
        command(*asked), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    gate.wait_for(3 + 4, driver)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    gate.open()
    second = tunesmith(*asked)
    assert second.returncode == 0, second.stderr
    told = json.loads(second.stdout)
    assert told["complete"]
    assert [each["name"] for each in told["configurations"]][-1] == "untuned spec"
    assert len(set(calls(tmp_path))) == 9
    assert len(calls(tmp_path)) <= 9 + 1  # what ran when it was killed

    for each in told["configurations"]:
        x = each["params"].get("config.x", 0.5)
        for run in each["runs"]:
            assert run["metrics"]["test/loss"] == pytest.approx(abs(x - 0.3) + run["seed"] % 7 / 100 + 0.1)
    before = len(calls(tmp_path))
    third = tunesmith(*asked)
    assert json.loads(third.stdout) == told
    assert len(calls(tmp_path)) == before
    search = read_records(tmp_path / "searches" / "walk")
    assert len(search.trials) == 3
    (confirmation,) = read_confirmations(tmp_path / "searches" / "walk")
    assert confirmation.is_complete
    folder = tmp_path / "searches/walk/confirmation-1/wandb"
    runs = [read_offline_run(place) for place in folder.glob("offline-run-*")]
    assert {(run.group, run.job_type) for run in runs} == {("walk", "confirmation")}
    assert {run.id.split("-", 1)[1] for run in runs} >= {f"confirmation-1-{number:04d}" for number in range(9)}
    shown = tunesmith_here("confirm", "searches/walk/confirmation-1")
    assert "is a confirmation" in shown.stderr

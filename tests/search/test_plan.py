"""The plan: how many trials, which rungs, which steps, and a base document that says everything."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from bad_specs import CHATS, OWN, PAIRS, PROMPT, SCRATCH
from rich.console import Console

from search.load import load_spec
from search.plan import DEFAULT_TRIALS, Plan, make_plan
from search.plan_text import plan_facts, plan_text, rungs
from spaces.documents import get_path
from spaces.errors import SpecError
from spaces.reports import Progress
from trainables.preparation import prepare

ROOT = Path(__file__).parents[2]
# Those that begin with another search's best model are planned when that search is there: see test_examples.
SPECS = [
    path
    for path in [*sorted((ROOT / "examples").rglob("*.yaml")), *sorted((ROOT / "search" / "templates").glob("*.yaml"))]
    if "search:./" not in path.read_text("utf-8")
]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_module.py").write_text("def train(config, report): ...\n")
    (tmp_path / "my_module.py").write_text("def train(config, report): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def plan_of(*overrides: str, text: str = SCRATCH) -> Plan:
    Path("spec.yaml").write_text(text)
    return make_plan(load_spec(Path("spec.yaml"), overrides=overrides))


def at(*, epoch: float = 1.0, step: int = 10, evaluation: int = 1) -> Progress:
    return Progress(step=step, epoch=epoch, tokens=0, evaluation=evaluation)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_we_ship_is_a_valid_plan(path: Path) -> None:
    plan = make_plan(load_spec(path))
    assert plan.num_trials >= 1
    assert plan_facts(plan)["space"]


FOUR_POINTS = "space={training.seed: {int: [1, 2]}, training.weight_decay: {choice: [0, 0.1]}}"


@pytest.mark.parametrize(
    ("overrides", "num_trials", "grid_size"),
    [
        ([], 12, None),
        (["search.trials=null"], DEFAULT_TRIALS, None),
        (["space={}"], 1, 1),
        (["space={}", "search.trials=5"], 1, 1),
        ([FOUR_POINTS], 4, 4),  # no point is run twice
        ([FOUR_POINTS, "search.algorithm=grid"], 4, 4),
        ([FOUR_POINTS, "search.algorithm=grid", "search.trials=3"], 3, 4),
        ([FOUR_POINTS, "search.algorithm=brute_force", "search.trials=null"], 4, 4),
        ([FOUR_POINTS, "search.algorithm=grid", "constraints=[training.seed > 1]", "search.trials=null"], 2, 2),
        (["space={training.seed: {int: [1, 1000000]}}"], 12, None),  # constraints: too many to count
        (["space={training.seed: {int: [1, 1000000]}}", "constraints=[]"], 12, 1_000_000),
    ],
)
def test_the_number_of_trials_follows_from_space_and_algorithm(
    overrides: list[str], num_trials: int, grid_size: int | None
) -> None:
    plan = plan_of(*overrides)
    assert (plan.num_trials, plan.grid_size) == (num_trials, grid_size)


def test_a_huge_grid_with_constraints_is_refused_at_once() -> None:
    with pytest.raises(SpecError, match=r"search.algorithm: the grid has 1,000,000 points before the constraints"):
        plan_of("space={training.seed: {int: [1, 1000000]}}", "search.algorithm=grid")


@pytest.mark.parametrize(
    ("scheduler", "expected", "most"),
    [
        ("{name: asha, grace: 1, reduction_factor: 3}", [1, 3], 6),
        ("{name: asha, grace: 1, reduction_factor: 2}", [1, 2, 4], 6),
        ("{name: asha, grace: 2, max: 4, reduction_factor: 2}", [2], 4),
        ("{name: asha, grace: 0.5, reduction_factor: 4}", [0.5, 2], 6),
        ("{name: asha, max: 100}", [1, 3], 6),
        ("{name: asha, unit: tokens, grace: 1000, max: 10000}", [1000, 3000, 9000], 10000),
        ("{name: asha, unit: evaluations}", [1, 3], 6),
        ("{name: hyperband, reduction_factor: 2}", [1, 2, 4], 6),
        ("median", [], 6),
        ("{name: median, unit: tokens, grace: 1000}", [], None),
        ("none", [], None),
    ],
)
def test_rungs_end_below_the_most_training(scheduler: str, expected: list[float], most: float | None) -> None:
    plan = plan_of(f"search.scheduler={scheduler}")
    assert rungs(plan) == expected
    assert plan.max_resource == most


@pytest.mark.parametrize(
    ("overrides", "most"),
    [
        (["training.max_steps=50", "search.scheduler.unit=steps"], 50),
        (["space={training.num_train_epochs: {int: [2, 9]}}", "constraints=[]"], 9),
        (["space={training.num_train_epochs: {choice: [1, 4]}}", "constraints=[]", "search.scheduler.max=8"], 4),
    ],
)
def test_the_most_training_is_what_the_longest_trial_gets(overrides: list[str], most: float) -> None:
    plan = plan_of(*overrides)
    assert plan.max_resource == most
    assert plan.is_at_end(at(epoch=most, step=int(most)))
    assert not plan.is_at_end(at(epoch=most - 1, step=int(most) - 1))


BY_STEPS = ["training.eval_strategy=steps", "training.eval_steps=10"]


@pytest.mark.parametrize(
    ("overrides", "progress", "step", "unit"),
    [
        ([], at(epoch=2.0), 2, "epochs"),
        ([], at(epoch=1.99999), 2, "epochs"),
        ([], at(epoch=2.5), 3, "epochs"),
        (BY_STEPS, at(epoch=0.25), 250, "milliepochs"),
        (BY_STEPS, at(epoch=1.0001), 1001, "milliepochs"),
        ([*BY_STEPS, "search.scheduler={name: asha, unit: steps, max: 90}"], at(step=70), 70, "steps"),
        (["search.scheduler={name: asha, unit: evaluations, max: 9}"], at(evaluation=3), 3, "evaluations"),
    ],
)
def test_an_evaluation_has_a_whole_step_in_the_unit(
    overrides: list[str], progress: Progress, step: int, unit: str
) -> None:
    plan = plan_of(*overrides)
    assert (plan.step_of(progress), plan.step_unit) == (step, unit)


@pytest.mark.parametrize(("overrides", "epoch"), [([], 3.0), (BY_STEPS, 0.25)])
def test_a_recorded_step_leads_back_to_the_resource(overrides: list[str], epoch: float) -> None:
    plan = plan_of(*overrides)
    assert plan.resource_of(plan.step_of(at(epoch=epoch))) == epoch


@pytest.mark.parametrize(
    ("overrides", "has_whole_epochs"),
    [
        ([], True),
        (BY_STEPS, False),
        (["space={training.eval_strategy: {choice: [epoch]}}"], False),
        (["derive={training.eval_strategy: '\"epoch\"'}", "search.scheduler.max=5"], False),
    ],
)
def test_whole_epochs_are_known_before_the_start(overrides: list[str], has_whole_epochs: bool) -> None:
    assert plan_of(*overrides).has_whole_epochs is has_whole_epochs


def test_an_own_function_may_report_at_any_time() -> None:
    assert plan_of(text=OWN).has_whole_epochs is False


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("task", "sequence_classification"),
        ("model.architecture", "bert"),
        ("model.freeze", None),
        ("data.text", "text"),
        ("data.splits.seed", 0),
        ("training.num_train_epochs", 6),
        ("training.learning_rate", 5e-05),
        ("training.gradient_accumulation_steps", 1),
        ("training.eval_strategy", "epoch"),
        ("training.seed", 42),
    ],
)
def test_the_base_document_holds_the_defaults_too(path: str, value: Any) -> None:
    assert get_path(plan_of().document, path) == value


def test_checking_the_space_leaves_the_base_values_as_they_were_written() -> None:
    assert plan_of(text=OWN).document["config"]["step_size"] == 0.1
    schedule = "  lr_scheduler_type: cosine_with_restarts\n  lr_scheduler_kwargs: {num_cycles: 1}\n"
    text = SCRATCH.replace("training:\n", f"training:\n{schedule}")
    text = text.replace("space:\n", "space:\n  training.lr_scheduler_kwargs.num_cycles: {int: [2, 3]}\n")
    assert plan_of(text=text).document["training"]["lr_scheduler_kwargs"] == {"num_cycles": 1}


@pytest.mark.parametrize(
    ("signature", "words"),
    [("(config)", "a Ray Train loop"), ("(config, report)", "called as function(config, report)")],
)
def test_the_plan_says_how_a_function_is_called(signature: str, words: str) -> None:
    Path("own_module.py").write_text(f"def train{signature}: ...\n")
    console = Console(file=io.StringIO(), width=200)
    console.print(plan_text(plan_of(text=OWN)))
    assert isinstance(console.file, io.StringIO)
    assert f"own_module.py:train, {words}" in console.file.getvalue()


def test_a_bad_value_is_blamed_on_its_entry_in_the_space() -> None:
    with pytest.raises(SpecError) as caught:
        plan_of("space={training.weight_decay: {uniform: [0, 1]}, data.text: {choice: [a, [b]]}}")
    assert caught.value.path == "space.data.text"
    assert caught.value.message == "a value is not allowed: expected a text, but got ['b']."


def test_a_bad_value_deep_inside_a_choice_is_named() -> None:
    with pytest.raises(SpecError, match=r"space.data.splits: a value is not allowed: tests: unknown key. Did you mean"):
        plan_of("space={data.splits: {choice: [{test: 0.1}, {tests: 0.2}]}}")


def test_values_that_work_together_only_are_accepted() -> None:
    plan_of(
        "space={model.config.hidden_size: {choice: [64, 66]}, model.config.num_attention_heads: {choice: [2]}}",
        "model.config.num_attention_heads=4",
    )


def test_a_search_too_large_for_this_machine_needs_a_cluster() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(plan_text(plan_of("resources.cpus_per_worker=10000")))
    assert "so it needs a cluster" in console.export_text()


def test_the_facts_are_plain_and_complete() -> None:
    facts = plan_facts(plan_of())
    assert facts["objective"] == {"metric": "eval/accuracy", "mode": "max"}
    assert facts["space"]["training.learning_rate"] == "log_uniform 0.0001 .. 0.03"
    assert facts["rungs"] == [1, 3]
    assert not facts["exists"]


# --- prompts ---------------------------------------------------------------------------------------------


def test_evaluations_of_a_prompt_are_known_and_end_no_epoch() -> None:
    plan = plan_of(text=PROMPT.replace("./tiny", "some-hub-id"))
    assert plan.max_resource == 4
    assert plan.has_whole_epochs is False
    assert plan.document["prompt"]["shots"] == 4
    assert "preference" not in plan.document


def test_a_section_of_a_task_alone_has_its_defaults_in_the_document() -> None:
    plan = plan_of(text=PAIRS)
    assert plan.document["preference"]["beta"] == 0.1
    assert plan.document["preference"]["loss"] == "sigmoid"
    assert "prompt" not in plan.document


def test_the_plan_tells_how_many_chats_are_too_long(tmp_path: Path) -> None:
    rows = [{"prompt": "red? " * (200 if n % 4 == 0 else 1) + str(n), "response": "yes"} for n in range(40)]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = CHATS.replace("{builtin: stdlib-instructions}", "{files: chats.jsonl}")
    plan = plan_of(text=files)
    assert plan.spec.task is not None
    assert plan.spec.model is not None
    assert plan.spec.data is not None
    prepare(plan.spec.task, plan.spec.model, plan.spec.data)
    console = Console(file=io.StringIO(), width=200)
    console.print(plan_text(plan))
    assert "(10 left out: at data.max_length" in console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO


def test_auto_knows_what_the_constraints_leave_and_how_many_trials_run_at_once() -> None:
    small = (
        'space={"training.seed": {"int": [1, 4]}, "training.per_device_train_batch_size": {"choice": [4, 8]}}',
        'constraints=["training.seed * training.per_device_train_batch_size <= 16"]',
        "derive={}",
        "search.algorithm=auto",
        "search.trials=6",
    )
    assert plan_of(*small).resolved_algorithm().name == "grid"
    large = plan_of("search.algorithm=auto")
    assert large.resolved_algorithm().name == "tpe"
    assert large.resolved_algorithm().startup_trials == 4
    assert large.resolved_algorithm(num_parallel=6).name == "quasi_random"

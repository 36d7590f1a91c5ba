"""`space: {preset: NAME}`: what it gives, what the spec's own entries keep, and to whom it does not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from search.load import LoadedSpec, load_spec
from search.plan import Plan, make_plan
from search.plan_text import plan_facts
from search.recorded_spec import resolved_spec
from search.yaml_text import parse_yaml, to_yaml
from spaces.errors import SpecError
from spaces.presets import all_presets

TUNED = """
name: tuned
task: sequence_classification
model: {pretrained: ./encoder}
data: {source: {builtin: stdlib-docstrings}, max_length: 48}
space:
  preset: bert-finetune
"""
# For each preset a spec that it fits.
FITTING = {
    "bert-finetune": TUNED,
    "roberta-finetune": TUNED,
    "lora-finetune": TUNED,
    "lora-instruction": TUNED.replace("sequence_classification", "causal_lm").replace("docstrings", "docs").replace(
        "encoder", "decoder"
    ),
    "t5-finetune": TUNED.replace("sequence_classification", "seq2seq_lm").replace("docstrings", "summaries").replace(
        "encoder", "t5"
    ),
    "gpt-pretrain": TUNED.replace("sequence_classification", "causal_lm").replace("docstrings", "docs").replace(
        "{pretrained: ./encoder}", "{architecture: llama, config: {hidden_size: 64, num_attention_heads: 4}}"
    ),
    "rnn-lm": TUNED.replace("sequence_classification", "causal_lm").replace("docstrings", "docs").replace(
        "{pretrained: ./encoder}", "{architecture: gru}"
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in (("encoder", "bert"), ("decoder", "gpt2"), ("t5", "t5")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": kind}))
    monkeypatch.chdir(tmp_path)


def loaded(text: str, *overrides: str) -> LoadedSpec:
    Path("spec.yaml").write_text(text)
    return load_spec(Path("spec.yaml"), overrides=overrides)


def plan_of(*overrides: str, text: str = TUNED) -> Plan:
    return make_plan(loaded(text, *overrides))


@pytest.mark.parametrize("name", all_presets())
def test_every_preset_makes_a_plan_of_a_spec_that_it_fits(name: str) -> None:
    plan = plan_of(f"space.preset={name}", text=FITTING[name])
    assert set(plan.space.paths) == set(all_presets()[name].space)
    assert plan_facts(plan)["preset"] == name


def test_the_points_of_a_preset_come_first() -> None:
    assert plan_of().start_points() == [dict(point) for point in all_presets()["bert-finetune"].points]  # type: ignore[arg-type]  # points


def test_own_points_replace_those_of_the_preset_and_an_empty_list_is_none() -> None:
    assert plan_of("search.start_from=[{training.num_train_epochs: 2}]").start_points() == [
        {"training.num_train_epochs": 2}
    ]
    assert plan_of("search.start_from=[]").start_points() == []


def test_a_short_search_takes_as_many_points_as_it_has_trials() -> None:
    assert len(plan_of("search.trials=2").start_points()) == 2


def test_an_own_entry_wins_and_points_outside_of_it_are_left_out() -> None:
    plan = plan_of("space.training.learning_rate={log_uniform: [2.5e-5, 4e-5]}")
    rate = next(one.distribution for one in plan.space.parameters if one.path == "training.learning_rate")
    assert (rate.low, rate.high) == (2.5e-5, 4e-5)  # type: ignore[attr-defined]  # a range
    assert [point["training.learning_rate"] for point in plan.start_points()] == [3e-5]


def test_points_that_a_constraint_of_the_spec_forbids_are_left_out() -> None:
    plan = plan_of('constraints=["training.per_device_train_batch_size < 32"]')
    assert [point["training.per_device_train_batch_size"] for point in plan.start_points()] == [16, 16]
    assert list(plan.spec.search.start_from) == plan.start_points()


@pytest.mark.parametrize(
    "override", ["training.num_train_epochs=3", "space.training.num_train_epochs=null",
                 "derive.training.num_train_epochs=1 + 2"],
)  # fmt: skip
def test_what_is_fixed_derived_or_null_does_not_vary(override: str) -> None:
    plan = plan_of(override)
    assert "training.num_train_epochs" not in plan.space.paths
    assert all("training.num_train_epochs" not in point for point in plan.start_points())
    assert plan.start_points()


def test_settings_are_those_of_the_preset_unless_the_spec_has_its_own() -> None:
    training = plan_of("training.weight_decay=0.5").document["training"]
    assert (training["weight_decay"], training["warmup_steps"]) == (0.5, 0.1)


def test_settings_that_go_together_go_together() -> None:
    plan = plan_of("space.preset=gpt-pretrain", "training.lr_scheduler_type=linear", text=FITTING["gpt-pretrain"])
    assert not plan.document["training"].get("lr_scheduler_kwargs")


def test_what_is_recorded_is_what_the_preset_stands_for() -> None:
    spec = loaded(TUNED).spec
    recorded = parse_yaml(to_yaml(resolved_spec(spec)))[0]
    assert "preset" not in recorded["space"]
    assert loaded(to_yaml(resolved_spec(spec))).spec.space == spec.space


def test_a_preset_says_nothing_of_a_space_without_one() -> None:
    text = TUNED.replace("  preset: bert-finetune", "  training.learning_rate: {log_uniform: [1e-5, 1e-4]}")
    plan = plan_of(text=text)
    assert plan.preset is None
    assert plan.start_points() == []


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["space.preset=bert-finetun"], r"no preset `bert-finetun`.*`bert-finetune`"),
        (["space.preset=[bert-finetune]"], "name one"),
        (["space.preset=t5-finetune"], r"for seq2seq_lm, but the task is sequence_classification.*`bert-finetune`"),
        (["model={architecture: bert}"], "pretrained, but the model is `bert` from scratch"),
        (
            ["model={pretrained: ./decoder}"],
            "an encoder such as BERT, pretrained, but pretrained `./decoder` is a gpt2",
        ),
        (["model.adapter.method=lora"], "trains all weights"),
        (["space.preset=lora-finetune", "model.adapter.method=ia3"], "is for `lora`, but the method of .* is `ia3`"),
        (["space.preset=rnn-lm", "task=causal_lm"], "an rnn, lstm or gru, from scratch, but the model is pretrained"),
        (["space.preset=rnn-lm", "task=causal_lm", "model={architecture: gpt2}"], "`gpt2` from scratch is a gpt2"),
    ],
)
def test_a_preset_that_does_not_fit_is_refused_by_name(overrides: list[str], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        loaded(TUNED, *overrides)
    assert str(caught.value).startswith("space.preset: ")


def test_the_error_names_the_line_of_the_preset() -> None:
    with pytest.raises(SpecError) as caught:
        loaded(TUNED.replace("bert-finetune", "bret-finetune"))
    assert caught.value.line == 7


def test_the_command_lists_what_there_is(tunesmith_here: Run) -> None:
    done = tunesmith_here("presets", "--json")
    assert [preset["name"] for preset in json.loads(done.stdout)] == list(all_presets())
    assert all(name in tunesmith_here("presets").stdout for name in all_presets())


def test_what_the_command_explains_can_be_pasted(tunesmith_here: Run) -> None:
    for name in ("lora-finetune", "gpt-pretrain"):
        done = tunesmith_here("presets", name)
        assert done.returncode == 0, done.stderr
        text = done.stdout.partition("what that stands for\n")[2].partition("the published values")[0]
        pasted: dict[str, Any] = parse_yaml(text)[0]
        preset = all_presets()[name]
        assert pasted["space"] == dict(preset.space)
        assert pasted.get("derive", {}) == dict(preset.derive)
        points = preset.points if isinstance(preset.points, str) else [dict(point) for point in preset.points]
        assert pasted["search"]["start_from"] == points


def test_explaining_an_unknown_preset_names_the_nearest(tunesmith_here: Run) -> None:
    done = tunesmith_here("presets", "gpt-pretrian")
    assert done.returncode == 2
    assert "Did you mean `gpt-pretrain`?" in done.stderr

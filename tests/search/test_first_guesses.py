"""`start_from: scaling_laws`: the points are the laws' own, as near as the space can come to them."""

from pathlib import Path

import optuna
import pytest

from search.first_guesses import nearest
from search.load import load_spec
from search.plan import Plan, make_plan
from search.run import _settled_points
from spaces.errors import SpecError
from spaces.parameters import parse_parameter
from spaces.scaling_laws import SCALING_LAWS, Training
from trainables.sizes import num_parameters

CONFIG = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
SPEC = f"""
name: guesses
task: causal_lm
model: {{architecture: llama, config: {CONFIG}}}
data: {{source: {{builtin: stdlib-docs}}, tokenizer: {{train: bpe, vocab_size: 500}}, max_length: 64}}
training: {{max_steps: 1000, per_device_train_batch_size: 16}}
space:
  training.learning_rate: {{log_uniform: [1e-5, 1.0]}}
  training.per_device_train_batch_size: {{choice: [4, 16, 64]}}
search: {{start_from: scaling_laws, trials: 8}}
""".replace("'", "")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plan_of(*overrides: str) -> Plan:
    Path("spec.yaml").write_text(SPEC)
    return make_plan(load_spec(Path("spec.yaml"), overrides=overrides))


def test_a_wide_space_gets_what_each_law_says() -> None:
    training = Training(parameters=num_parameters("llama", CONFIG), tokens=1000 * 16 * 64)
    rates = [point["training.learning_rate"] for point in plan_of().start_points()]
    assert sorted(rates) == pytest.approx(sorted(law.learning_rate(training) for law in SCALING_LAWS))


def test_a_batch_is_the_one_nearest_to_the_law_s_tokens() -> None:
    # Step Law: 0.58 * 1,024,000 ** 0.571 tokens = 1570, which is 25 sequences of 64
    assert plan_of().start_points()[0]["training.per_device_train_batch_size"] == 16
    # the same of 65,536,000 tokens: 16,900, which is 4.1 sequences in each of 64 micro-batches
    accumulated = plan_of("training.gradient_accumulation_steps=64")
    assert accumulated.start_points()[0]["training.per_device_train_batch_size"] == 4


def test_a_rate_outside_of_the_space_becomes_its_end_and_that_is_said() -> None:
    plan = plan_of("space.training.learning_rate={log_uniform: [1e-3, 1e-2]}")
    assert plan.start_points()[0]["training.learning_rate"] == 1e-2
    guesses = plan.first_guesses()
    assert guesses is not None
    assert "which the space does not hold" in guesses[0].words
    assert "extrapolated: fitted on 60M to 1B parameters" in guesses[0].words


def test_a_batch_that_a_constraint_forbids_is_left_to_be_drawn() -> None:
    plan = plan_of('constraints=["training.per_device_train_batch_size < 16"]')
    assert [set(point) for point in plan.start_points()] == [{"training.learning_rate"}] * 3


def test_a_rate_that_a_constraint_forbids_is_no_point() -> None:
    assert len(plan_of('constraints=["training.learning_rate < 0.01"]').start_points()) == 1


def test_a_searched_shape_is_that_of_the_guess() -> None:
    plan = plan_of("space.model.config.num_hidden_layers={int: [1, 4]}")
    assert {point["model.config.num_hidden_layers"] for point in plan.start_points()} == {2}


def test_without_prepared_data_epochs_have_no_tokens_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "empty"))
    plan = plan_of("training.max_steps=-1")
    assert plan.first_guesses() is None
    with pytest.raises(SpecError, match=r"search.start_from: how many tokens"):
        plan.start_points()


def test_points_are_settled_once_whatever_is_known_later() -> None:
    study = optuna.create_study()
    first = _settled_points(plan_of(), study)
    assert first == plan_of().start_points()
    assert _settled_points(plan_of("training.max_steps=10"), study) == first


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model={architecture: lstm}"], "counted for gpt2, llama, mistral, qwen2, but the architecture is `lstm`"),
        (["space={training.warmup_steps: {choice: [0, 0.1]}}"], "`training.learning_rate`, which is not searched"),
        (["task=masked_lm", "model={architecture: bert}"], "`task: causal_lm`"),
    ],
)
def test_what_no_law_speaks_of_is_refused(overrides: list[str], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        plan_of(*overrides)
    assert caught.value.path == "search.start_from"


def test_another_word_is_refused() -> None:
    with pytest.raises(SpecError, match=r"search.start_from: expected .*`scaling_laws`"):
        plan_of("search.start_from=scaling_law")


@pytest.mark.parametrize(
    ("entry", "value", "found"),
    [
        ({"choice": [4, 16, 64]}, 30.0, 16),
        ({"choice": [4, 16, 64]}, 33.0, 64),
        ({"log_int": [2, 64]}, 500.0, 64),
        ({"int": [8, 64], "step": 8}, 30.0, 32),
        ({"log_uniform": [1e-4, 1e-1], "num": 4}, 3e-2, 1e-1),
        ({"normal": [0.1, 0.05]}, 0.2, 0.2),
    ],
)
def test_the_nearest_value_of_a_distribution(entry: dict[str, object], value: float, found: float) -> None:
    assert nearest(parse_parameter("training.x", entry).distribution, value) == pytest.approx(found)

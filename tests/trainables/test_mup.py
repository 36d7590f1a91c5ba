"""muP: at the base nothing changes, activations do not grow with width, and a checkpoint is a plain model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_trials import Document, labelled, prose, run, weights

from spaces.errors import SpecError
from trainables.checks import check_trial
from trainables.config import TrialConfig
from trainables.models import build_model
from trainables.mup import split_by_width
from trainables.preparation import prepare
from trainables.tasks.registry import TASKS
from trainables.trial import parse_document

BASES = {
    "gpt2": {"n_embd": 32, "n_head": 2},
    "bert": {"hidden_size": 32, "intermediate_size": 64},
    "llama": {"hidden_size": 32, "intermediate_size": 64},
}


def shaped(architecture: str, width: int) -> Document:
    """A model of two blocks. The heads of a GPT-2 grow in number, those of the others in width."""
    if architecture == "gpt2":
        dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        return {"n_embd": width, "n_layer": 2, "n_head": width // 16} | dropouts
    shape = {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 2 * width}
    if architecture == "bert":
        return shape | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return shape | {"num_key_value_heads": 2}


def trial_of(folder: Path, architecture: str, width: int, scheme: str = "mup", **training: Any) -> Document:
    document = prose(folder, architecture=architecture, config=shaped(architecture, width), **training)
    document["task"] = "masked_lm" if architecture == "bert" else "causal_lm"
    document["model"]["parametrization"] = {"scheme": scheme, "base": BASES[architecture]}
    return document


def built(document: Document) -> tuple[Any, torch.Tensor]:
    """The model of a trial, and eight of its examples."""
    trial = parse_document(document)
    data = prepare(trial.task, trial.model, trial.data)
    transformers.set_seed(0)
    model = build_model(TASKS[trial.task], trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer)
    return model, torch.tensor([data.train[index]["input_ids"] for index in range(8)])


def change_of_logits(document: Document, *, steps: int = 4) -> float:
    """How far logits move in a few steps of Adam, in the mean."""
    model, tokens = built(document)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0)
    split_by_width(optimizer, model)
    with torch.no_grad():
        before = model(input_ids=tokens).logits
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float((model(input_ids=tokens).logits - before).abs().mean())


@pytest.mark.parametrize("architecture", BASES)
def test_what_a_step_does_to_logits_does_not_grow_with_width(tmp_path: Path, architecture: str) -> None:
    narrow, wide = (change_of_logits(trial_of(tmp_path, architecture, width)) for width in (32, 256))
    assert 0.7 < wide / narrow < 1.4


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_without_mup_it_does_grow(tmp_path: Path, architecture: str) -> None:
    narrow, wide = (change_of_logits(trial_of(tmp_path, architecture, width, "standard")) for width in (32, 256))
    assert wide / narrow > 3


@pytest.mark.parametrize("architecture", BASES)
def test_at_the_base_a_trial_is_the_standard_one_bit_for_bit(tmp_path: Path, architecture: str) -> None:
    ran = {
        scheme: run(trial_of(tmp_path, architecture, 32, scheme, max_steps=3), tmp_path / scheme)
        for scheme in ("standard", "mup")
    }
    assert weights(ran["mup"]) == weights(ran["standard"])
    assert ran["mup"].metrics == ran["standard"].metrics


def test_two_trials_in_one_process_are_what_each_is_alone(tmp_path: Path) -> None:
    first = run(trial_of(tmp_path, "llama", 64, max_steps=3), tmp_path / "first")
    run(trial_of(tmp_path, "gpt2", 64, max_steps=2))
    again = run(trial_of(tmp_path, "llama", 64, max_steps=3), tmp_path / "again")
    assert weights(again) == weights(first)


def test_a_resumed_trial_goes_on_with_the_same_rates(tmp_path: Path) -> None:
    document = trial_of(tmp_path, "llama", 64, num_train_epochs=2)
    whole = run(document, tmp_path / "whole")
    run(document, tmp_path / "halves", stop_after=1)
    assert weights(run(document, tmp_path / "halves")) == weights(whole)


@pytest.mark.parametrize("architecture", BASES)
def test_a_checkpoint_is_a_plain_model_with_the_same_answers(tmp_path: Path, architecture: str) -> None:
    model, tokens = built(trial_of(tmp_path, architecture, 64))
    model.save_pretrained(tmp_path / "saved")
    loaded = type(model).from_pretrained(tmp_path / "saved")
    assert torch.equal(loaded(input_ids=tokens).logits, model.eval()(input_ids=tokens).logits)


# Factors of a model that is four times as wide as its base: (initial values, learning rate).
FACTORS = {
    "embeddings": ("llama", "model.embed_tokens.weight", 1, 1),
    "a matrix within": ("llama", "model.layers.0.mlp.up_proj.weight", 1 / 2, 1 / 4),
    "a norm": ("llama", "model.layers.0.input_layernorm.weight", 1, 1),
    "queries": ("llama", "model.layers.0.self_attn.q_proj.weight", 1 / 4, 1 / 8),
    "keys": ("llama", "model.layers.0.self_attn.k_proj.weight", 1 / 2, 1 / 4),
    "an output of its own": ("llama", "lm_head.weight", 1 / 4, 1 / 4),
    "the norm below a tied output": ("gpt2", "transformer.ln_f.weight", 1 / 4, 1 / 4),
    "tied embeddings": ("gpt2", "transformer.wte.weight", 1, 1),
    "Conv1D": ("gpt2", "transformer.h.0.mlp.c_fc.weight", 1 / 2, 1 / 4),
    "queries' biases": ("bert", "bert.encoder.layer.0.attention.self.query.bias", 1 / 2, 1 / 2),
}  # fmt: skip


@pytest.mark.parametrize(("architecture", "name", "start", "rate"), FACTORS.values(), ids=FACTORS)
def test_each_kind_of_weight_has_its_factors(
    tmp_path: Path, architecture: str, name: str, start: float, rate: float
) -> None:
    fresh = dict(built(trial_of(tmp_path, architecture, 128, "standard"))[0].named_parameters())
    model = built(trial_of(tmp_path, architecture, 128))[0]
    parameter = model.get_parameter(name)
    assert torch.allclose(parameter, start * fresh[name])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.1)
    split_by_width(optimizer, model)
    group = next(group for group in optimizer.param_groups if any(one is parameter for one in group["params"]))
    assert group["lr"] == pytest.approx(rate)
    assert group["lr"] * group["weight_decay"] == pytest.approx(0.1)


def test_the_rate_that_is_logged_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    ran = run(trial_of(tmp_path, "llama", 64, max_steps=2, logging_steps=1, lr_scheduler_type="constant"))
    assert {row["train/learning_rate"] for row in ran.rows if "train/learning_rate" in row} == {0.01}


def test_a_classifier_has_it_too(tmp_path: Path) -> None:
    document = labelled(tmp_path, config=shaped("bert", 64), max_steps=2)
    document["model"]["parametrization"] = {"scheme": "mup", "base": BASES["bert"]}
    assert run(document).failure is None


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"architecture": "opt", "config": {}}, "model.parametrization.scheme", "known for bert, gpt2, llama"),
        ({"architecture": "lstm", "config": {}}, "model.parametrization.scheme", "the architecture is `lstm`"),
        ({"parametrization": {"scheme": "mup", "base": {"hiden_size": 32}}}, "model.parametrization.base.hiden_size",
         "Did you mean `hidden_size`"),
        ({"parametrization": {"scheme": "mup", "base": {"num_hidden_layers": 1}}},
         "model.parametrization.base.num_hidden_layers", "differs in widths alone"),
        ({"parametrization": {"scheme": "mup", "base": {"hidden_size": 30}}}, "model.parametrization.base",
         "multiple of its number of heads, but got 30 and 4"),
        ({"architecture": "gpt2", "config": {"n_embd": 64, "n_head": 2},
          "parametrization": {"scheme": "mup", "base": {"n_embd": 32}}}, "model.parametrization.base",
         "16 wide and the model's 32"),
        ({"initialization": "he"}, "model.initialization.scheme", "`he` has its own rule"),
        ({"layer_decay": 0.9}, "model.layer_decay", "by itself"),
    ],
)  # fmt: skip
def test_what_mup_cannot_do_is_refused(tmp_path: Path, changes: Document, path: str, says: str) -> None:
    document = trial_of(tmp_path, "llama", 64)
    document["model"] |= changes
    with pytest.raises(SpecError, match=says) as caught:
        check_trial(TrialConfig.model_validate(document))
    assert caught.value.path == path


@pytest.mark.parametrize("training", [{"optim": "sgd"}, {"optim": "adafactor"}, {"optim": "rmsprop"}])
def test_an_optimizer_that_is_not_adam_is_refused(tmp_path: Path, training: Document) -> None:
    with pytest.raises(SpecError, match="those of Adam and its kin") as caught:
        check_trial(TrialConfig.model_validate(trial_of(tmp_path, "llama", 64, **training)))
    assert caught.value.path == "training.optim"


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"architecture": "llama", "parametrization": "mup"}, "needs the widths of the model"),
        ({"pretrained": "./x", "parametrization": {"scheme": "mup", "base": {"hidden_size": 32}}}, "brings its own"),
    ],
)
def test_mup_needs_a_base_and_a_model_from_scratch(tmp_path: Path, model: Document, says: str) -> None:
    document = trial_of(tmp_path, "llama", 64) | {"model": model}
    with pytest.raises(ValueError, match=says):
        TrialConfig.model_validate(json.loads(json.dumps(document)))

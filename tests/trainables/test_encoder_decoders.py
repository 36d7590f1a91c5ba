"""Encoder-decoder models: what layer k means to freezing, unfreezing, rates and initial weights; resumed exactly."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrained_trials import built, prepared, pretrained
from tiny_trials import Document, labelled, pairs, run, tagged, weights

from spaces.errors import SpecError
from spaces.reports import TrialReport
from trainables.checks import check_trial
from trainables.config import TrialConfig
from trainables.layers import block_stacks, layers_of
from trainables.memory import Batches
from trainables.training import TrialLog, TrialTrainer, build_trainer

# Two blocks in the encoder, three in the decoder: no mistake about their order goes unseen.
T5 = {"d_model": 16, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 2, "d_kv": 8, "d_ff": 32}
BART = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "init_std": 0.1,
}  # fmt: skip
SHAPES = {"t5": T5, "bart": BART, "mbart": BART, "marian": BART, "pegasus": BART}
ENCODER, DECODER = {1, 2}, {3, 4, 5}


def summarizer(
    folder: Path, architecture: str = "t5", *, model: Document | None = None, config: Document | None = None,
    **training: Any,
) -> Document:  # fmt: skip
    """A small pretrained encoder-decoder on the colours of `pairs`, nothing generated."""
    document = pairs(folder, architecture=architecture, config=SHAPES[architecture] | (config or {}), **training)
    document["data"]["generate"] = 0
    return pretrained(document, folder / "base", model=model)


def training_depths(model: Any) -> set[int]:
    depths = layers_of(model).depths
    return {depths[name] for name, weight in model.named_parameters() if weight.requires_grad}


def trainer_of(document: Document, folder: Path) -> TrialTrainer:
    trial, data = prepared(document)

    def ignore(_: TrialReport) -> None: ...

    log = TrialLog(batches=Batches.of(trial.training))
    return build_trainer(trial, data, ignore, log=log, directory=None, output=folder, resume_from=None)


# --- depths ----------------------------------------------------------------------------------------------

DEPTHS = {
    "t5": {"shared.weight": 0, "encoder.block.1.layer.1.DenseReluDense.wo.weight": 2,
           "encoder.final_layer_norm.weight": 2, "decoder.block.0.layer.1.EncDecAttention.q.weight": 3,
           "decoder.block.2.layer.0.SelfAttention.o.weight": 5, "decoder.final_layer_norm.weight": 6},
    "bart": {"model.shared.weight": 0, "model.decoder.embed_positions.weight": 0,
             "model.encoder.layers.0.fc1.weight": 1,
             "model.decoder.layernorm_embedding.weight": 0, "model.decoder.layers.0.encoder_attn.k_proj.weight": 3},
    "mbart": {"model.encoder.layer_norm.weight": 2, "model.decoder.layer_norm.weight": 6},
    "marian": {"model.encoder.layers.1.fc2.weight": 2, "model.decoder.layers.2.fc2.weight": 5},
    "pegasus": {"model.encoder.layer_norm.bias": 2, "model.decoder.layers.1.fc2.weight": 4},
}  # fmt: skip


@pytest.mark.parametrize("architecture", DEPTHS)
def test_the_blocks_of_the_decoder_lie_above_those_of_the_encoder(tmp_path: Path, architecture: str) -> None:
    layers = layers_of(built(summarizer(tmp_path, architecture)))
    assert layers.num_blocks == 5
    assert {name: layers.depths[name] for name in DEPTHS[architecture]} == DEPTHS[architecture]


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_a_classifier_has_the_same_depths_below_its_head(tmp_path: Path, architecture: str) -> None:
    document = labelled(tmp_path, architecture=architecture, config=SHAPES[architecture])
    layers = layers_of(built(document))
    heads = {name.partition(".")[0] for name, depth in layers.depths.items() if depth == layers.top}
    assert layers.num_blocks == 5
    assert "classification_head" in heads


def test_an_encoder_that_labels_tokens_has_the_depths_of_one_stack(tmp_path: Path) -> None:
    document = tagged(tmp_path)
    document["model"] = {"architecture": "t5", "config": T5}
    assert layers_of(built(document)).num_blocks == 2


def test_an_adapter_in_a_decoder_has_the_depth_of_its_block(tmp_path: Path) -> None:
    depths = layers_of(built(summarizer(tmp_path, model={"adapter": {"r": 2}}))).depths
    assert {depth for name, depth in depths.items() if "decoder.block.1." in name and "lora" in name} == {4}
    assert {depth for name, depth in depths.items() if "lora" in name} == ENCODER | DECODER


# --- freezing and unfreezing -----------------------------------------------------------------------------

FROZEN = {
    "embeddings": ("t5", {"embeddings": True}, ENCODER | DECODER | {6}),
    "the encoder": ("t5", {"layers": 2}, {0} | DECODER | {6}),
    "the encoder of bart": ("bart", {"layers": 2, "embeddings": True}, DECODER),
    "a block of the decoder too": ("mbart", {"layers": 3}, {0, 4, 5, 6}),
    "all blocks": ("marian", {"layers": 5}, {0}),
    "all but a tied head": ("t5", {"all_but_head": True}, {0}),
    "all but a tied head of bart": ("bart", {"all_but_head": True}, {0}),
}


@pytest.mark.parametrize(("architecture", "freeze", "trains"), FROZEN.values(), ids=FROZEN)
def test_what_is_not_frozen_trains(tmp_path: Path, architecture: str, freeze: Document, trains: set[int]) -> None:
    assert training_depths(built(summarizer(tmp_path, architecture, model={"freeze": freeze}))) == trains


def test_the_head_of_its_own_is_all_that_trains(tmp_path: Path) -> None:
    own = {"tie_word_embeddings": False}
    model = built(summarizer(tmp_path, "bart", config=own, model={"freeze": {"all_but_head": True}}))
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == ["lm_head.weight"]


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_a_frozen_encoder_does_not_change_and_the_decoder_learns(tmp_path: Path, architecture: str) -> None:
    document = summarizer(tmp_path, architecture, model={"freeze": {"embeddings": True, "layers": 2}})
    before = {name: weight.detach().flatten().tolist() for name, weight in built(document).named_parameters()}
    ran = run(document, tmp_path / "trial")
    changed = {name for name, values in weights(ran).items() if name in before and values != before[name]}
    assert changed
    assert not [name for name in changed if "encoder." in name]
    assert ran.metrics[-1]["eval/loss"] < ran.metrics[0]["eval/loss"]


# T5 has a norm above its blocks; the head of BART is its embeddings, so its topmost block trains at once.
STAGES = {"t5": [{6}, {5, 6}, {4, 5, 6}, {3, 4, 5, 6}, {2, 3, 4, 5, 6}],
          "bart": [{5}, {5}, {4, 5}, {3, 4, 5}, {2, 3, 4, 5}]}  # fmt: skip


@pytest.mark.parametrize("architecture", STAGES)
def test_the_decoder_joins_before_the_encoder(tmp_path: Path, architecture: str) -> None:
    from transformers import TrainerCallback

    stages: list[set[int]] = []

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, model: Any = None, **__: Any) -> None:
            stages.append(training_depths(model))

    document = summarizer(tmp_path, architecture, model={"unfreeze": {"unit": "steps", "every": 1}}, max_steps=5)
    trainer = trainer_of(document, tmp_path / "out")
    trainer.add_callback(Watch())
    trainer.train()
    assert stages == STAGES[architecture]


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_the_rate_falls_from_the_head_through_the_decoder_to_the_encoder(tmp_path: Path, architecture: str) -> None:
    document = summarizer(tmp_path, architecture, model={"layer_decay": 0.5}, learning_rate=0.64)
    trainer = trainer_of(document, tmp_path / "out")
    optimizer = trainer.create_optimizer()
    layers = layers_of(trainer.model)
    depths = {id(weight): layers.depths[name] for name, weight in trainer.model.named_parameters()}
    for group in optimizer.param_groups:
        (depth,) = {depths[id(weight)] for weight in group["params"]}
        assert group["lr"] == pytest.approx(0.64 * 0.5 ** (6 - depth))


# --- resume ----------------------------------------------------------------------------------------------

RESUMED = {
    "frozen encoder": {"freeze": {"layers": 2}},
    "unfreezing": {"unfreeze": {"unit": "steps", "every": 2}},
    "rates by layer": {"layer_decay": 0.7},
    "rates of an adapter": {"adapter": {"r": 2}, "layer_decay": 0.7},
}


@pytest.mark.parametrize("architecture", ["t5", "bart"])
@pytest.mark.parametrize("model", RESUMED.values(), ids=RESUMED)
@pytest.mark.quick("frozen encoder-t5", "rates of an adapter-bart", "unfreezing-t5")
def test_a_resumed_trial_equals_an_uninterrupted_one(tmp_path: Path, architecture: str, model: Document) -> None:
    steps = {"eval_strategy": "steps", "eval_steps": 3, "max_steps": 9}
    document = summarizer(tmp_path, architecture, model=model, **steps)
    whole = run(document, tmp_path / "whole")
    run(document, tmp_path / "resumed", stop_after=2)
    resumed = run(document, tmp_path / "resumed")
    assert resumed.metrics == whole.metrics[1:]
    assert weights(resumed) == weights(whole)


# --- initial weights -------------------------------------------------------------------------------------

WIDE = {"t5": T5 | {"d_model": 128, "d_kv": 64, "d_ff": 256},
        "bart": BART | {"d_model": 128, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256}}  # fmt: skip
# An encoder's block adds to its stream twice, a decoder's three times.
SPREADS = {
    "attention of the encoder": ("t5", "encoder.block.0.layer.0.SelfAttention.o.weight", 0.02 / math.sqrt(2 * 2)),
    "feed-forward of the encoder": ("t5", "encoder.block.1.layer.1.DenseReluDense.wo.weight", 0.02 / math.sqrt(2 * 2)),
    "attention of the decoder": ("t5", "decoder.block.0.layer.0.SelfAttention.o.weight", 0.02 / math.sqrt(3 * 3)),
    "attention to the encoder": ("t5", "decoder.block.2.layer.1.EncDecAttention.o.weight", 0.02 / math.sqrt(3 * 3)),
    "others": ("t5", "decoder.block.0.layer.1.EncDecAttention.q.weight", 0.02),
    "embeddings": ("t5", "shared.weight", 0.02),
    "encoder of bart": ("bart", "model.encoder.layers.0.fc2.weight", 0.02 / math.sqrt(2 * 2)),
    "decoder of bart": ("bart", "model.decoder.layers.0.encoder_attn.out_proj.weight", 0.02 / math.sqrt(3 * 3)),
}


@pytest.mark.parametrize(("architecture", "name", "std"), SPREADS.values(), ids=SPREADS)
def test_each_stack_is_scaled_by_what_is_added_to_its_own_stream(
    tmp_path: Path, architecture: str, name: str, std: float
) -> None:
    document = pairs(tmp_path, architecture=architecture, config=WIDE[architecture])
    document["model"]["initialization"] = "scaled"
    check_trial(TrialConfig.model_validate(document))
    weight = dict(built(document).named_parameters())[name]
    assert float(weight.std()) == pytest.approx(std, rel=0.05)


def test_positions_that_are_sines_stay_sines(tmp_path: Path) -> None:
    drawn = []
    for scheme in ("default", "scaled"):
        document = pairs(tmp_path, architecture="marian", config=BART)
        document["model"]["initialization"] = scheme
        drawn.append(built(document).model.encoder.embed_positions.weight)
    assert torch.equal(*drawn)


def test_both_stacks_are_found_whatever_the_tie_of_sizes(tmp_path: Path) -> None:
    config = T5 | {"num_layers": 1, "num_decoder_layers": 1}
    stacks = block_stacks(built(pairs(tmp_path, architecture="t5", config=config)))
    assert [(len(stack.blocks), stack.reads_other) for stack in stacks] == [(1, False), (1, True)]


# --- refused before the start ----------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_more_layers_than_both_stacks_have_are_refused(tmp_path: Path, architecture: str) -> None:
    check_trial(TrialConfig.model_validate(summarizer(tmp_path, architecture, model={"freeze": {"layers": 5}})))
    document = summarizer(tmp_path, architecture, model={"freeze": {"layers": 6}})
    with pytest.raises(SpecError, match="has 5 layers, but 6 are to be frozen"):
        check_trial(TrialConfig.model_validate(document))


def test_the_encoder_alone_has_its_own_layers(tmp_path: Path) -> None:
    summarizer(tmp_path)
    document = tagged(tmp_path)
    document["model"] = {"pretrained": str(tmp_path / "base"), "freeze": {"layers": 3}}
    del document["data"]["tokenizer"]
    with pytest.raises(SpecError, match="has 2 layers, but 3 are to be frozen"):
        check_trial(TrialConfig.model_validate(document))


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_a_decoder_that_is_deeper_than_its_encoder_generates(tmp_path: Path, architecture: str) -> None:
    ran = run(pairs(tmp_path, architecture=architecture, config=SHAPES[architecture], max_steps=1))
    assert ran.failure is None
    assert "eval/rougeL" in ran.metrics[-1]

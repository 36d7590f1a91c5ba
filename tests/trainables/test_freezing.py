"""What trains, when, and how fast: freezing, gradual unfreezing, learning rates by layer; all of it resumed exactly."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_trials import TINY_GPT2, TINY_RECURRENT, Document, labelled, prose, run, tuned, weights
from transformers import TrainerCallback

from spaces.errors import SpecError
from spaces.reports import TrialReport
from trainables.checks import check_trial
from trainables.config import TrialConfig
from trainables.freezing import lowest_depth
from trainables.layers import layers_of
from trainables.memory import Batches
from trainables.model_sections import UnfreezeConfig
from trainables.models import build_model
from trainables.preparation import prepare
from trainables.tasks.registry import TASKS
from trainables.trainer import TrialTrainer
from trainables.training import build_trainer
from trainables.trial_log import TrialLog

STEPS = {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 12}


def built(document: Document) -> Any:
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)
    return build_model(TASKS[trial.task], trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer)


def trainer_of(document: Document, folder: Path) -> TrialTrainer:
    """A trainer whose reports go nowhere."""
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)

    def ignore(_: TrialReport) -> None: ...

    log = TrialLog(batches=Batches.of(trial.training))
    return build_trainer(trial, data, ignore, log=log, directory=None, output=folder, resume_from=None)


def training_parts(model: Any) -> set[str]:
    """Parts that train: `embeddings`, `0` for the first block, `head`."""
    layers = layers_of(model)
    names = {0: "embeddings", layers.top: "head"} | {depth: str(depth - 1) for depth in range(1, layers.top)}
    return {names[layers.depths[name]] for name, weight in model.named_parameters() if weight.requires_grad}


# --- depths ----------------------------------------------------------------------------------------------


def depths(model: Any) -> dict[str, int]:
    return layers_of(model).depths


DEPTHS: dict[str, tuple[Callable[..., Document], dict[str, Any], dict[str, int]]] = {
    "bert": (labelled, {}, {"bert.embeddings.LayerNorm.weight": 0, "bert.pooler.dense.weight": 2,
                            "classifier.weight": 2, "bert.encoder.layer.0.output.dense.weight": 1}),
    "gpt2": (prose, {}, {"transformer.wpe.weight": 0, "transformer.wte.weight": 0, "transformer.ln_f.weight": 2,
                         "transformer.h.0.mlp.c_fc.weight": 1}),
    "lstm": (prose, {"architecture": "lstm", "config": TINY_RECURRENT},
             {"body.embeddings.weight": 0, "body.layers.0.weight_hh_l0": 1, "body.layers.1.weight_hh_l0": 2}),
}  # fmt: skip


@pytest.mark.parametrize(("make", "arguments", "expected"), DEPTHS.values(), ids=DEPTHS)
def test_each_weight_has_its_depth(
    tmp_path: Path, make: Callable[..., Document], arguments: dict[str, Any], expected: dict[str, int]
) -> None:
    found = depths(built(make(tmp_path, **arguments)))
    assert {name: found[name] for name in expected} == expected
    assert set(found.values()) == set(range(max(found.values()) + 1))


def test_an_adapter_has_the_depth_of_the_layer_it_adapts(tmp_path: Path) -> None:
    found = depths(built(tuned(tmp_path, model={"adapter": {"r": 2}})))
    assert {depth for name, depth in found.items() if "layer.1." in name and "lora" in name} == {2}
    assert {depth for name, depth in found.items() if "classifier" in name} == {4}


# --- freezing --------------------------------------------------------------------------------------------

FROZEN = {
    "embeddings": ({"embeddings": True}, {"0", "1", "2", "head"}),
    "layers": ({"layers": 2}, {"embeddings", "2", "head"}),
    "both": ({"embeddings": True, "layers": 3}, {"head"}),
    "all but the head": ({"all_but_head": True}, {"head"}),
}


@pytest.mark.parametrize(("freeze", "trains"), FROZEN.values(), ids=FROZEN)
def test_what_is_not_frozen_trains(tmp_path: Path, freeze: Document, trains: set[str]) -> None:
    assert training_parts(built(tuned(tmp_path, model={"freeze": freeze}))) == trains


def test_all_but_the_head_leaves_the_pooler_of_the_checkpoint_frozen(tmp_path: Path) -> None:
    model = built(tuned(tmp_path, model={"freeze": {"all_but_head": True}}))
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == {
        "classifier.weight", "classifier.bias",
    }  # fmt: skip


def test_a_pooler_that_no_checkpoint_brought_is_part_of_the_head(tmp_path: Path) -> None:
    document = tuned(tmp_path, model={"freeze": {"all_but_head": True}})
    base = str(tmp_path / "base")
    transformers.BertModel.from_pretrained(base, add_pooling_layer=False).save_pretrained(base)
    assert built(document).bert.pooler.dense.weight.requires_grad


@pytest.mark.parametrize("is_tied", [True, False])
def test_the_head_of_a_language_model_is_its_output_layer(tmp_path: Path, is_tied: bool) -> None:
    config = TINY_GPT2 | {"tie_word_embeddings": is_tied}
    first = run(prose(tmp_path, config=config, max_steps=1), tmp_path / "first").reports[-1].checkpoint
    document = prose(tmp_path)
    document["model"] = {"pretrained": first, "freeze": {"all_but_head": True}}
    del document["data"]["tokenizer"]
    training = {name for name, weight in built(document).named_parameters() if weight.requires_grad}
    assert training == {"transformer.wte.weight" if is_tied else "lm_head.weight"}


def test_a_frozen_head_only_trial_learns(tmp_path: Path) -> None:
    losses = [
        metrics["eval/loss"] for metrics in run(tuned(tmp_path, model={"freeze": {"all_but_head": True}})).metrics
    ]
    assert losses[-1] < losses[0]


# --- gradual unfreezing ----------------------------------------------------------------------------------

SCHEDULES = {
    "one after another": (UnfreezeConfig(), [(0, 4), (0.9, 4), (1.0, 3), (2.5, 2), (3, 1), (4, 0), (9, 0)]),
    "two at a time": (UnfreezeConfig(blocks=2), [(0, 4), (1, 2), (2, 1), (3, 0)]),
    "all blocks at once": (UnfreezeConfig(blocks=9), [(0, 4), (1, 1), (2, 0)]),
    "steps": (UnfreezeConfig(unit="steps", every=10), [(9, 4), (10, 3), (39, 1), (40, 0)]),
    "part of an epoch": (UnfreezeConfig(every=0.1), [(0.3 - 1e-9, 1), (0.29, 2)]),
}


@pytest.mark.parametrize(("config", "expected"), SCHEDULES.values(), ids=SCHEDULES)
def test_blocks_join_from_the_top_and_the_embeddings_last(
    config: UnfreezeConfig, expected: list[tuple[float, int]]
) -> None:
    assert [(done, lowest_depth(done, config, num_blocks=3)) for done, _ in expected] == expected


class Watch(TrainerCallback):
    """Notes what trains at each step."""

    def __init__(self) -> None:
        self.parts: list[set[str]] = []

    def on_pre_optimizer_step(self, *_: Any, model: Any = None, **__: Any) -> None:
        self.parts.append(training_parts(model))


def test_a_block_trains_from_its_turn_on(tmp_path: Path) -> None:
    document = tuned(tmp_path, model={"unfreeze": {"unit": "steps", "every": 2}}, max_steps=9)
    trainer, watch = trainer_of(document, tmp_path / "out"), Watch()
    trainer.add_callback(watch)
    trainer.train()
    stages = [{"head"}, {"head", "2"}, {"head", "1", "2"}, {"head", "0", "1", "2"},
              {"head", "0", "1", "2", "embeddings"}]  # fmt: skip
    assert watch.parts == [stages[step // 2] for step in range(9)]


def test_a_block_changes_from_its_turn_on_and_not_before(tmp_path: Path) -> None:
    model = {"unfreeze": {"unit": "epochs", "every": 1}}
    start = {name: weight.tolist() for name, weight in tensors(built(tuned(tmp_path, model=model)))}
    after: list[dict[str, list[float]]] = []

    def keep(report: TrialReport) -> None:
        after.append({name: weight.tolist() for name, weight in saved(report)})

    run(tuned(tmp_path, model=model, num_train_epochs=3), tmp_path / "trial", on_report=keep)
    watched = "bert.encoder.layer.1.attention.self.query.weight"  # it joins after the second epoch
    assert [weights_then[watched] == start[watched] for weights_then in after] == [True, True, False]


def tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, weight.detach().flatten()) for name, weight in model.named_parameters())


def saved(report: TrialReport) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors.torch import load_file

    values = load_file(Path(str(report.checkpoint)) / "model.safetensors")
    return ((name, value.flatten()) for name, value in values.items())


def test_what_is_frozen_for_good_never_joins(tmp_path: Path) -> None:
    model = {"freeze": {"embeddings": True, "layers": 1}, "unfreeze": {"unit": "steps", "every": 1}}
    trainer, watch = trainer_of(tuned(tmp_path, model=model, max_steps=7), tmp_path / "out"), Watch()
    trainer.add_callback(watch)
    trainer.train()
    assert watch.parts[0] == {"head"}
    assert watch.parts[-1] == {"head", "1", "2"}


# --- learning rates by layer -----------------------------------------------------------------------------


def rates(document: Document, folder: Path) -> dict[str, float]:
    trainer = trainer_of(document, folder)
    optimizer = trainer.create_optimizer()
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    return {names[id(weight)]: group["lr"] for group in optimizer.param_groups for weight in group["params"]}


def test_the_rate_falls_by_the_factor_from_layer_to_layer(tmp_path: Path) -> None:
    document = tuned(tmp_path, model={"layer_decay": 0.5}, learning_rate=0.16)
    found = rates(document, tmp_path / "out")
    layers = layers_of(built(document))
    assert layers.top == 4
    assert found == {name: pytest.approx(0.16 * 0.5 ** (4 - depth)) for name, depth in layers.depths.items()}


def test_weight_decay_spares_the_same_weights_as_before(tmp_path: Path) -> None:
    def decaying(decay: float) -> set[str]:
        trainer = trainer_of(tuned(tmp_path, model={"layer_decay": decay}, weight_decay=0.1), tmp_path / "out")
        names = {id(weight): name for name, weight in trainer.model.named_parameters()}
        groups = trainer.create_optimizer().param_groups
        return {names[id(weight)] for group in groups if group["weight_decay"] for weight in group["params"]}

    assert decaying(0.5) == decaying(1.0) != set()


def test_the_rate_that_is_logged_is_that_of_the_spec(tmp_path: Path) -> None:
    model = {"layer_decay": 0.5}
    ran = run(tuned(tmp_path, model=model, learning_rate=0.01, lr_scheduler_type="constant", max_steps=1))
    assert [row["train/learning_rate"] for row in ran.rows if "train/learning_rate" in row] == [0.01]


def test_a_schedule_scales_all_rates_alike(tmp_path: Path) -> None:
    document = tuned(tmp_path, model={"layer_decay": 0.5}, learning_rate=0.16, lr_scheduler_type="linear", max_steps=4)
    trainer = trainer_of(document, tmp_path / "out")
    trainer.create_optimizer_and_scheduler(num_training_steps=4)
    for _ in range(2):
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert {round(group["lr"], 6) for group in trainer.optimizer.param_groups} == {0.08, 0.04, 0.02, 0.01, 0.005}


def test_a_factor_of_one_is_plain_training(tmp_path: Path) -> None:
    one = run(tuned(tmp_path, model={"layer_decay": 1.0}, max_steps=4))
    plain = run(tuned(tmp_path, max_steps=4))
    assert one.rows == plain.rows
    assert run(tuned(tmp_path, model={"layer_decay": 0.3}, max_steps=4)).rows != plain.rows


# --- resume ----------------------------------------------------------------------------------------------

RESUMED = {
    "frozen": {"freeze": {"embeddings": True, "layers": 1}},
    "head only": {"freeze": {"all_but_head": True}},
    "unfreezing by steps": {"unfreeze": {"unit": "steps", "every": 3}},
    "unfreezing by epochs": {"unfreeze": {"unit": "epochs", "every": 0.4}},
    "rates by layer": {"layer_decay": 0.7},
    "all together": {"freeze": {"embeddings": True}, "unfreeze": {"unit": "steps", "every": 2}, "layer_decay": 0.7},
    "rates of an adapter": {"adapter": {"r": 2}, "layer_decay": 0.7},
}


@pytest.mark.parametrize("stopped_at", [1, 3])
@pytest.mark.parametrize("model", RESUMED.values(), ids=RESUMED)
@pytest.mark.quick(
    "all together-3", "frozen-1", "rates of an adapter-1", "unfreezing by epochs-3", "unfreezing by steps-1"
)
def test_a_resumed_trial_equals_an_uninterrupted_one(tmp_path: Path, model: Document, stopped_at: int) -> None:
    document = tuned(tmp_path, model=model, **STEPS)
    whole = run(document, tmp_path / "whole")
    run(document, tmp_path / "resumed", stop_after=stopped_at)
    resumed = run(document, tmp_path / "resumed")
    assert resumed.metrics == whole.metrics[stopped_at - 1 :]
    assert weights(resumed) == weights(whole)


# --- refused before the start ----------------------------------------------------------------------------

REFUSED = {
    "both kinds of freezing": ({"freeze": {"all_but_head": True, "layers": 1}}, {}, "leave the others out"),
    "never unfrozen": ({"freeze": {"all_but_head": True}, "unfreeze": {}}, {}, "nothing would ever be unfrozen"),
    "freezing below an adapter": ({"adapter": {}, "freeze": {"layers": 1}}, {}, "leaves all weights of the model"),
    "unfreezing below an adapter": ({"adapter": {}, "unfreeze": {}}, {}, "do not go together"),
    "too many layers": ({"freeze": {"layers": 4}}, {}, "has 3 layers, but 4"),
    "fused optimizer": ({"layer_decay": 0.5}, {"optim": "lomo"}, "the same learning rate"),
    "rates of prompts": ({"adapter": {"method": "prompt_tuning", "virtual_tokens": 2}, "layer_decay": 0.5}, {},
                         "no layers of it"),
}  # fmt: skip


@pytest.mark.parametrize(("model", "training", "says"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused(tmp_path: Path, model: Document, training: Document, says: str) -> None:
    with pytest.raises((SpecError, ValueError), match=says):
        check_trial(TrialConfig.model_validate(tuned(tmp_path, model=model, **training)))

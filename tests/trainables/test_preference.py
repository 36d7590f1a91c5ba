"""Preference tuning: the losses are those of their papers, and measured against the model as it started."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_trials import TINY_GPT2, TINY_LLAMA, Document, preferences, rewrite, run

from trainables.config import TrialConfig
from trainables.data.chat import answers_in
from trainables.models import build_model
from trainables.preparation import PreparedData, prepare
from trainables.tasks.padding import IGNORED_LABEL
from trainables.tasks.preference_losses import batch_loss, with_reference
from trainables.tasks.registry import TASKS

STILL = TINY_GPT2 | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": 0.2}


def prepared(document: Document) -> tuple[TrialConfig, PreparedData]:
    trial = TrialConfig.model_validate(document)
    return trial, prepare(trial.task, trial.model, trial.data)


def model_of(trial: TrialConfig, data: PreparedData, *, seed: int = 42) -> Any:
    transformers.set_seed(seed)
    return build_model(
        TASKS[trial.task], trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer
    ).eval()  # fmt: skip


def collator_of(trial: TrialConfig, data: PreparedData, model: Any) -> Any:
    return TASKS[trial.task].collator(data.tokenizer, trial.data, model=model, is_training=True)


@torch.no_grad()
def by_hand(model: Any, example: Any) -> list[tuple[float, int]]:
    """(log-probability, tokens) of the chosen and the rejected answer, each conversation read by itself."""
    scores = []
    for part in (slice(example["length"]), slice(example["length"], None)):
        ids, labels = example["input_ids"][part], example["labels"][part]
        logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        places = [place for place, label in enumerate(labels) if label != IGNORED_LABEL]
        scores.append((sum(float(logits[place - 1, ids[place]]) for place in places), len(places)))
    return scores


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


LOSSES = {
    "sigmoid": ({"beta": 0.3}, lambda sums, means: -math.log(sigmoid(0.3 * sums))),
    "smoothed": (
        {"beta": 0.3, "label_smoothing": 0.2},
        lambda sums, means: -0.8 * math.log(sigmoid(0.3 * sums)) - 0.2 * math.log(sigmoid(-0.3 * sums)),
    ),
    "hinge": ({"loss": "hinge", "beta": 0.3}, lambda sums, means: max(0.0, 1 - 0.3 * sums)),
    "ipo": ({"loss": "ipo", "beta": 0.3}, lambda sums, means: (means - 1 / 0.6) ** 2),
    "simpo": ({"loss": "simpo", "beta": 2.0, "margin": 0.7}, lambda sums, means: -math.log(sigmoid(2 * means - 0.7))),
}


@pytest.mark.parametrize(("section", "of_margins"), LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("sft_weight", [0.0, 0.5])
def test_a_loss_is_that_of_its_paper(tmp_path: Path, section: Document, of_margins: Any, sft_weight: float) -> None:
    document = preferences(tmp_path) | {"preference": section | {"sft_weight": sft_weight}}
    trial, data = prepared(document)
    policy, reference = model_of(trial, data, seed=1), model_of(trial, data, seed=2)
    collate = collator_of(trial, data, policy)
    few = data.validation.select(range(5))
    rows = list(with_reference(few, model=reference, trial=trial, collate=collate))
    with torch.no_grad():
        loss, outputs = batch_loss(policy, collate(rows), trial=trial, num_items_in_batch=None)
    expected, is_better = [], []
    for row in rows:
        chosen, rejected = by_hand(policy, row)
        base = by_hand(reference, row) if section.get("loss") != "simpo" else [(0.0, 1), (0.0, 1)]
        sums = chosen[0] - base[0][0] - rejected[0] + base[1][0]
        means = (chosen[0] - base[0][0]) / chosen[1] - (rejected[0] - base[1][0]) / rejected[1]
        is_better.append((means if section.get("loss") in ("ipo", "simpo") else sums) > 0)
        expected.append(of_margins(sums, means) - sft_weight * chosen[0] / chosen[1])
    assert float(loss) == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    assert (outputs["rewards"][:, 0] > outputs["rewards"][:, 1]).tolist() == is_better


def test_uneven_micro_batches_add_up_to_the_loss_of_the_whole_step(tmp_path: Path) -> None:
    trial, data = prepared(preferences(tmp_path))
    model = model_of(trial, data, seed=1)
    collate = collator_of(trial, data, model)
    rows = list(with_reference(data.validation, model=model_of(trial, data), trial=trial, collate=collate))[:9]
    whole, _ = batch_loss(model, collate(rows), trial=trial, num_items_in_batch=None)
    parts = [
        batch_loss(model, collate(part), trial=trial, num_items_in_batch=torch.tensor(9))[0]
        for part in (rows[:2], rows[2:])
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_accumulation_gives_the_training_of_one_large_batch(tmp_path: Path) -> None:
    def rows(size: int) -> Any:
        document = preferences(
            tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=8 // size, max_steps=4,
            per_device_eval_batch_size=4, logging_steps=1,
        )  # fmt: skip
        document["model"]["config"] = STILL
        return run(document).rows

    for one, other in zip(rows(8), rows(2), strict=True):
        for name in {"train/loss", "train/grad_norm", "eval/loss", "eval/reward_margin"} & set(one):
            assert one[name] == pytest.approx(other[name], rel=2e-3), name


def test_an_untrained_model_is_as_good_as_its_reference(tmp_path: Path) -> None:
    document = preferences(tmp_path, max_steps=2, learning_rate=1e-12)
    metrics = run(document).metrics[-1]
    assert metrics["eval/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert metrics["eval/reward_margin"] == pytest.approx(0, abs=1e-6)


def test_it_learns_what_is_preferred(tmp_path: Path) -> None:
    ran = run(preferences(tmp_path, num_train_epochs=3))
    assert ran.metrics[-1]["eval/reward_accuracy"] == 1.0
    assert ran.metrics[-1]["eval/reward_margin"] > ran.metrics[0]["eval/reward_margin"] > 0


def test_the_loss_of_an_evaluation_does_not_depend_on_its_batch_size(tmp_path: Path) -> None:
    metrics = [
        run(preferences(tmp_path, max_steps=3, per_device_eval_batch_size=size)).metrics[-1] for size in (1, 7, 24)
    ]
    for name in metrics[0]:
        assert metrics[1][name] == pytest.approx(metrics[0][name], abs=2e-5)
        assert metrics[2][name] == pytest.approx(metrics[0][name], abs=2e-5)


@pytest.mark.parametrize("loss", ["sigmoid", "simpo"])
def test_a_resumed_trial_gives_the_same_curve(tmp_path: Path, loss: str) -> None:
    document = preferences(tmp_path, num_train_epochs=3) | {"preference": {"loss": loss, "beta": 0.5}}
    whole = run(document, tmp_path / "whole")
    run(document, tmp_path / "parts", stop_after=1)
    resumed = run(document, tmp_path / "parts")
    assert resumed.metrics == whole.metrics
    assert resumed.rows[1:] == whole.rows[len(whole.rows) - len(resumed.rows) + 1 :]


def test_a_trial_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    first = run(preferences(tmp_path))
    run(preferences(tmp_path, seed=3) | {"preference": {"loss": "ipo", "sft_weight": 1.0}})
    assert run(preferences(tmp_path)).rows == first.rows


@pytest.mark.parametrize(("method", "learning_rate"), [("lora", 0.02), ("prompt_tuning", 0.3)])
def test_the_reference_of_an_adapter_is_its_base(tmp_path: Path, method: str, learning_rate: float) -> None:
    scratch = preferences(tmp_path)
    trial, data = prepared(scratch)
    model_of(trial, data).save_pretrained(tmp_path / "base")
    data.tokenizer.save_pretrained(tmp_path / "base")
    adapter = {"method": method} | ({"virtual_tokens": 2} if method == "prompt_tuning" else {})
    document = preferences(tmp_path, num_train_epochs=2, learning_rate=learning_rate) | {
        "model": {"pretrained": str(tmp_path / "base"), "adapter": adapter}
    }
    document["data"] |= {"tokenizer": None, "max_length": 60}
    tuned, _ = prepared(document)
    adapted = model_of(tuned, data)
    collate = collator_of(tuned, data, adapted)
    with torch.no_grad():  # however far the adapter has come
        for name, weight in adapted.named_parameters():
            if weight.requires_grad and "lora_B" in name:
                weight.fill_(0.3)
    row = data.validation.select([0])
    (annotated,) = with_reference(row, model=adapted, trial=tuned, collate=collate)
    assert annotated["reference"] == pytest.approx([score for score, _ in by_hand(model_of(trial, data), row[0])])
    ran = run(document, tmp_path / "trial")
    assert ran.failure is None, ran.outcome
    assert ran.metrics[-1]["eval/reward_margin"] > 0


def test_pairs_are_cut_where_answers_begin(tmp_path: Path) -> None:
    _, data = prepared(preferences(tmp_path))
    example = data.train[0]
    for part, end in ((slice(example["length"]), "thank you"), (slice(example["length"], None), "no")):
        ids, labels = example["input_ids"][part], example["labels"][part]
        ((_, answer),) = answers_in(ids, labels, ignored=IGNORED_LABEL)
        assert end in data.tokenizer.decode(answer)


def test_a_pair_that_is_cut_to_the_same_text_is_dropped(tmp_path: Path) -> None:
    document = preferences(tmp_path)
    same = {"prompt": "red?", "chosen": "very " * 60 + "good", "rejected": "very " * 60 + "bad"}
    other = {"prompt": "red?", "chosen": "yes", "rejected": "no"}
    rewrite(document, [same, other] * 20)
    _, data = prepared(document)
    assert sum(data.card.dropped.values()) == 20
    assert sum(data.card.examples.values()) == 20


def test_a_llama_learns_preferences_too(tmp_path: Path) -> None:
    document = preferences(tmp_path, num_train_epochs=3)
    document["model"] = {"architecture": "llama", "config": TINY_LLAMA}
    assert run(document).metrics[-1]["eval/reward_accuracy"] > 0.9

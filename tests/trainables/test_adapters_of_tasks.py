"""Adapters below every task that trains: what trains, exact resume, and checkpoints that load by themselves."""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from pretrained_trials import built, prepared, pretrained
from tiny_trials import (
    TINY_BART,
    Document,
    Ran,
    chats,
    conversations,
    labelled,
    masked,
    of_kind,
    pairs,
    preferences,
    prose,
    run,
    tagged,
    weights,
)  # fmt: skip

from spaces.errors import SpecError
from trainables.checks import check_trial
from trainables.config import TrialConfig
from trainables.tasks.registry import TASKS

METHODS: dict[str, Document] = {
    "lora": {"method": "lora", "r": 4},
    "dora": {"method": "lora", "r": 2, "dora": True},
    "ia3": {"method": "ia3"},
    "prefix tuning": {"method": "prefix_tuning", "virtual_tokens": 3},
    "prompt tuning": {"method": "prompt_tuning", "virtual_tokens": 3},
}
KINDS: dict[str, Callable[..., Document]] = {
    "causal_lm": prose,
    "masked_lm": masked,
    "token_classification": tagged,
    "several labels": partial(of_kind, kind="classes"),
    "regression": partial(of_kind, kind="number"),
    "sequence_classification of bart": partial(labelled, architecture="bart", config=TINY_BART),
    "seq2seq_lm of t5": pairs,
    "seq2seq_lm of bart": partial(pairs, architecture="bart", config=TINY_BART),
    "instruction_tuning": chats,
    "packed conversations": conversations,
    "preference": preferences,
}


def adapted(folder: Path, kind: str, method: str, **training: Any) -> Document:
    """A small pretrained model of this kind with an adapter; nothing is generated."""
    document = KINDS[kind](folder, **training)
    if document["model"]["architecture"] != "t5":  # learned tokens take positions too
        document["model"]["config"] = document["model"]["config"] | {"max_position_embeddings": 256}
    if TASKS[document["task"]].measure_generated is not None:
        document["data"]["generate"] = 0
    return pretrained(document, folder / "base", model={"adapter": METHODS[method]})


def checkpoint_of(ran: Ran) -> Path:
    return Path(str(ran.reports[-1].checkpoint))


def loaded(place: Path, auto_class: Any) -> Any:
    """The model of a checkpoint, from what stands in it alone."""
    base = peft.PeftConfig.from_pretrained(str(place)).base_model_name_or_path
    described = place if (place / "config.json").is_file() else base  # beside a classifier: its labels
    below = auto_class.from_pretrained(base, config=transformers.AutoConfig.from_pretrained(str(described)))
    return peft.PeftModel.from_pretrained(below, str(place)).eval()


def validation_loss(model: Any, document: Document) -> float:
    """The mean over all labels of validation, computed here."""
    trial, data = prepared(document)
    task = TASKS[trial.task]
    collate = task.collator(data.tokenizer, trial.data, model=model, is_training=False)
    model.config.use_cache = False  # with a cache, transformers does not keep packed examples apart
    losses, counts = [], []
    for example in data.validation:
        batch = collate([example])
        labels = batch["labels"]
        is_text = labels.ndim == 2 and not labels.is_floating_point()
        if is_text and task.head == "CAUSAL_LM":
            labels[:, 0] = -100  # nobody predicts the first token; learned ones in front of it would
        with torch.no_grad():
            losses.append(float(model(**batch).loss))
        counts.append(int((labels != -100).sum()) if is_text else 1)
    return sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)


# --- every task with every method ------------------------------------------------------------------------

REFUSED = {
    ("masked_lm", "prefix tuning"): "PEFT has no `prefix_tuning` for masked",
    ("masked_lm", "prompt tuning"): "PEFT has no `prompt_tuning` for masked",
    ("token_classification", "prompt tuning"): "gives labels to the learned tokens",
    ("sequence_classification of bart", "prefix tuning"): "leave the new head .* untrained",
    ("sequence_classification of bart", "prompt tuning"): "leave the new head .* untrained",
    ("packed conversations", "prefix tuning"): "in front of a row, not of each example",
    ("packed conversations", "prompt tuning"): "in front of a row, not of each example",
}
WORKS = [pair for pair in product(KINDS, METHODS) if pair not in REFUSED]


@pytest.mark.parametrize(("kind", "method"), WORKS)
@pytest.mark.quick(
    "causal_lm-prompt tuning",
    "masked_lm-dora",
    "token_classification-prefix tuning",
    "several labels-ia3",
    "regression-lora",
    "sequence_classification of bart-ia3",
    "seq2seq_lm of t5-prefix tuning",
    "seq2seq_lm of bart-prompt tuning",
    "instruction_tuning-dora",
    "packed conversations-lora",
    "preference-lora",
)
def test_the_addition_trains_of_the_base_only_a_new_head_and_the_checkpoint_gives_the_loss_that_was_reported(
    tmp_path: Path, kind: str, method: str
) -> None:
    document = adapted(tmp_path, kind, method, max_steps=4, learning_rate=0.05)
    check_trial(TrialConfig.model_validate(document))
    names = {name for name, weight in built(document).named_parameters() if weight.requires_grad}
    rest = {name for name in names if not any(part in name for part in ("lora_", "ia3_", "prompt_encoder"))}
    assert names - rest, "nothing was added"
    assert all("modules_to_save" in name and "classif" in name for name in rest)
    assert bool(rest) == document["task"].endswith("classification")
    before = {
        name: weight.flatten().tolist() for name, weight in peft.get_peft_model_state_dict(built(document)).items()
    }
    ran = run(document, tmp_path / "trial")
    after = weights(ran)
    assert after.keys() == before.keys()
    assert [name for name, values in after.items() if values == before[name]] == []
    if kind != "preference":  # its loss is of pairs, and takes a reference
        model = loaded(checkpoint_of(ran), getattr(transformers, TASKS[document["task"]].auto_class))
        assert validation_loss(model, document) == pytest.approx(ran.metrics[-1]["eval/loss"], rel=1e-4)


@pytest.mark.parametrize(("kind", "method"), [pair for pair in WORKS if pair[1] != "dora"])
@pytest.mark.quick(
    "causal_lm-prompt tuning",
    "token_classification-prefix tuning",
    "several labels-ia3",
    "seq2seq_lm of t5-lora",
    "packed conversations-ia3",
    "preference-lora",
)
def test_a_resumed_trial_equals_an_uninterrupted_one(tmp_path: Path, kind: str, method: str) -> None:
    document = adapted(tmp_path, kind, method, eval_strategy="steps", eval_steps=2, max_steps=6)
    whole = run(document, tmp_path / "whole")
    run(document, tmp_path / "resumed", stop_after=2)
    resumed = run(document, tmp_path / "resumed")
    assert resumed.metrics == whole.metrics[1:]
    assert weights(resumed) == weights(whole)


# --- from the checkpoint on ------------------------------------------------------------------------------

GENERAL = [kind for kind in KINDS if "classif" not in kind and kind not in ("several labels", "regression")]


@pytest.mark.parametrize("kind", [kind for kind in GENERAL if kind != "preference"])
def test_a_language_model_loads_by_the_name_of_its_checkpoint(tmp_path: Path, kind: str) -> None:
    document = adapted(tmp_path, kind, "lora", max_steps=3, learning_rate=0.05)
    ran = run(document, tmp_path / "trial")
    auto_class = getattr(transformers, TASKS[document["task"]].auto_class)
    model = auto_class.from_pretrained(str(checkpoint_of(ran))).eval()
    assert validation_loss(model, document) == pytest.approx(ran.metrics[-1]["eval/loss"], rel=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "preference"])
def test_a_trial_goes_on_from_the_adapter_of_another(tmp_path: Path, kind: str) -> None:
    document = adapted(tmp_path, kind, "lora", max_steps=3, learning_rate=0.05)
    first = run(document, tmp_path / "first")
    document["model"] = {"pretrained": str(checkpoint_of(first))}
    document["training"] |= {"eval_on_start": True, "max_steps": 1}
    again = run(document)
    assert again.metrics[0]["eval/loss"] == pytest.approx(first.metrics[-1]["eval/loss"], rel=1e-4)


def test_the_adapter_of_preferences_is_the_reference_of_later_ones(tmp_path: Path) -> None:
    document = adapted(tmp_path, "preference", "lora", max_steps=3, learning_rate=0.05)
    first = run(document, tmp_path / "first")
    document["model"] = {"pretrained": str(checkpoint_of(first))}
    document["training"] |= {"eval_on_start": True, "max_steps": 1}
    assert run(document).metrics[0]["eval/loss"] == pytest.approx(0.693147, rel=1e-4)
    assert first.metrics[-1]["eval/loss"] < 0.69


@pytest.mark.parametrize(("pair", "says"), REFUSED.items(), ids=map(" on ".join, REFUSED))
def test_what_peft_cannot_do_is_refused(tmp_path: Path, pair: tuple[str, str], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        check_trial(TrialConfig.model_validate(adapted(tmp_path, *pair)))
    assert caught.value.path in ("model.adapter.method", "data.pack")


def test_a_task_that_does_not_train_has_no_adapter(tmp_path: Path) -> None:
    document = adapted(tmp_path, "causal_lm", "lora") | {"task": "few_shot", "training": {}}
    with pytest.raises(SpecError, match="few_shot does not train"):
        check_trial(TrialConfig.model_validate(document))

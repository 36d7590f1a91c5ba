"""Losses: means over an optimiser step, whatever its micro-batches; masks and targets as they are meant."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from tiny_trials import masked, of_kind, pairs, run, tagged

from trainables.config import TrialConfig
from trainables.generation import generate
from trainables.models import build_model
from trainables.preparation import PreparedData, prepare
from trainables.tasks.losses import label_loss, token_cross_entropy
from trainables.tasks.padding import IGNORED_LABEL
from trainables.tasks.registry import TASKS


def logits_of(shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {"logits": torch.randn(shape, generator=torch.Generator().manual_seed(0))}


LABELS = {
    "classes": torch.tensor([0, 1, 2, 0, 1, 2]),
    "ones and zeros": torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "tokens": torch.tensor([[0, -100], [1, 2], [-100, 1], [-100, 2], [0, 0], [1, -100]]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_uneven_micro_batches_add_up_to_the_loss_of_the_whole_step(kind: str) -> None:
    labels = LABELS[kind]
    outputs = logits_of((6, 2, 3) if kind == "tokens" else (6, 3))
    compute = token_cross_entropy if kind == "tokens" else label_loss
    # as the Trainer counts them
    num_items = (labels != IGNORED_LABEL).sum()
    parts = [
        compute({"logits": outputs["logits"][part]}, labels[part], num_items) for part in (slice(0, 2), slice(2, 6))
    ]
    torch.testing.assert_close(sum(parts), compute(outputs, labels))


def test_several_labels_weigh_as_much_as_torch_has_them() -> None:
    outputs, labels = logits_of((6, 3)), LABELS["ones and zeros"]
    expected = torch.nn.BCEWithLogitsLoss()(outputs["logits"], labels)
    torch.testing.assert_close(label_loss(outputs, labels), expected)


# --- what is hidden, tagged, asked for -------------------------------------------------------------------


def prepared(document: dict[str, Any]) -> tuple[TrialConfig, PreparedData]:
    trial = TrialConfig.model_validate(document)
    return trial, prepare(trial.task, trial.model, trial.data)


def masks(document: dict[str, Any], *, is_training: bool) -> Any:
    trial, data = prepared(document)
    task = TASKS[trial.task]
    model = build_model(task, trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer)
    return data, task.collator(data.tokenizer, trial.data, model=model, is_training=is_training)


def test_validation_hides_the_same_tokens_whatever_the_batch_and_the_trial(tmp_path: Path) -> None:
    document = masked(tmp_path)
    data, collate = masks(document, is_training=False)
    document["data"]["mask_probability"] = 0.5
    _, other = masks(document, is_training=False)
    rows = list(data.validation)
    together = collate(rows)
    one_by_one = [other([row]) for row in reversed(rows)][::-1]
    for name in ("input_ids", "labels"):
        assert torch.equal(together[name], torch.cat([batch[name] for batch in one_by_one]))


def test_training_hides_other_tokens_at_each_pass_and_as_many_as_asked_for(tmp_path: Path) -> None:
    document = masked(tmp_path)
    document["data"]["mask_probability"] = 0.4
    data, collate = masks(document, is_training=True)
    rows = list(data.train)
    first, second = collate(rows), collate(rows)
    assert not torch.equal(first["labels"], second["labels"])
    hidden = first["labels"] != IGNORED_LABEL
    special = torch.isin(torch.tensor([row["input_ids"] for row in rows]), torch.tensor(data.tokenizer.all_special_ids))
    assert not (hidden & special).any()
    assert float(hidden.sum() / (~special).sum()) == pytest.approx(0.4, abs=0.06)
    shown = first["input_ids"][hidden]
    assert float((shown == data.tokenizer.mask_token_id).float().mean()) == pytest.approx(0.8, abs=0.1)


def test_a_resumed_masked_model_sees_the_masks_it_would_have_seen(tmp_path: Path) -> None:
    document = masked(tmp_path, num_train_epochs=3)
    whole = run(document, tmp_path / "whole")
    run(document, tmp_path / "parts", stop_after=1)
    resumed = run(document, tmp_path / "parts")
    assert resumed.metrics[-1] == whole.metrics[-1]


def test_the_first_token_of_a_word_has_its_tag_and_the_others_none(tmp_path: Path) -> None:
    _, data = prepared(tagged(tmp_path))
    labels, tokens = data.train[0]["labels"], data.tokenizer.convert_ids_to_tokens(data.train[0]["input_ids"])
    named = [data.card.id2label.get(label) for label in labels]
    assert (named[0], named[-1]) == (None, None), "special tokens have no tag"
    assert [name for name in named if name] == ["O", "B-COL", "O", "O", "O", "B-PER", "I-PER"]
    assert tokens[named.index("B-PER")].startswith("a")


def test_whole_entities_are_counted_where_tags_name_them(tmp_path: Path) -> None:
    metrics = run(tagged(tmp_path, num_train_epochs=6), tmp_path / "trial").metrics[-1]
    assert metrics["eval/f1"] == 1.0
    assert metrics["eval/accuracy"] == 1.0


def test_a_decoder_is_fed_the_target_and_not_the_text(tmp_path: Path) -> None:
    data, collate = masks(pairs(tmp_path), is_training=True)
    batch = collate([data.train[0], data.train[1]])
    start = data.tokenizer.pad_token_id
    target = data.train[0]["labels"]
    assert batch["decoder_input_ids"][0][: len(target)].tolist() == [start, *target[:-1]]


def test_what_is_generated_is_measured_against_what_was_expected(tmp_path: Path) -> None:
    ran = run(pairs(tmp_path, num_train_epochs=12, learning_rate=0.03), tmp_path / "trial")
    assert ran.metrics[-1]["eval/rouge1"] > max(0.6, ran.metrics[0]["eval/rouge1"])
    assert 0 <= ran.metrics[-1]["eval/bleu"] <= 100


def test_without_generation_no_overlap_is_reported(tmp_path: Path) -> None:
    document = pairs(tmp_path, max_steps=2)
    document["data"]["generate"] = 0
    assert set(run(document).metrics[-1]) == {"eval/loss", "eval/perplexity"}


def test_numbers_are_measured_by_error_and_correlation(tmp_path: Path) -> None:
    metrics = run(of_kind(tmp_path, "number", num_train_epochs=8), tmp_path / "trial").metrics[-1]
    assert metrics["eval/mse"] == pytest.approx(metrics["eval/loss"], rel=1e-4)
    assert metrics["eval/pearson"] > 0.9


# --- generation ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def speaking() -> Any:
    """A tiny GPT-2 and a tokenizer of single characters."""
    from trainables.config import TrainedTokenizer
    from trainables.data.tokenizer_training import train_tokenizer

    tokenizer = train_tokenizer(["abcdefgh"], TrainedTokenizer(train="bpe", vocab_size=300), marks_ends=False)
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=64)
    torch.manual_seed(0)
    return SimpleNamespace(model=transformers.GPT2LMHeadModel(config), tokenizer=tokenizer)


def test_a_prompt_is_continued_the_same_alone_and_beside_longer_ones(speaking: Any) -> None:
    prompts = [speaking.tokenizer(text)["input_ids"] for text in ("a", "abcdef", "hgf")]

    def said(batch_size: int) -> list[str]:
        return generate(speaking.model, speaking.tokenizer, prompts, max_new_tokens=5, batch_size=batch_size)

    assert said(1) == said(3)


def test_generation_leaves_no_trace(speaking: Any) -> None:
    speaking.model.train()
    speaking.model.config.use_cache = False
    before = torch.random.get_rng_state()
    generate(speaking.model, speaking.tokenizer, [[5, 6]], max_new_tokens=3, batch_size=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert speaking.model.training
    assert not speaking.model.config.use_cache
    assert speaking.tokenizer.padding_side == "right"


def test_the_loss_of_an_evaluation_does_not_depend_on_its_batch_size(tmp_path: Path) -> None:
    losses = {
        run(tagged(tmp_path, max_steps=3, per_device_eval_batch_size=size)).metrics[-1]["eval/loss"]
        for size in (1, 7, 24)
    }
    assert max(losses) - min(losses) < 1e-6
    assert all(math.isfinite(loss) for loss in losses)

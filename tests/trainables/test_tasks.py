"""One suite for all tasks and kinds of models: what every real training run must give."""

import json
import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from tiny_trials import (
    MINILM,
    TINY_BART,
    TINY_BERT,
    TINY_GPT2,
    TINY_LLAMA,
    TINY_RECURRENT,
    Ran,
    chats,
    conversations,
    fine_tuning,
    labelled,
    masked,
    of_kind,
    pairs,
    preferences,
    prose,
    run,
    tagged,
)

from spaces.errors import SpecError
from trainables.config import ModelConfig, TrialConfig
from trainables.models import build_model
from trainables.preparation import PreparedData, prepare
from trainables.tasks.registry import TASKS

CASES = {
    "gpt2": prose,
    "llama": partial(prose, architecture="llama", config=TINY_LLAMA),
    # its default initial weights are meant for a width of 768: at 16 nothing would reach the head
    "bert classifier": partial(labelled, config=TINY_BERT | {"initializer_range": 0.2}),
    "gpt2 classifier": partial(labelled, architecture="gpt2", config=TINY_GPT2),
    "bert masked": masked,
    "bert several labels": partial(of_kind, kind="classes"),
    "bert regression": partial(of_kind, kind="number"),
    "bert tags": tagged,
    "t5": pairs,
    "gpt2 chats": chats,
    "llama chats": partial(chats, architecture="llama", config=TINY_LLAMA),
    "lstm chats": partial(chats, architecture="lstm", config=TINY_RECURRENT),
    "gpt2 packed conversations": conversations,
    "gpt2 preferences": preferences,
    "bart": partial(pairs, architecture="bart", config=TINY_BART),
    "rnn": partial(prose, architecture="rnn", config=TINY_RECURRENT),
    "lstm": partial(prose, architecture="lstm", config=TINY_RECURRENT | {"tie_word_embeddings": False}),
    "gru classifier": partial(labelled, architecture="gru", config=TINY_RECURRENT),
    "lstm classifier of both directions": partial(
        labelled, architecture="lstm", config=TINY_RECURRENT | {"bidirectional": True}
    ),
    "LoRA MiniLM": partial(fine_tuning, adapter={"method": "lora", "r": 4}, learning_rate=1e-3),
    "frozen MiniLM": partial(fine_tuning, freeze={"embeddings": True, "layers": 4}, learning_rate=3e-4),
}


@dataclass(kw_only=True)
class Case:
    """A finished run of one task."""

    trial: TrialConfig
    ran: Ran
    data: PreparedData

    @property
    def checkpoint(self) -> str:
        """Folder of the last checkpoint."""
        return str(self.ran.reports[-1].checkpoint)

    def new_model(self) -> Any:
        """The model as the trial started with it."""
        transformers.set_seed(42)
        trial = self.trial
        return build_model(
            TASKS[trial.task], trial.model, data=trial.data, card=self.data.card, tokenizer=self.data.tokenizer,
        )  # fmt: skip

    def saved_model(self) -> Any:
        """The checkpoint, loaded as a user would."""
        if self.trial.model.adapter is not None:
            base = peft.PeftConfig.from_pretrained(self.checkpoint).base_model_name_or_path
            labels = transformers.AutoConfig.from_pretrained(self.checkpoint)
            below = transformers.AutoModelForSequenceClassification.from_pretrained(base, config=labels)
            return peft.PeftModel.from_pretrained(below, self.checkpoint)
        return getattr(transformers, TASKS[self.trial.task].auto_class).from_pretrained(self.checkpoint)


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("task")
    document = request.param(folder, num_train_epochs=3, logging_steps=2)
    trial = TrialConfig.model_validate(document)
    ran = run(document, folder / "trial")
    assert ran.failure is None, ran.outcome
    return Case(trial=trial, ran=ran, data=prepare(trial.task, trial.model, trial.data))


def test_it_reports_each_epoch_and_the_last_report_is_final(case: Case) -> None:
    progress = [report.progress for report in case.ran.reports]
    assert [(one.epoch, one.evaluation, one.is_final) for one in progress] == [
        (1.0, 1, False), (2.0, 2, False), (3.0, 3, True),
    ]  # fmt: skip


def test_its_metrics_are_those_of_its_task(case: Case) -> None:
    for metrics in case.ran.metrics:
        assert set(metrics) == set(TASKS[case.trial.task].metrics(case.trial.data))


def test_its_rows_are_in_order_and_end_with_the_evaluation(case: Case) -> None:
    assert all({"step", "epoch", "tokens"} <= set(row) for row in case.ran.rows)
    places = [(row["step"], "evaluation" in row) for row in case.ran.rows]
    assert all(before < after for before, after in pairwise(places))
    for report in case.ran.reports:
        assert report.rows[-1]["evaluation"] == report.progress.evaluation
        assert report.rows[-1]["step"] == report.progress.step


def test_its_tokens_are_those_of_the_training_examples(case: Case) -> None:
    an_epoch = sum(len(example["input_ids"]) for example in case.data.train)
    assert [report.progress.tokens for report in case.ran.reports] == [an_epoch, 2 * an_epoch, 3 * an_epoch]


def test_it_learns(case: Case) -> None:
    losses = [metrics["eval/loss"] for metrics in case.ran.metrics]
    assert losses[-1] < 0.97 * losses[0]


def test_its_weights_trained_unless_frozen(case: Case) -> None:
    after = case.saved_model().state_dict()
    for name, weight in case.new_model().named_parameters():
        is_same = torch.equal(weight, after[name])
        if ".original_module." in name:
            continue  # PEFT's copy of the head before it trained, which nobody uses
        assert is_same != weight.requires_grad, name


def test_its_derived_metrics_follow_from_the_loss(case: Case) -> None:
    metrics = case.ran.metrics[-1]
    loss = metrics["eval/loss"]
    assert metrics.get("eval/perplexity", math.exp(loss)) == math.exp(loss)
    in_bits = loss / math.log(2) * case.data.card.tokens_per_byte
    assert metrics.get("eval/bits_per_byte", in_bits) == pytest.approx(in_bits)


def test_its_checkpoint_gives_the_same_loss(case: Case) -> None:
    model = case.saved_model().eval()
    task = TASKS[case.trial.task]
    collate = task.collator(case.data.tokenizer, case.trial.data, model=model, is_training=False)
    with torch.no_grad():
        loss = loss_of(case, model, collate)
    assert loss == pytest.approx(case.ran.metrics[-1]["eval/loss"], rel=1e-4)


def loss_of(case: Case, model: Any, collate: Any) -> float:
    task = TASKS[case.trial.task]
    if task.batch_loss is None:
        return float(model(**collate(list(case.data.validation))).loss)
    assert task.annotate is not None
    rows = task.annotate(case.data.validation, model=case.new_model(), trial=case.trial, collate=collate)
    loss, _ = task.batch_loss(model, collate(list(rows)), trial=case.trial, num_items_in_batch=None)
    return float(loss)


def test_its_checkpoint_has_its_tokenizer(case: Case) -> None:
    text = "thing 3 is red"
    saved = transformers.AutoTokenizer.from_pretrained(case.checkpoint)
    assert saved(text)["input_ids"] == case.data.tokenizer(text)["input_ids"]
    assert saved.pad_token_id == case.data.tokenizer.pad_token_id


def test_its_checkpoint_names_the_labels(case: Case) -> None:
    config = json.loads((Path(case.checkpoint) / "config.json").read_text())
    names = {int(index): name for index, name in config.get("id2label", {}).items() if not name.startswith("LABEL_")}
    assert names == case.data.card.id2label


# --- models ----------------------------------------------------------------------------------------------


def test_a_checkpoint_of_a_stopped_trial_has_its_tokenizer_too(tmp_path: Path) -> None:
    stopped = run(prose(tmp_path), tmp_path / "trial", stop_after=1)
    transformers.AutoTokenizer.from_pretrained(str(stopped.reports[-1].checkpoint))


@pytest.mark.parametrize(("max_length", "padded_to"), [(5, 5), (8, 8), (13, 13), (20, 16)])
def test_a_batch_is_padded_no_further_than_max_length(tmp_path: Path, max_length: int, padded_to: int) -> None:
    document = labelled(tmp_path)
    document["data"]["max_length"] = max_length
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)
    model = build_model(TASKS[trial.task], trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer)
    collate = TASKS[trial.task].collator(data.tokenizer, trial.data, model=model, is_training=True)
    assert collate(list(data.train))["input_ids"].shape[1] == padded_to


def test_as_many_positions_as_tokens_are_enough(tmp_path: Path) -> None:
    config = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    document = labelled(tmp_path, config=config | {"max_position_embeddings": 13}, max_steps=2)
    document["data"]["max_length"] = 13
    assert run(document).failure is None


def built(folder: Path, **model: Any) -> Any:
    document = fine_tuning(folder)
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)
    changed = ModelConfig(pretrained=MINILM, **model)
    return build_model(TASKS[trial.task], changed, data=trial.data, card=data.card, tokenizer=data.tokenizer)


def test_fields_of_the_spec_change_a_pretrained_model(tmp_path: Path) -> None:
    assert built(tmp_path, config={"hidden_dropout_prob": 0.4}).bert.embeddings.dropout.p == 0.4


def test_an_unknown_field_of_a_pretrained_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such field"):
        built(tmp_path, config={"dropout_of_everything": 0.4})


def test_a_pretrained_model_trains_in_32_bits_however_it_was_stored(tmp_path: Path) -> None:
    stored = built(tmp_path).to(torch.bfloat16)
    stored.save_pretrained(tmp_path / "stored")
    document = fine_tuning(tmp_path)
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)
    model = ModelConfig(pretrained=str(tmp_path / "stored"))
    again = build_model(TASKS[trial.task], model, data=trial.data, card=data.card, tokenizer=data.tokenizer)
    assert {weight.dtype for weight in again.parameters()} == {torch.float32}


def test_a_tokenizer_larger_than_the_pretrained_vocabulary_is_refused(tmp_path: Path) -> None:
    small = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model("gpt2", vocab_size=200, n_embd=16, n_layer=1, n_head=2)
    )
    small.save_pretrained(tmp_path / "small")
    document = prose(tmp_path)
    document["model"] = {"pretrained": str(tmp_path / "small")}
    ran = run(document)
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert "the pretrained model knows 200" in ran.outcome.failure.message


def test_more_frozen_layers_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="has 6 blocks, but 7"):
        built(tmp_path, freeze={"layers": 7})

"""Instruction tuning: the loss is that of the answers, of all of them and of nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_trials import TINY_GPT2, TINY_LLAMA, Document, chats, conversations, rewrite, run

from spaces.errors import SpecError
from trainables.config import TrainedTokenizer, TrialConfig
from trainables.data.chat import CHAT_TEMPLATES, answers_in, encode_chat, segments, set_chat_template
from trainables.data.example_packing import pack, real_tokens, unpack
from trainables.data.tokenizer_training import train_tokenizer
from trainables.models import build_model
from trainables.preparation import PreparedData, prepare
from trainables.tasks.padding import IGNORED_LABEL, pad_right
from trainables.tasks.registry import TASKS

LLAMA_2 = """\
{{ bos_token or '' }}
{%- for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]
{%- elif message.role == 'system' %}<<SYS>>{{ message.content }}<</SYS>>
{%- else %} {{ message.content }} {{ eos_token }}
{%- endif %}{% endfor %}"""
TEMPLATES = {"alpaca": "alpaca", "chatml": "chatml", "llama 2": LLAMA_2}
ENDS = {"alpaca": "<|endoftext|>", "chatml": "<|im_end|><|endoftext|>", "llama 2": " <|endoftext|>"}


def said(*contents: str) -> list[dict[str, str]]:
    """User and assistant in turns."""
    return [{"role": ("user", "assistant")[number % 2], "content": content} for number, content in enumerate(contents)]


CHATS = {
    "one turn": said("is it red?", "yes, it is"),
    "two turns": said("is it red?", "yes", "and blue?", "no, not blue"),
    "the answer in the question": said("say yes", "yes", "say yes again", "yes"),
    "a system message": [{"role": "system", "content": "be short"}, *said("is it red?", "yes")],
    "ends with a question": said("is it red?", "yes", "sure?"),
    "several lines": said("a list", "- one\n- two\n\n- three"),
}


@pytest.fixture(scope="module")
def bare() -> Any:
    texts = ["yes it is red, not blue: be short and sure"] * 3
    return train_tokenizer(texts, TrainedTokenizer(train="bpe", vocab_size=320), marks_ends=False)


def with_template(tokenizer: Any, template: str) -> Any:
    tokenizer.chat_template = CHAT_TEMPLATES.get(template, template)
    return tokenizer


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_exactly_the_answers_and_their_ends_are_learned(bare: Any, template: str, chat: list[dict[str, str]]) -> None:
    tokenizer = with_template(bare, TEMPLATES[template])
    ids, labels = encode_chat(tokenizer, chat, ignored=IGNORED_LABEL)
    learned = [tokenizer.decode(answer) for _, answer in answers_in(ids, labels, ignored=IGNORED_LABEL)]
    expected = [turn["content"] + ENDS[template] for turn in chat if turn["role"] == "assistant"]
    assert [text.removeprefix(" ") for text in learned] == expected
    assert all(label in (IGNORED_LABEL, token) for token, label in zip(ids, labels, strict=True))


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_conversation_is_written_as_the_template_writes_it(
    bare: Any, template: str, chat: list[dict[str, str]]
) -> None:
    tokenizer = with_template(bare, TEMPLATES[template])
    written = "".join(segment.text for segment in segments(tokenizer, chat))
    assert tokenizer.apply_chat_template(chat, tokenize=False).startswith(written)


def test_chatml_is_what_other_programs_write(bare: Any) -> None:
    chat = said("is it red?", "yes", "sure?")
    text = with_template(bare, "chatml").apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>user\nis it red?<|im_end|>\n<|im_start|>assistant\nyes<|im_end|><|endoftext|>\n"
        "<|im_start|>user\nsure?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_that_changes_earlier_turns_is_refused(bare: Any) -> None:
    tokenizer = with_template(
        bare, "{% for message in messages %}{{ loop.revindex }} {{ message.content }}{% endfor %}"
    )
    with pytest.raises(SpecError, match="in another way when others follow"):
        segments(tokenizer, CHATS["two turns"])


def test_a_template_that_refuses_a_conversation_says_why(bare: Any) -> None:
    tokenizer = with_template(bare, "{{ raise_exception('no system here') }}{{ messages }}")
    with pytest.raises(SpecError, match="no system here"):
        segments(tokenizer, CHATS["one turn"])


# --- the loss --------------------------------------------------------------------------------------------


def prepared(document: Document) -> tuple[TrialConfig, PreparedData]:
    trial = TrialConfig.model_validate(document)
    return trial, prepare(trial.task, trial.model, trial.data)


def model_of(trial: TrialConfig, data: PreparedData) -> Any:
    transformers.set_seed(42)
    return build_model(
        TASKS[trial.task], trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer
    ).eval()  # fmt: skip


@torch.no_grad()
def by_hand(model: Any, examples: Sequence[Any]) -> float:
    """Mean over answer tokens, one example at a time."""
    nats, count = 0.0, 0
    for example in examples:
        logits = model(input_ids=torch.tensor([example["input_ids"]])).logits[0].log_softmax(dim=-1)
        for place, label in enumerate(example["labels"][1:]):
            if label != IGNORED_LABEL:
                nats, count = nats - float(logits[place, label]), count + 1
    return nats / count


def test_the_loss_is_the_mean_over_answer_tokens(tmp_path: Path) -> None:
    document = chats(tmp_path, max_steps=3, per_device_eval_batch_size=5)
    ran = run(document, tmp_path / "trial")
    trained = transformers.AutoModelForCausalLM.from_pretrained(str(ran.reports[-1].checkpoint)).eval()
    _, data = prepared(document)
    assert ran.metrics[-1]["eval/loss"] == pytest.approx(by_hand(trained, list(data.validation)), rel=1e-5)


def test_micro_batches_add_up_to_the_whole_batch(tmp_path: Path) -> None:
    config = TINY_GPT2 | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    at_once, in_parts = (
        run(
            chats(
                tmp_path, config=config, per_device_train_batch_size=size, gradient_accumulation_steps=8 // size,
                per_device_eval_batch_size=4, logging_steps=1, max_steps=4,
            )
        ).rows
        for size in (8, 2)
    )  # fmt: skip
    for one, other in zip(at_once, in_parts, strict=True):
        for name in ("train/loss", "train/grad_norm", "eval/loss"):
            if name in one:
                assert one[name] == pytest.approx(other[name], rel=1e-4)


@pytest.mark.parametrize(("architecture", "config"), [("gpt2", TINY_GPT2), ("llama", TINY_LLAMA)])
@torch.no_grad()
def test_packed_examples_do_not_see_each_other(tmp_path: Path, architecture: str, config: Document) -> None:
    document = conversations(tmp_path)
    document["model"] = {"architecture": architecture, "config": config}
    trial, data = prepared(document)
    model = model_of(trial, data)
    collate = TASKS[trial.task].collator(data.tokenizer, trial.data, model=model, is_training=True)
    rows = list(data.train)
    examples = [example for row in rows for example in unpack(row)]
    assert len(examples) > 2 * len(rows)
    assert float(model(**collate(rows)).loss) == pytest.approx(by_hand(model, examples), rel=1e-5)


def test_packing_loses_nothing_and_fills_rows() -> None:
    examples = [{"input_ids": [n, *range(n)], "labels": [-100, *range(n)]} for n in (5, 1, 3, 7, 2, 2, 4)]
    rows = list(pack(examples, max_length=8))
    key = str
    assert sorted((one for row in rows for one in unpack(row)), key=key) == sorted(examples, key=key)
    assert len(rows) == 4  # 31 tokens
    assert max(len(row["input_ids"]) for row in rows) <= 8


def test_padding_behind_packed_examples_is_no_token() -> None:
    positions = [[0, 1, 2, 0, 1], [0, 1], [0, 1, 2, 3, 4, 5]]
    counted = real_tokens(pad_right(positions, length=8, fill=0)).sum(dim=1)
    assert counted.tolist() == [len(row) for row in positions]


# --- what is left out ------------------------------------------------------------------------------------


def test_a_prompt_that_leaves_no_room_for_its_answer_is_dropped_and_counted(tmp_path: Path) -> None:
    document = chats(tmp_path)
    rows = [{"prompt": "red? " * (60 if n % 4 == 0 else 1) + str(n), "response": "it is red"} for n in range(40)]
    rewrite(document, rows)
    _, data = prepared(document)
    assert sum(data.card.dropped.values()) == 10
    assert sum(data.card.examples.values()) == 30
    for example in (*data.train, *data.validation):
        assert any(label != IGNORED_LABEL for label in example["labels"][1:])


def test_data_without_any_room_for_answers_is_refused(tmp_path: Path) -> None:
    document = chats(tmp_path)
    document["data"]["max_length"] = 8
    with pytest.raises(SpecError, match=r"data\.max_length: of none"):
        prepared(document)


def test_a_missing_system_message_is_none(tmp_path: Path) -> None:
    document = chats(tmp_path)
    rows = [{"prompt": "red?", "response": "yes", "system": system} for system in ("be short", "", None, "be kind")]
    rewrite(document, rows * 5)
    document["data"] |= {"system": "system", "chat_template": "chatml", "max_length": 200}
    _, data = prepared(document)
    texts = {data.tokenizer.decode(example["input_ids"]) for example in (*data.train, *data.validation)}
    assert len(texts) == 3
    assert sum("<|im_start|>system" in text for text in texts) == 2


BROKEN = {
    "no list": ("hello", "must hold a list of messages"),
    "another role": ([{"role": "bot", "content": "x"}], "role 'bot'"),
    "no content": ([{"role": "user"}], "content of type NoneType"),
    "system in between": ([*said("a", "b"), {"role": "system", "content": "x"}], "only at the start"),
    "no answer": (said("hello"), "the assistant says nothing"),
}


@pytest.mark.parametrize(("messages", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_conversation_is_refused_with_its_place(tmp_path: Path, messages: Any, says: str) -> None:
    document = conversations(tmp_path)
    rows = [{"chat": said("red?", "yes")}] * 5 + [{"chat": messages}]
    rewrite(document, rows)
    with pytest.raises(SpecError, match=says) as raised:
        prepared(document)
    assert raised.value.path == "data.messages"
    assert "row 6" in str(raised.value)


# --- what comes out --------------------------------------------------------------------------------------


def test_it_learns_to_answer_and_where_to_stop(tmp_path: Path) -> None:
    config = {"n_embd": 32, "n_layer": 2, "n_head": 2}
    document = chats(tmp_path, config=config, num_train_epochs=12, per_device_train_batch_size=8)
    rows = [{"prompt": f"boat {n}?", "response": "it is red"} for n in range(96)]
    rewrite(document, rows)
    ran = run(document, tmp_path / "trial")
    assert ran.metrics[-1]["eval/exact_match"] == 1.0
    assert ran.metrics[-1]["eval/rougeL"] == pytest.approx(1.0)
    assert ran.reports[-1].samples[0]["generated"] == "it is red"
    assert "boat" in ran.reports[-1].samples[0]["prompt"]


def test_a_checkpoint_brings_its_chat_template(tmp_path: Path) -> None:
    ran = run(chats(tmp_path, max_steps=1), tmp_path / "trial")
    saved = transformers.AutoTokenizer.from_pretrained(str(ran.reports[-1].checkpoint))
    assert saved.apply_chat_template(said("red?"), tokenize=False, add_generation_prompt=True) == (
        "### Instruction:\nred?\n\n### Response:\n"
    )


def test_a_tokenizers_own_template_is_kept_unless_the_spec_has_one(tmp_path: Path, bare: Any) -> None:
    trial = TrialConfig.model_validate(chats(tmp_path))
    bare.chat_template = LLAMA_2
    set_chat_template(bare, trial.data)
    assert bare.chat_template == LLAMA_2
    set_chat_template(bare, trial.data.model_copy(update={"chat_template": "chatml"}))
    assert bare.chat_template == CHAT_TEMPLATES["chatml"]


@pytest.mark.parametrize("make", [chats, conversations])
def test_a_resumed_trial_gives_the_same_curve(tmp_path: Path, make: Any) -> None:
    whole = run(make(tmp_path, num_train_epochs=3), tmp_path / "whole")
    run(make(tmp_path, num_train_epochs=3), tmp_path / "parts", stop_after=1)
    resumed = run(make(tmp_path, num_train_epochs=3), tmp_path / "parts")
    assert resumed.metrics == whole.metrics

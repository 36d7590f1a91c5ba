"""Recurrent models: padding, both directions, saving and loading, initial weights, and what is refused."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_trials import TINY_RECURRENT, Document, labelled, prose, run, weights
from torch import nn

from spaces.errors import SpecError
from trainables import recurrent
from trainables.checks import check_trial
from trainables.config import TrialConfig
from trainables.huggingface import RECURRENT, architecture

CAUSAL = transformers.AutoModelForCausalLM
SEQUENCE = transformers.AutoModelForSequenceClassification
TOKENS = transformers.AutoModelForTokenClassification


def made(auto_class: Any, model_type: str, **fields: Any) -> Any:
    fields = {"vocab_size": 50, "pad_token_id": 0, "embedding_size": 8, "hidden_size": 12, "num_layers": 2} | fields
    transformers.set_seed(0)
    return auto_class.from_config(transformers.AutoConfig.for_model(model_type, **fields)).eval()


def texts() -> torch.Tensor:
    return torch.randint(1, 50, (4, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("model_type", "is_two_way"), product(RECURRENT, [False, True]))
def test_padding_changes_no_classification(model_type: str, is_two_way: bool) -> None:
    model = made(SEQUENCE, model_type, bidirectional=is_two_way, num_labels=3)
    ids, lengths = texts(), [9, 3, 1, 6]
    mask = torch.tensor([[1] * length + [0] * (9 - length) for length in lengths])
    together = model(ids, attention_mask=mask).logits
    for row, length in enumerate(lengths):
        alone = model(ids[row : row + 1, :length]).logits[0]
        assert torch.allclose(together[row], alone, atol=1e-6)


@pytest.mark.parametrize(("model_type", "is_two_way"), product(RECURRENT, [False, True]))
def test_padding_changes_no_label_of_a_token(model_type: str, is_two_way: bool) -> None:
    model = made(TOKENS, model_type, bidirectional=is_two_way, num_labels=3)
    mask = torch.ones(4, 9, dtype=torch.long)
    mask[1, 5:] = 0
    alone = model(texts()[1:2, :5]).logits[0]
    assert torch.allclose(model(texts(), attention_mask=mask).logits[1, :5], alone, atol=1e-6)


def test_padding_in_front_of_the_text_is_refused() -> None:
    mask = torch.tensor([[0, 1, 1]])
    with pytest.raises(ValueError, match="padding behind the text"):
        made(SEQUENCE, "lstm")(torch.tensor([[0, 3, 4]]), attention_mask=mask)


@pytest.mark.parametrize("model_type", RECURRENT)
def test_a_language_model_sees_no_later_token(model_type: str) -> None:
    model, ids = made(CAUSAL, model_type), texts()
    changed = ids.clone()
    changed[:, 5:] = 7
    before, after = model(ids).logits, model(changed).logits
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_both_directions_see_later_tokens() -> None:
    model, ids = made(TOKENS, "gru", bidirectional=True, num_labels=3), texts()
    changed = ids.clone()
    changed[:, 8] = 7
    assert not torch.allclose(model(ids).logits[:, 0], model(changed).logits[:, 0])


@pytest.mark.parametrize(("model_type", "is_tied"), product(RECURRENT, [False, True]))
def test_a_saved_model_loads_by_the_auto_class(tmp_path: Path, model_type: str, is_tied: bool) -> None:
    model = made(CAUSAL, model_type, tie_word_embeddings=is_tied)
    model.save_pretrained(tmp_path)
    again = CAUSAL.from_pretrained(tmp_path).eval()
    assert torch.equal(again(texts()).logits, model(texts()).logits)
    assert (again.lm_head.weight is again.body.embeddings.weight) is is_tied
    assert type(again).__name__ == f"{model_type.upper()}ForCausalLM"


def test_the_layers_are_those_of_torch() -> None:
    model = made(transformers.AutoModel, "lstm", hidden_size=12, num_layers=2, dropout=0.0)
    torchs = nn.LSTM(8, 12, num_layers=2, batch_first=True)
    for number, layer in enumerate(model.layers):
        assert isinstance(layer, nn.LSTM)
        for name, weight in layer.named_parameters():
            getattr(torchs, name.replace("_l0", f"_l{number}")).data.copy_(weight)
    expected, _ = torchs(model.embeddings(texts()))
    assert torch.allclose(model(texts()).last_hidden_state, expected, atol=1e-6)


def test_an_lstm_begins_by_remembering() -> None:
    layer = made(transformers.AutoModel, "lstm").layers[0]
    gates = [float(layer.bias_ih_l0.detach()[number * 12 : number * 12 + 12].mean()) for number in range(4)]
    assert gates == [0.0, 1.0, 0.0, 0.0]
    forget = layer.weight_hh_l0[12:24]
    assert torch.allclose(forget @ forget.T, torch.eye(12), atol=1e-5), "recurrent gates are orthogonal"


def test_dropout_acts_between_layers_and_on_embeddings_in_training_only() -> None:
    for name in ("dropout", "embedding_dropout"):
        model = made(CAUSAL, "gru", **{"dropout": 0.0, "embedding_dropout": 0.0} | {name: 0.5})
        assert torch.equal(model(texts()).logits, model(texts()).logits)
        model.train()
        assert not torch.equal(model(texts()).logits, model(texts()).logits)


def test_it_generates() -> None:
    made_text = made(CAUSAL, "lstm").generate(texts(), max_new_tokens=4, do_sample=False)
    assert made_text.shape == (4, 13)


def test_the_fields_that_are_checked_are_those_of_the_configuration() -> None:
    known = architecture("lstm")
    assert known is not None
    fields = {name for name in known.fields if hasattr(recurrent.LSTMConfig(), name)}
    assert {"hidden_size", "num_layers", "num_hidden_layers", "dropout", "bidirectional"} <= fields


@pytest.mark.parametrize("make", [prose, labelled])
@pytest.mark.parametrize("model_type", RECURRENT)
def test_a_resumed_recurrent_trial_equals_an_uninterrupted_one(tmp_path: Path, make: Any, model_type: str) -> None:
    steps = {"eval_strategy": "steps", "eval_steps": 3, "max_steps": 9}
    document = make(tmp_path, architecture=model_type, config=TINY_RECURRENT, **steps)
    whole = run(document, tmp_path / "whole")
    run(document, tmp_path / "resumed", stop_after=1)
    resumed = run(document, tmp_path / "resumed")
    assert resumed.metrics == whole.metrics
    assert weights(resumed) == weights(whole)


REFUSED = {
    "field": ({"hiden_size": 8}, {}, r"`lstm` has no such field\. Did you mean `hidden_size`"),
    "type": ({"num_layers": "two"}, {}, "expected a whole number, but got 'two'"),
    "no layers": ({"num_layers": 0}, {}, "`num_layers >= 1` must hold"),
    "looking ahead": ({"bidirectional": True}, {}, "would see the token"),
    "checkpointing": ({}, {"gradient_checkpointing": True}, "recurrent models cannot do this"),
}


@pytest.mark.parametrize(("config", "training", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused(tmp_path: Path, config: Document, training: Document, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        check_trial(TrialConfig.model_validate(prose(tmp_path, architecture="lstm", config=config, **training)))


def test_an_odd_width_of_two_directions_is_refused(tmp_path: Path) -> None:
    document = labelled(tmp_path, architecture="lstm", config={"bidirectional": True, "hidden_size": 15})
    with pytest.raises(SpecError, match="must be even, but got 15"):
        check_trial(TrialConfig.model_validate(document))


def test_an_adapter_on_a_recurrent_model_is_refused(tmp_path: Path) -> None:
    made(SEQUENCE, "lstm").save_pretrained(tmp_path / "base")
    document = labelled(tmp_path)
    document["model"] = {"pretrained": str(tmp_path / "base"), "adapter": {}}
    del document["data"]["tokenizer"]
    with pytest.raises(SpecError, match="a recurrent model has none"):
        check_trial(TrialConfig.model_validate(document))

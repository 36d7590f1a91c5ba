"""Initial weights: their spread under each scheme, in each kind of model."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_trials import TINY_GPT2, TINY_LLAMA, TINY_RECURRENT, Document, prose, run

from spaces.errors import SpecError
from trainables.checks import check_trial
from trainables.config import TrialConfig
from trainables.models import build_model
from trainables.preparation import prepare
from trainables.tasks.registry import TASKS

WIDE = {"gpt2": {"n_embd": 128, "n_layer": 4, "n_head": 2},
        "llama": TINY_LLAMA | {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4}}  # fmt: skip


def drawn(
    folder: Path, architecture: str, initialization: Any, config: Document | None = None
) -> dict[str, torch.Tensor]:
    document = prose(folder, architecture=architecture, config=config or WIDE[architecture])
    document["model"]["initialization"] = initialization
    trial = TrialConfig.model_validate(document)
    data = prepare(trial.task, trial.model, trial.data)
    transformers.set_seed(0)
    return dict(
        build_model(
            TASKS[trial.task], trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer
        ).named_parameters()
    )


SPREADS = {
    # GPT-2 stores its matrices the other way round: inputs first
    "xavier of Conv1D": ("gpt2", "xavier", "transformer.h.0.mlp.c_fc.weight", math.sqrt(2 / (128 + 512))),
    "he of Conv1D": ("gpt2", "he", "transformer.h.0.mlp.c_fc.weight", math.sqrt(2 / 128)),
    "xavier of Linear": ("llama", "xavier", "model.layers.0.mlp.up_proj.weight", math.sqrt(2 / (128 + 256))),
    "he of Linear": ("llama", "he", "model.layers.0.mlp.down_proj.weight", math.sqrt(2 / 256)),
    "gain": ("llama", {"scheme": "he", "gain": 0.5}, "model.layers.0.mlp.down_proj.weight", 0.5 * math.sqrt(2 / 256)),
    "scaled into the stream": ("llama", "scaled", "model.layers.3.self_attn.o_proj.weight", 0.02 / math.sqrt(8)),
    "scaled feed-forward": ("gpt2", "scaled", "transformer.h.1.mlp.c_proj.weight", 0.02 / math.sqrt(8)),
    "scaled, others": ("llama", "scaled", "model.layers.3.self_attn.q_proj.weight", 0.02),
    "scaled, embeddings": ("llama", {"scheme": "scaled", "std": 0.1}, "model.embed_tokens.weight", 0.1),
}  # fmt: skip


@pytest.mark.parametrize(("architecture", "initialization", "name", "std"), SPREADS.values(), ids=SPREADS)
def test_a_scheme_gives_its_spread(
    tmp_path: Path, architecture: str, initialization: Any, name: str, std: float
) -> None:
    weight = drawn(tmp_path, architecture, initialization)[name]
    assert float(weight.std()) == pytest.approx(std, rel=0.05)
    assert abs(float(weight.mean())) < 0.1 * std


def test_each_gate_of_a_recurrent_layer_is_a_matrix_of_its_own(tmp_path: Path) -> None:
    config = TINY_RECURRENT | {"embedding_size": 64, "hidden_size": 128}
    weight = drawn(tmp_path, "lstm", "xavier", config)["body.layers.0.weight_ih_l0"]
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / (64 + 128)), rel=0.05)


@pytest.mark.parametrize("scheme", ["xavier", "he"])
def test_embeddings_and_norms_stay_as_the_architecture_draws_them(tmp_path: Path, scheme: str) -> None:
    default, other = drawn(tmp_path, "gpt2", "default"), drawn(tmp_path, "gpt2", scheme)
    same = {name for name in default if torch.equal(default[name], other[name])}
    assert {name for name in default if "c_" not in name or "bias" in name} <= same
    assert not [name for name in same if "c_" in name and "weight" in name]


def test_a_padding_token_stays_zero(tmp_path: Path) -> None:
    embedding = drawn(tmp_path, "lstm", "xavier", TINY_RECURRENT)["body.embeddings.weight"]
    assert int((embedding == 0).all(dim=1).sum()) == 1


def test_initial_weights_change_the_training(tmp_path: Path) -> None:
    losses = set()
    for scheme in ("default", "xavier", "he", "scaled"):
        document = prose(tmp_path, config=TINY_GPT2 | {"n_layer": 2}, max_steps=1)
        document["model"]["initialization"] = scheme
        losses.add(run(document).metrics[-1]["eval/loss"])
    assert len(losses) == 4


@pytest.mark.parametrize(
    ("architecture", "initialization", "says"),
    [
        ("lstm", "scaled", "into a residual stream"),
        ("gpt2", {"scheme": "xavier", "std": 0.1}, "only `scaled` has this"),
        ("gpt2", {"scheme": "default", "gain": 2.0}, "only `xavier` and `he` has this"),
    ],
)
def test_what_a_scheme_does_not_have_is_refused(
    tmp_path: Path, architecture: str, initialization: Any, says: str
) -> None:
    document = prose(tmp_path, architecture=architecture, config={})
    document["model"]["initialization"] = initialization
    with pytest.raises((SpecError, ValueError), match=says):
        check_trial(TrialConfig.model_validate(document))

"""Counted sizes are those of the models that transformers builds."""

from typing import Any

import pytest

from trainables.sizes import has_known_size, known_sizes, num_parameters

CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2}),
    ("gpt2", {"hidden_size": 48, "num_hidden_layers": 3, "n_head": 2, "n_inner": 100}),
    ("gpt2", {}),
    ("llama", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80}),
    ("llama", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
               "intermediate_size": 80, "head_dim": 16, "attention_bias": True, "mlp_bias": True}),
    ("mistral", {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 16, "intermediate_size": 96}),
    ("qwen2", {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4,
               "intermediate_size": 96}),
]  # fmt: skip


@pytest.mark.parametrize(("model_type", "config"), CONFIGS)
def test_the_count_is_that_of_the_built_model(model_type: str, config: dict[str, Any]) -> None:
    import torch
    from torch import nn
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, vocab_size=100, **config))
    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    looked_up.add(id(model.get_output_embeddings().weight))
    built = sum(weight.numel() for weight in model.parameters() if id(weight) not in looked_up)
    assert num_parameters(model_type, config) == built


def test_what_is_not_known_is_said() -> None:
    assert not has_known_size("bert")
    assert set(known_sizes()) == {model_type for model_type, _ in CONFIGS}

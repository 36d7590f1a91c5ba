"""How many parameters a decoder from scratch has, counted from its configuration. Imports no torch, builds no model.

Embeddings and the output layer are left out, as in published scaling laws. Known for a few architectures; the tests
compare each with the model that transformers builds.
"""

from collections.abc import Callable, Mapping
from typing import Any

from trainables.huggingface import Architecture, architecture

Count = Callable[[Callable[[str], Any]], int]
"""(field -> its value) -> parameters."""


def has_known_size(model_type: str) -> bool:
    """Whether the parameters of this model type can be counted."""
    return model_type in _COUNTS


def known_sizes() -> tuple[str, ...]:
    """The model types whose parameters can be counted."""
    return tuple(_COUNTS)


def num_parameters(model_type: str, config: Mapping[str, Any]) -> int:
    """Parameters of a `model_type` with the fields of `config`, defaults for the others, without any embeddings."""
    known = architecture(model_type)
    assert known is not None, "every counted architecture is one of transformers'"

    def value(field: str) -> Any:
        return _value(known, config, field)

    return _COUNTS[model_type](value)


def _value(known: Architecture, config: Mapping[str, Any], field: str) -> Any:
    own = known.aliases.get(field, field)
    names = (own, *(alias for alias, target in known.aliases.items() if target == own))
    given = next((config[name] for name in names if name in config), None)
    if given is not None or own not in known.fields:
        return given
    return known.fields[own].default


def _gpt2(value: Callable[[str], Any]) -> int:
    width, layers = int(value("n_embd")), int(value("n_layer"))
    inner = int(value("n_inner") or 4 * width)
    attention = width * 3 * width + 3 * width + width * width + width
    feed_forward = width * inner + inner + inner * width + width
    norms = 2 * 2 * width
    return layers * (attention + feed_forward + norms) + 2 * width


def _llama(value: Callable[[str], Any]) -> int:
    return _llama_like(value, attention_bias=bool(value("attention_bias")), mlp_bias=bool(value("mlp_bias")))


def _mistral(value: Callable[[str], Any]) -> int:
    return _llama_like(value)


def _qwen2(value: Callable[[str], Any]) -> int:
    width, head, layers = int(value("hidden_size")), _head(value), int(value("num_hidden_layers"))
    assert width, "a model has a width"
    biases = (int(value("num_attention_heads")) + 2 * _key_value_heads(value)) * head
    return _llama_like(value) + layers * biases


def _llama_like(value: Callable[[str], Any], *, attention_bias: bool = False, mlp_bias: bool = False) -> int:
    width, layers = int(value("hidden_size")), int(value("num_hidden_layers"))
    inner, heads, head = int(value("intermediate_size")), int(value("num_attention_heads")), _head(value)
    key_values = 2 * _key_value_heads(value) * head
    attention = width * (heads * head + key_values) + heads * head * width
    feed_forward = 3 * width * inner
    if attention_bias:
        attention += heads * head + key_values + width
    if mlp_bias:
        feed_forward += 2 * inner + width
    return layers * (attention + feed_forward + 2 * width) + width


def _head(value: Callable[[str], Any]) -> int:
    return int(value("head_dim") or value("hidden_size") // value("num_attention_heads"))


def _key_value_heads(value: Callable[[str], Any]) -> int:
    return int(value("num_key_value_heads") or value("num_attention_heads"))


_COUNTS: dict[str, Count] = {"gpt2": _gpt2, "llama": _llama, "mistral": _mistral, "qwen2": _qwen2}

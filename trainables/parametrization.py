"""What muP can be combined with, said before a trial runs. Imports no torch; mup.py does the work.

muP (Yang et al. 2022, Tensor Programs V, arXiv 2203.03466) makes the best learning rate of a narrow model that of a
wide one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spaces.errors import SpecError, did_you_mean
from trainables.config import ModelConfig, TrialConfig
from trainables.huggingface import Architecture, architecture

_WIDTHS = (
    "hidden_size", "n_embd", "intermediate_size", "n_inner", "num_attention_heads", "n_head", "num_key_value_heads",
    "head_dim",
)  # fmt: skip
"""Fields that make a model wider."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """How an architecture calls what muP treats by itself."""

    query: str | None
    """Ends the name of the layers that make queries; None where one layer makes keys and values, too."""
    last_norm: str
    """Ends the name of the norm right below the output layer of a language model."""


NAMES = {
    "bert": Names(query="attention.self.query", last_norm="predictions.transform.LayerNorm"),
    "gpt2": Names(query=None, last_norm="ln_f"),
    "llama": Names(query="self_attn.q_proj", last_norm="model.norm"),
    "mistral": Names(query="self_attn.q_proj", last_norm="model.norm"),
    "qwen2": Names(query="self_attn.q_proj", last_norm="model.norm"),
    "roberta": Names(query="attention.self.query", last_norm="lm_head.layer_norm"),
}
"""The architectures that muP is known for here."""


def check_parametrization(trial: TrialConfig) -> None:
    """Raise SpecError when muP cannot do what `trial` asks for."""
    wanted = trial.model.parametrization
    if wanted.scheme != "mup":
        return
    name = str(trial.model.architecture)
    path = "model.parametrization"
    if name not in NAMES:
        raise SpecError(
            f"muP is known for {', '.join(NAMES)} here, but the architecture is `{name}`: use `standard`.",
            path=f"{path}.scheme",
        )
    known = architecture(name)
    assert known is not None, "those that muP is known for are transformers'"
    for field in wanted.base:
        _check_width_field(name, field, known, path=f"{path}.base.{field}")
    if trial.model.initialization.scheme in ("xavier", "he"):
        raise SpecError(
            f"`{trial.model.initialization.scheme}` has its own rule of how weights shrink with width, and so has muP: "
            "use `default` or `scaled`.",
            path="model.initialization.scheme",
        )
    if trial.model.layer_decay != 1:
        raise SpecError(
            "muP sets the learning rate of each weight by itself: leave this out.", path="model.layer_decay"
        )
    optimizer = str(trial.training.get("optim", "adamw_torch"))
    if "adam" not in optimizer or "lomo" in optimizer:
        raise SpecError(
            f"muP's learning rates are those of Adam and its kin, but got `{optimizer}`: use `adamw_torch`.",
            path="training.optim",
        )
    if trial.training.get("fsdp"):
        raise SpecError(
            "muP tells weights apart by their shapes, which sharding hides: leave this out.", path="training.fsdp"
        )
    _check_heads(trial, known, path=f"{path}.base")


def base_model(model: ModelConfig) -> ModelConfig:
    """The model for which muP changes nothing: that of `model` with the widths of its base."""
    known = architecture(str(model.architecture))
    assert known is not None, "muP is checked for its architecture before"
    return model.model_copy(update={"config": _base_config(model, known)})


def _check_width_field(name: str, field: str, known: Architecture, *, path: str) -> None:
    widths = [one for one in _WIDTHS if one in known.fields]
    if field not in widths:
        raise SpecError(
            f"the base of muP differs in widths alone.{did_you_mean(field, widths)} Those of `{name}`: "
            f"{', '.join(widths)}.",
            path=path,
        )


def _check_heads(trial: TrialConfig, known: Architecture, *, path: str) -> None:
    base = _base_config(trial.model, known)
    width, heads = _value("hidden_size", base, known), _value("num_attention_heads", base, known)
    if not _value("head_dim", base, known) and width % heads:
        raise SpecError(
            f"the base model's width must be a multiple of its number of heads, but got {width} and {heads}.", path=path
        )
    own, of_base = _head_width(trial.model.config, known), _head_width(base, known)
    if NAMES[str(trial.model.architecture)].query is None and own != of_base:
        raise SpecError(
            f"the heads of the base model are {of_base:g} wide and the model's {own:g}. One layer of "
            f"`{trial.model.architecture}` makes queries, keys and values, so muP cannot treat queries by themselves: "
            "let the number of heads grow with the width, in `base` too.",
            path=path,
        )


def _base_config(model: ModelConfig, known: Architecture) -> dict[str, Any]:
    """The fields of `base` in the place of `config`'s, whichever of their names they go by."""
    replaced = {known.aliases.get(field, field) for field in model.parametrization.base}
    kept = {field: value for field, value in model.config.items() if known.aliases.get(field, field) not in replaced}
    return kept | dict(model.parametrization.base)


def _head_width(config: Mapping[str, Any], known: Architecture) -> float:
    """How wide an attention head is."""
    given = _value("head_dim", config, known)
    return given if given else _value("hidden_size", config, known) / _value("num_attention_heads", config, known)


def _value(field: str, config: Mapping[str, Any], known: Architecture) -> Any:
    """The value of `field` in `config`, by whichever name, or its default."""
    own = known.aliases.get(field, field)
    for name, value in config.items():
        if known.aliases.get(name, name) == own and value is not None:
            return value
    return known.fields[own].default if own in known.fields else None

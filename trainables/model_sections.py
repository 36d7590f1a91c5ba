"""The parts of a model section: what is frozen, adapted, quantised, and how random weights are drawn.

Knows neither the rest of a trial nor torch; each part checks its own arguments.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from spaces.errors import SpecError
from trainables.section import Section

AdapterMethod = Literal["lora", "ia3", "prefix_tuning", "prompt_tuning"]


class FreezeConfig(Section):
    """Which weights of a pretrained model stay as they are. The task's head always trains."""

    embeddings: bool = False
    """Freeze the token and position embeddings."""
    layers: Annotated[int, Field(ge=0)] = 0
    """Freeze this many of the first transformer blocks."""
    all_but_head: bool = False
    """Train the task's head only, the output layer of a language model. It stands alone: it includes the others."""

    @model_validator(mode="after")
    def _all_or_parts(self) -> "FreezeConfig":
        if self.all_but_head and (self.embeddings or self.layers):
            raise SpecError("`all_but_head` freezes embeddings and all layers already: leave the others out.")
        return self


class UnfreezeConfig(Section):
    """Gradual unfreezing: only what lies above the blocks trains at first, then the blocks join from the top down, the
    embeddings last."""

    every: Annotated[float, Field(gt=0)] = 1.0
    """After this many `unit`s the next blocks train too."""
    unit: Literal["epochs", "steps"] = "epochs"
    """What `every` counts."""
    blocks: PositiveInt = 1
    """How many blocks join at a time."""


class AdapterConfig(Section):
    """A small trainable addition to a pretrained model, whose own weights stay as they are. The task's head trains
    too."""

    method: AdapterMethod = "lora"
    """`lora`: low-rank updates of linear layers. `ia3`: learned factors on keys, values and feed-forward layers.
    `prefix_tuning`: learned keys and values in front of each layer. `prompt_tuning`: learned embeddings in front of
    the text."""
    r: PositiveInt = 8
    """lora: rank of the updates."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """lora: updates are multiplied by `alpha / r`, or `alpha / sqrt(r)` with `rslora`."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """lora: dropout in front of the updates."""
    dora: bool = False
    """lora: learn the size of each weight's column by itself (DoRA). Slower; better at small ranks."""
    rslora: bool = False
    """lora: scale by `sqrt(r)` instead of `r` (rank-stabilised), so that one alpha fits all ranks."""
    target_modules: Literal["all-linear"] | tuple[str, ...] | None = None
    """lora, ia3: names of the layers to adapt, such as `[query, value]`, or `all-linear`. Default: lora takes
    all-linear, the head left out; ia3 takes what PEFT knows for the model type."""
    virtual_tokens: PositiveInt = 20
    """prefix_tuning, prompt_tuning: how many learned tokens."""

    @model_validator(mode="after")
    def _arguments_belong_to_it(self) -> "AdapterConfig":
        # A recorded document has all defaults filled in: only other values were meant.
        for name, field in type(self).model_fields.items():
            methods = _ADAPTER_ARGUMENTS.get(name, (self.method,))
            if self.method not in methods and getattr(self, name) != field.default:
                raise SpecError(
                    f"only {' and '.join(f'`{method}`' for method in methods)} has this, but the method is "
                    f"`{self.method}`: leave it out, or vary it under `when: {{model.adapter.method: {methods[0]}}}`.",
                    path=name,
                )
        if self.target_modules == ():
            raise SpecError("name at least one layer, or leave it out.", path="target_modules")
        return self


_ADAPTER_ARGUMENTS: dict[str, tuple[AdapterMethod, ...]] = {
    **dict.fromkeys(("r", "alpha", "dropout", "dora", "rslora"), ("lora",)),
    "target_modules": ("lora", "ia3"),
    "virtual_tokens": ("prefix_tuning", "prompt_tuning"),
}


class QuantizationConfig(Section):
    """Load the frozen base model in few bits (bitsandbytes; needs a GPU). Only an adapter and the head train."""

    bits: Literal[4, 8] = 4
    """Bits of a weight."""
    type: Literal["nf4", "fp4"] = "nf4"
    """4 bits: which 16 numbers. `nf4` fits normally distributed weights."""
    double: bool = True
    """4 bits: quantise the scales too, which saves 0.4 bits a weight."""
    compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """4 bits: what matrices are multiplied in."""


class InitializationConfig(Section):
    """Random weights of a model from scratch."""

    scheme: Literal["default", "xavier", "he", "scaled"] = "default"
    """`default`: the architecture's own. `xavier`, `he`: normal, with a variance of 2 / (inputs + outputs) or
    2 / inputs. `scaled`: normal with `std`, the layers that write into the residual stream divided by
    sqrt(2 * layers), as in GPT-2."""
    gain: Annotated[float, Field(gt=0)] = 1.0
    """xavier, he: the standard deviation is multiplied by it."""
    std: Annotated[float, Field(gt=0)] = 0.02
    """scaled: standard deviation."""

    @model_validator(mode="after")
    def _arguments_belong_to_it(self) -> "InitializationConfig":
        for name, schemes in {"gain": ("xavier", "he"), "std": ("scaled",)}.items():
            if self.scheme not in schemes and getattr(self, name) != type(self).model_fields[name].default:
                raise SpecError(
                    f"only {' and '.join(f'`{scheme}`' for scheme in schemes)} has this, but the scheme is "
                    f"`{self.scheme}`.",
                    path=name,
                )
        return self


class ParametrizationConfig(Section):
    """How a model from scratch changes with its width."""

    scheme: Literal["standard", "mup"] = "standard"
    """`standard`: as the architecture has it. `mup`: initial weights and learning rates follow the width, so that the
    best learning rate of a narrow model is that of a wide one."""
    base: dict[str, PositiveInt] = Field(default_factory=dict)
    """mup: widths of the model for which nothing changes, as fields of `model.config`, such as `{n_embd: 64,
    n_head: 2}`. The learning rate means that model's."""

    @model_validator(mode="after")
    def _has_a_base(self) -> "ParametrizationConfig":
        if self.scheme == "mup" and not self.base:
            raise SpecError(
                "`mup` needs the widths of the model whose learning rate is given, such as "
                "`{scheme: mup, base: {hidden_size: 64}}`.",
                path="base",
            )
        return self


def scheme_as_mapping(value: Any) -> Any:
    """`xavier` is short for `{scheme: xavier}`, `standard` for `{scheme: standard}`."""
    return {"scheme": value} if isinstance(value, str) else value

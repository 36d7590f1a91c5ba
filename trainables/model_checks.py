"""What can be said of adapters, initialisation, freezing and conversions before a trial runs.

Reads sources and headers of files; imports no torch. Every error carries the key path within the trial document.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spaces.errors import SpecError, did_you_mean
from trainables.config import TrialConfig
from trainables.conversion import adapter_facts
from trainables.huggingface import (
    RECURRENT,
    RESIDUAL_OUTPUTS,
    architecture,
    literal_in,
    model_types_with_head,
    modeling_source,
)
from trainables.model_sections import AdapterConfig
from trainables.quantization import check_quantization
from trainables.weight_files import linear_layers

_PROMPTS = ("prefix_tuning", "prompt_tuning")
_IA3_TARGETS = "TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING"
# Each updates weights by itself, out of sight of learning rates by layer.
_FUSED_OPTIMIZERS = ("lomo", "adalomo")


def check_scratch(trial: TrialConfig) -> None:
    """Raise SpecError for what a model from scratch cannot have."""
    name = str(trial.model.architecture)
    if name in RECURRENT:
        _check_recurrent(trial, trial.model.config)
    if trial.model.initialization.scheme == "scaled" and not _has_residual_outputs(name):
        raise SpecError(
            f"it is not known which layers of `{name}` write into a residual stream, so they cannot be scaled: use "
            "`default`, `xavier` or `he`.",
            path="model.initialization.scheme",
        )


def check_pretrained_parts(trial: TrialConfig, config: Mapping[str, Any], folder: Path | None) -> None:
    """Raise SpecError for what the pretrained model with this `config` cannot have; it is empty when not known."""
    model_type = str(config.get("model_type", ""))
    if model_type in RECURRENT:
        _check_recurrent(trial, config)
    for field, value in trial.model.config.items():
        check_pretrained_field(model_type, field, value)
    if trial.model.quantization is not None:
        try:
            check_quantization()
        except SpecError as error:
            raise error.at("model.quantization") from None
    if trial.model.adapter is not None:
        if trial.model.adapter.method in _PROMPTS:
            _check_prompted_task(trial, trial.model.adapter, is_two_stacks=bool(config.get("is_encoder_decoder")))
        _check_adapter(trial, trial.model.adapter, model_type, folder)


def check_pretrained_field(model_type: str, field: str, value: Any = None) -> None:
    """Raise SpecError unless `field` of a pretrained model's configuration may be set: one that leaves its weights as
    they are."""
    path = f"model.config.{field}"
    if not any(part in field for part in ("drop", "attn_implementation", "dtype")):
        raise SpecError(
            "a pretrained model brings its own: only its dropouts can be set, all else describes a model from scratch "
            "(`architecture`).",
            path=path,
        )
    known = architecture(model_type) if model_type else None
    if known is not None and field != "attn_implementation" and field not in known.fields:
        dropouts = [name for name in known.fields if "drop" in name]
        raise SpecError(
            f"the configuration of `{model_type}` has no such field.{did_you_mean(field, dropouts)} Its dropouts: "
            f"{', '.join(sorted(dropouts)) or 'none'}.",
            path=path,
        )
    if "drop" in field and value is not None and not (isinstance(value, int | float) and 0 <= value < 1):
        raise SpecError(f"`0 <= {field} < 1` must hold, but got {value!r}.", path=path)


def check_layer_decay(trial: TrialConfig) -> None:
    """Raise SpecError when the learning rate of a layer cannot be set."""
    if trial.model.layer_decay == 1:
        return
    optimizer = str(trial.training.get("optim", ""))
    if optimizer in _FUSED_OPTIMIZERS or optimizer.endswith("_layerwise"):
        raise SpecError(
            f"`training.optim: {optimizer}` gives every weight the same learning rate: use another, or leave this out.",
            path="model.layer_decay",
        )
    if trial.model.adapter is not None and trial.model.adapter.method in _PROMPTS:
        raise SpecError(
            f"`{trial.model.adapter.method}` trains tokens in front of the model, no layers of it: leave this out.",
            path="model.layer_decay",
        )


def check_adapter_folder(folder: Path) -> Path | None:
    """Raise SpecError when the adapter in `folder` cannot be the start of a training. Gives its base, where it is a
    folder."""
    try:
        facts = adapter_facts(folder)
    except ValueError as error:
        raise SpecError(f"cannot read `{folder}`: {error}.", path="model.pretrained") from None
    kind = str(facts.get("peft_type"))
    if kind not in ("LORA", "IA3"):
        raise SpecError(
            f"`{folder}` is an adapter of kind {kind}, which cannot be merged into its base: only LoRA and IA3 can.",
            path="model.pretrained",
        )
    base = Path(str(facts.get("base_model_name_or_path")))
    if base.is_absolute() and not base.is_dir():
        raise SpecError(f"`{folder}` is an adapter, and its base `{base}` is gone.", path="model.pretrained")
    return base if base.is_dir() else None


def num_blocks(config: Mapping[str, Any], names: Sequence[str], *, has_decoder: bool) -> int | None:
    """Blocks of the pretrained model with this `config`, those of an encoder and its decoder together, or None when it
    does not say. `names` are what configurations call them; some tasks use the encoder alone."""
    own = [config[name] for name in ("encoder_layers", *names) if isinstance(config.get(name), int)]
    if not own or not config.get("is_encoder_decoder") or not has_decoder:
        return own[0] if own else None
    above = [config[name] for name in ("decoder_layers", "num_decoder_layers") if isinstance(config.get(name), int)]
    return own[0] + above[0] if above else None


def check_gguf() -> None:
    """Raise SpecError when GGUF files cannot be read here."""
    if importlib.util.find_spec("gguf") is None:
        raise SpecError("reading a GGUF file needs gguf: `pip install 'tunesmith[gguf]'`.", path="model.pretrained")


def virtual_tokens(trial: TrialConfig) -> int:
    """Tokens that stand in front of each text."""
    adapter = trial.model.adapter
    return adapter.virtual_tokens if adapter is not None and adapter.method in _PROMPTS else 0


def _check_recurrent(trial: TrialConfig, config: Mapping[str, Any]) -> None:
    if trial.model.adapter is not None:
        raise SpecError("PEFT adapts linear layers, and a recurrent model has none to speak of.", path="model.adapter")
    if trial.training.get("gradient_checkpointing"):
        raise SpecError("recurrent models cannot do this: leave it out.", path="training.gradient_checkpointing")
    if not config.get("bidirectional"):
        return
    if trial.task in ("causal_lm", "instruction_tuning", "preference", "few_shot"):
        raise SpecError(
            "a bidirectional language model would see the token that it is to predict.",
            path="model.config.bidirectional",
        )
    width = config.get("hidden_size")
    if isinstance(width, int) and width % 2:
        raise SpecError(
            f"each direction has half of the width, so it must be even, but got {width}.",
            path="model.config.hidden_size",
        )


def _check_adapter(trial: TrialConfig, adapter: AdapterConfig, model_type: str, folder: Path | None) -> None:
    if isinstance(adapter.target_modules, tuple):
        _check_target_modules(adapter.target_modules, folder)
    if adapter.method == "ia3" and adapter.target_modules is None and model_type:
        known = literal_in("peft", "utils/constants.py", _IA3_TARGETS)
        if model_type not in known:
            raise SpecError(
                f"PEFT does not know which layers of `{model_type}` ia3 adapts: name them, or take `all-linear`.",
                path="model.adapter.target_modules",
            )
    if adapter.method in _PROMPTS and model_type:
        _check_prompt(trial, adapter, model_type)


def _check_prompted_task(trial: TrialConfig, adapter: AdapterConfig, *, is_two_stacks: bool) -> None:
    path, method = "model.adapter.method", adapter.method
    if trial.task == "masked_lm":
        raise SpecError(f"PEFT has no `{method}` for masked language models: use `lora` or `ia3`.", path=path)
    if trial.task == "token_classification" and method == "prompt_tuning":
        raise SpecError(
            "PEFT gives labels to the learned tokens too, and they would not fit those of the text: use "
            "`prefix_tuning` or `lora`.",
            path=path,
        )
    if trial.task == "sequence_classification" and is_two_stacks:
        # PEFT trains a head called `classifier` or `score`; theirs is called `classification_head`.
        raise SpecError(
            f"PEFT would leave the new head of an encoder-decoder classifier untrained below `{method}`: use `lora`.",
            path=path,
        )


def _check_prompt(trial: TrialConfig, adapter: AdapterConfig, model_type: str) -> None:
    path = "model.adapter.method"
    source = modeling_source(model_type)
    if adapter.method == "prefix_tuning":
        if source and "past_key_values" not in source:
            raise SpecError(f"`{model_type}` takes no keys and values from outside: use `lora`.", path=path)
        if trial.training.get("gradient_checkpointing"):
            raise SpecError(
                "`gradient_checkpointing` computes each layer anew without its prefix: leave one of them out.",
                path=path,
            )
    elif trial.task == "sequence_classification" and model_type not in model_types_with_head("MASKED_LM"):
        # They classify at the last token that is no padding, and cannot tell padding among embeddings.
        raise SpecError(
            f"`{model_type}` cannot find the end of a text behind learned embeddings: use `prefix_tuning`.", path=path
        )


def _check_target_modules(named: tuple[str, ...], folder: Path | None) -> None:
    layers = linear_layers(folder) if folder is not None else None
    if layers is None:
        return
    for name in named:
        if not any(f".{layer}".endswith(f".{name}") for layer in layers):
            ends = sorted({layer.rpartition(".")[2] for layer in layers})
            raise SpecError(
                f"the model has no layer `{name}`.{did_you_mean(name, ends)} Layers end in: {', '.join(ends)}.",
                path="model.adapter.target_modules",
            )


def _has_residual_outputs(model_type: str) -> bool:
    source = modeling_source(model_type)
    names = {name.rpartition(".")[2] for name in RESIDUAL_OUTPUTS}
    return any(f"self.{name} = " in source for name in names)

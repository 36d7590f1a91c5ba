"""What can be said of a trial before it runs: fields that no model has, sections that do not go together.

Reads sources and folders only; imports no torch. Every error carries the key path within the trial document.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spaces.errors import SpecError, did_you_mean
from trainables.arguments import check_training, has_type
from trainables.config import ModelConfig, TaskName, TrialConfig
from trainables.huggingface import architecture, model_types_with_head
from trainables.places import resolve_pretrained

_HEADS: dict[TaskName, str] = {"causal_lm": "CAUSAL_LM", "sequence_classification": "SEQUENCE_CLASSIFICATION"}

# Set from the data and the task; a value in the spec could only disagree.
_DERIVED_FIELDS = {
    "vocab_size": "it follows from the tokenizer (`data.tokenizer.vocab_size`)",
    "num_labels": "it follows from the data's labels",
    "id2label": "it follows from the data's labels",
    "label2id": "it follows from the data's labels",
    "pad_token_id": "it follows from the tokenizer",
    "bos_token_id": "it follows from the tokenizer",
    "eos_token_id": "it follows from the tokenizer",
    "problem_type": "it follows from the task",
}


def check_trial(trial: TrialConfig) -> None:
    """Raise SpecError for the first thing in `trial` that cannot work."""
    try:
        check_training(trial.training)
    except SpecError as error:
        raise error.at("training") from None
    if trial.model.architecture is not None:
        _check_architecture(trial)
    else:
        _check_pretrained(trial.model)


def first_message(error: ValidationError) -> tuple[str, str]:
    """(dotted path, message in plain words) of the first error pydantic found."""
    first = error.errors(include_url=False)[0]
    return ".".join(str(part) for part in first["loc"]), str(first["msg"])


def _check_architecture(trial: TrialConfig) -> None:
    name = str(trial.model.architecture)
    able = model_types_with_head(_HEADS[trial.task])
    if name not in able:
        near = did_you_mean(name, able)
        raise SpecError(f"transformers has no model type `{name}` for {trial.task}.{near}", path="model.architecture")
    known = architecture(name)
    if known is None:
        return  # its configuration is spread over several files: transformers itself will check it
    for field, value in trial.model.config.items():
        path = f"model.config.{field}"
        if field in _DERIVED_FIELDS:
            raise SpecError(f"leave this out: {_DERIVED_FIELDS[field]}.", path=path)
        if field not in known.fields:
            near = did_you_mean(field, known.fields)
            raise SpecError(f"the configuration of `{name}` has no such field.{near}", path=path)
        annotation = known.fields[field].annotation
        if not has_type(value, annotation):
            raise SpecError(f"expected {annotation}, but got {value!r}.", path=path)
    _check_heads_divide(trial.model.config)
    _check_positions(trial)


def _check_heads_divide(config: Mapping[str, Any]) -> None:
    width = config.get("hidden_size", config.get("n_embd"))
    heads = config.get("num_attention_heads", config.get("n_head"))
    if isinstance(width, int) and isinstance(heads, int) and (heads < 1 or width % heads):
        raise SpecError(
            f"the width must be a multiple of the number of heads, but got {width} and {heads}.",
            path="model.config.num_attention_heads" if "num_attention_heads" in config else "model.config.n_head",
        )


def _check_positions(trial: TrialConfig) -> None:
    for field in ("max_position_embeddings", "n_positions"):
        positions = trial.model.config.get(field)
        if isinstance(positions, int) and positions < trial.data.max_length:
            raise SpecError(
                f"the model has {positions} positions, but examples have up to {trial.data.max_length} tokens "
                "(`data.max_length`).",
                path=f"model.config.{field}",
            )


def _check_pretrained(model: ModelConfig) -> None:
    place = str(model.pretrained)
    try:
        folder = resolve_pretrained(place)
    except SpecError as error:
        raise error.at("model.pretrained") from None
    if _looks_local(place) and not (Path(folder) / "config.json").is_file():
        raise SpecError(f"`{folder}` is no model folder: it has no config.json.", path="model.pretrained")


def _looks_local(place: str) -> bool:
    return place.startswith(("/", "./", "../", "~", "package:")) or Path(place).exists()

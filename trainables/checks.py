"""What can be said of a trial before it runs: fields that no model has, sections that do not go together.

Reads sources and folders only; imports no torch. Every error carries the key path within the trial document.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spaces.errors import SpecError, did_you_mean
from trainables.arguments import check_training, has_type, type_in_words
from trainables.config import BuiltinSource, PretrainedTokenizer, TrainedTokenizer, TrialConfig
from trainables.conversion import converted_folder, is_adapter
from trainables.data.builtin import check_builtin
from trainables.data.columns import split_columns
from trainables.data.several_sources import source_named
from trainables.data_checks import check_documents
from trainables.huggingface import Architecture, architecture, model_types_with_head
from trainables.model_checks import (
    check_adapter_folder,
    check_gguf,
    check_layer_decay,
    check_pretrained_parts,
    check_scratch,
    num_blocks,
    virtual_tokens,
)
from trainables.parametrization import check_parametrization
from trainables.places import is_gguf, resolve_pretrained
from trainables.stopping import check_stopping
from trainables.task_checks import check_packing, check_task
from trainables.tasks.registry import TASKS, foreign_options
from trainables.training_checks import check_together

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
# The names that configurations have for the same thing.
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_POSITIONS = ("max_position_embeddings", "n_positions")
_SIZES = {
    *_LAYERS, *_POSITIONS, "hidden_size", "n_embd", "intermediate_size", "n_inner", "num_attention_heads", "n_head",
    "num_key_value_heads", "head_dim", "type_vocab_size",
}  # fmt: skip
_COUNT_FROM_PADDING = {"roberta", "xlm-roberta", "camembert", "roberta-prelayernorm", "xlm-roberta-xl", "xmod", "ibert",
                       "longformer", "mpnet", "data2vec-text", "bertweet"}  # fmt: skip


def check_trial(trial: TrialConfig) -> None:
    """Raise SpecError for the first thing in `trial` that cannot work."""
    check_layer_decay(trial)  # before packages: to install one for nothing would be bad advice
    try:
        check_training(trial.training)
        check_together(trial.training)
    except SpecError as error:
        raise error.at("training") from None
    check_stopping(trial)
    check_task(trial)
    if trial.model.architecture is not None:
        _check_architecture(trial)
    else:
        _check_pretrained(trial)
    if isinstance(trial.data.tokenizer, PretrainedTokenizer):
        _model_folder(trial.data.tokenizer.pretrained, path="data.tokenizer.pretrained")
    _check_data(trial)


def _check_data(trial: TrialConfig) -> None:
    for option, owners in foreign_options(trial.task, trial.data).items():
        raise SpecError(
            f"{trial.task} does not read this, only {' and '.join(owners)}: leave it out.", path=f"data.{option}"
        )
    if trial.data.label_kind != "class" and trial.training.get("label_smoothing_factor"):
        raise SpecError(
            f"labels can be smoothed where each text has one, but `data.label_kind` is `{trial.data.label_kind}`.",
            path="training.label_smoothing_factor",
        )
    check_documents(trial)
    columns = (*TASKS[trial.task].columns(trial.data), *split_columns(trial.data))
    for index, source in enumerate(trial.data.sources):
        if isinstance(source, BuiltinSource):
            with source_named(trial.data, index):
                check_builtin(source.builtin, columns)


# --- from scratch ----------------------------------------------------------------------------------------


def _check_architecture(trial: TrialConfig) -> None:
    name = str(trial.model.architecture)
    able = model_types_with_head(TASKS[trial.task].head)
    if name not in able:
        near = did_you_mean(name, able)
        raise SpecError(f"transformers has no model type `{name}` for {trial.task}.{near}", path="model.architecture")
    for field in trial.model.config:
        if field in _DERIVED_FIELDS:
            raise SpecError(f"leave this out: {_DERIVED_FIELDS[field]}.", path=f"model.config.{field}")
    check_scratch(trial)
    check_parametrization(trial)
    check_packing(trial, name)
    known = architecture(name)
    if known is None:
        return  # its configuration is spread over several files: transformers itself will check it
    for field, value in trial.model.config.items():
        path = f"model.config.{field}"
        if field not in known.fields:
            near = did_you_mean(field, known.fields)
            raise SpecError(f"the configuration of `{name}` has no such field.{near}", path=path)
        annotation = known.fields[field].annotation
        if not has_type(value, annotation):
            raise SpecError(f"expected {type_in_words(annotation)}, but got {value!r}.", path=path)
        _check_size(field, value, path)
    _check_heads_divide(trial.model.config, known)
    _check_positions(trial)


def _check_size(field: str, value: Any, path: str) -> None:
    if field in _SIZES and isinstance(value, int | float) and value < 1:
        raise SpecError(f"`{field} >= 1` must hold, but got {value}.", path=path)


def _check_heads_divide(config: Mapping[str, Any], known: Architecture) -> None:
    if isinstance(_given_or_default(("head_dim",), config, known)[1], int):
        return  # the width of a head is a size of its own
    width_field, width = _given_or_default(("hidden_size", "n_embd"), config, known)
    heads_field, heads = _given_or_default(("num_attention_heads", "n_head"), config, known)
    given = [field for field in (heads_field, width_field) if field in config]
    if given and isinstance(width, int) and isinstance(heads, int) and width % heads:
        default = " (the default)"
        raise SpecError(
            f"the width must be a multiple of the number of heads, but got "
            f"{width_field} {width}{'' if width_field in config else default} and "
            f"{heads_field} {heads}{'' if heads_field in config else default}.",
            path=f"model.config.{given[0]}",
        )


def _given_or_default(names: tuple[str, ...], config: Mapping[str, Any], known: Architecture) -> tuple[str, Any]:
    """The first of `names` (a common name, then its older alias) that is given, else its default."""
    for name in names:
        if name in config:
            return name, config[name]
    for name in names:
        if name in known.fields:
            return name, known.fields[name].default
    return names[0], None


def _check_positions(trial: TrialConfig) -> None:
    for field in _POSITIONS:
        if isinstance(trial.model.config.get(field), int):
            usable = _usable_positions(trial.model.config[field], str(trial.model.architecture))
            if usable < trial.data.max_length:
                raise SpecError(
                    f"the model has {usable} positions, but examples have up to {trial.data.max_length} tokens "
                    "(`data.max_length`).",
                    path=f"model.config.{field}",
                )


def _usable_positions(positions: int, model_type: str) -> int:
    # RoBERTa and its kin count positions from the padding id on, which is 1.
    return positions - 2 if model_type in _COUNT_FROM_PADDING else positions


# --- pretrained ------------------------------------------------------------------------------------------


def _check_pretrained(trial: TrialConfig) -> None:
    if isinstance(trial.data.tokenizer, TrainedTokenizer):
        raise SpecError(
            "a pretrained model needs its own tokenizer: the tokens of a new one would mean other words to its "
            "embeddings. Leave `tokenizer` out.",
            path="data.tokenizer",
        )
    folder = _model_folder(str(trial.model.pretrained), path="model.pretrained")
    config = _read_config(folder) if folder is not None else {}
    _check_pretrained_config(trial, config)
    check_pretrained_parts(trial, config, folder)
    check_packing(trial, str(config.get("model_type", "")))


def _check_pretrained_config(trial: TrialConfig, config: Mapping[str, Any]) -> None:
    num_layers = num_blocks(config, _LAYERS, has_decoder=trial.task != "token_classification")
    if trial.model.freeze is not None and num_layers is not None and trial.model.freeze.layers > num_layers:
        raise SpecError(
            f"the pretrained model has {num_layers} layers, but {trial.model.freeze.layers} are to be frozen.",
            path="model.freeze.layers",
        )
    known = architecture(str(config.get("model_type", "")))
    # A checkpoint may name positions that its model does not have, such as T5's, which are relative.
    own = [name for name in _POSITIONS if known is None or name in known.fields]
    positions = next((config[name] for name in own if isinstance(config.get(name), int)), None)
    if positions is not None:
        usable = _usable_positions(positions, str(config.get("model_type")))
        added = virtual_tokens(trial)
        if trial.data.max_length + added > usable:
            virtual = f" and {added} virtual ones" if added else ""
            raise SpecError(
                f"the pretrained model has {usable} positions, but examples have up to {trial.data.max_length} "
                f"tokens{virtual}: give {usable - added} at most.",
                path="data.max_length",
            )


def _model_folder(place: str, *, path: str) -> Path | None:
    """Where `place` lies, or None when nothing is known before it is loaded: a hub id, or a GGUF file that was never
    converted."""
    try:
        folder = Path(resolve_pretrained(place))
    except SpecError as error:
        raise error.at(path) from None
    if is_gguf(place):
        check_gguf()
        made = converted_folder(str(folder))
        return made if (made / "config.json").is_file() else None
    if not _looks_local(place):
        return None
    if path == "model.pretrained" and is_adapter(folder):
        return check_adapter_folder(folder)
    if path == "model.pretrained" and not (folder / "config.json").is_file():
        raise SpecError(f"`{folder}` is no model folder: it has no config.json.", path=path)
    return folder


def _read_config(folder: Path) -> Mapping[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except ValueError as error:
        raise SpecError(f"cannot read `{folder / 'config.json'}`: {error}.", path="model.pretrained") from None
    return config if isinstance(config, dict) else {}


def _looks_local(place: str) -> bool:
    return place.startswith(("/", "./", "../", "~", "package:")) or Path(place).exists()

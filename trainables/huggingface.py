"""What transformers accepts - training arguments, model types, their fields - read from its source; and our own.

Importing transformers costs seconds and torch; parsing one of its files costs milliseconds. Knows no spec.
"""

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Fields of every model configuration that a user may set; the others follow from data and task.
_COMMON_CONFIG_FIELDS = {
    "dtype": "str | None",
    "chunk_size_feed_forward": "int",
    "problem_type": "str | None",
}
_RECURRENT_HEADS = {"CAUSAL_LM", "SEQUENCE_CLASSIFICATION", "TOKEN_CLASSIFICATION"}

RECURRENT = ("rnn", "lstm", "gru")
"""Model types of our own, in recurrent.py: they have every head."""

RESIDUAL_OUTPUTS = (
    "c_proj", "o_proj", "out_proj", "down_proj", "wo", "w2", "fc2", "fc_out", "dense_4h_to_h", "attention.dense",
    "self_attention.dense", "output.dense", "SelfAttention.o", "EncDecAttention.o",
)  # fmt: skip
"""How layers that write into the residual stream are called, attention's and the feed-forward's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field of a dataclass in transformers."""

    name: str
    """The field's name."""
    annotation: str
    """Its type as written in the source, such as `float | None`."""
    default: object
    """Its default, or None where the source computes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """One model type and the fields of its configuration."""

    model_type: str
    """As in `AutoConfig.for_model`."""
    fields: dict[str, Field]
    """Configuration fields by name, aliases (`hidden_size` for `n_embd`) included."""
    aliases: dict[str, str]
    """Common name -> the model's own name."""


@cache
def transformers_directory() -> Path:
    """Where the installed transformers lies, found without importing it."""
    found = importlib.util.find_spec("transformers")
    assert found is not None, "transformers is a declared dependency"
    assert found.origin is not None, "transformers has a file"
    return Path(found.origin).parent


@cache
def training_argument_fields() -> dict[str, Field]:
    """Every field of `transformers.TrainingArguments` by name."""
    return _fields_of(_class_named(_training_arguments_source(), "TrainingArguments"))


@cache
def optimizer_names() -> frozenset[str]:
    """What `TrainingArguments.optim` may be."""
    body = _class_named(_training_arguments_source(), "OptimizerNames").body
    return frozenset(str(_default_of(node.value)) for node in body if isinstance(node, ast.Assign))


@cache
def _training_arguments_source() -> ast.Module:
    return ast.parse((transformers_directory() / "training_args.py").read_text("utf-8"))


@cache
def architecture(model_type: str) -> Architecture | None:
    """The configuration fields of `model_type`, or None when there is no such type."""
    if model_type in RECURRENT:
        source = ast.parse(Path(__file__).with_name("recurrent.py").read_text("utf-8"))
        return _architecture_of(model_type, _class_named(source, "RecurrentConfig"))
    folder = transformers_directory() / "models" / model_type.replace("-", "_")
    for path in sorted(folder.glob("configuration_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and _assigned(node, "model_type") == model_type:
                return _architecture_of(model_type, node)
    return None


@cache
def model_types_with_head(head: str) -> frozenset[str]:
    """Model types that have a `head`, named as in transformers' auto classes (`CAUSAL_LM`, ...)."""
    tree = ast.parse((transformers_directory() / "models" / "auto" / "modeling_auto.py").read_text("utf-8"))
    wanted = f"MODEL_FOR_{head}_MAPPING_NAMES"
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == wanted:
            pairs = next(part for part in ast.walk(node.value) if isinstance(part, ast.List))
            names = {str(pair.elts[0].value) for pair in pairs.elts}  # type: ignore[attr-defined]  # pairs of string literals
            return frozenset(names | set(RECURRENT) if head in _RECURRENT_HEADS else names)
    return frozenset()


@cache
def literal_in(package: str, file: str, name: str) -> Any:
    """The literal that `file` of `package` assigns to `name`, such as a table of known names."""
    found = importlib.util.find_spec(package)
    assert found is not None, f"{package} is a declared dependency"
    assert found.origin is not None, f"{package} has a file"
    tree = ast.parse((Path(found.origin).parent / file).read_text("utf-8"))
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name
    )


@cache
def modeling_source(model_type: str) -> str:
    """The source of the models of `model_type`; empty when it is not found."""
    folder = transformers_directory() / "models" / model_type.replace("-", "_")
    return "\n".join(path.read_text("utf-8") for path in sorted(folder.glob("modeling_*.py")))


def _architecture_of(model_type: str, node: ast.ClassDef) -> Architecture:
    own = _fields_of(node)
    aliases = _assigned(node, "attribute_map") or {}
    assert isinstance(aliases, dict)
    fields = {name: Field(name=name, annotation=kind, default=None) for name, kind in _COMMON_CONFIG_FIELDS.items()}
    fields |= own
    fields |= {alias: own[target] for alias, target in aliases.items() if target in own}
    return Architecture(model_type=model_type, fields=fields, aliases=dict(aliases))


def _class_named(tree: ast.Module, name: str) -> ast.ClassDef:
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def _fields_of(node: ast.ClassDef) -> dict[str, Field]:
    fields = {}
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            annotation = ast.unparse(statement.annotation)
            fields[name] = Field(name=name, annotation=annotation, default=_default_of(statement.value))
    return fields


def _default_of(value: ast.expr | None) -> object:
    """The literal default of a dataclass field, looking into `field(default=...)`; None when it is computed."""
    if isinstance(value, ast.Call):
        value = next((word.value for word in value.keywords if word.arg == "default"), None)
    if value is None:
        return None
    try:
        return ast.literal_eval(value)
    except ValueError:
        return None


def _assigned(node: ast.ClassDef, name: str) -> object:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == name:
            return _default_of(statement.value)
    return None

"""A spec file -> a checked SearchSpec, with errors that teach: key path, line, what is allowed, the nearest name.

Imports neither torch nor ray nor optuna: `check` must answer at once.
"""

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from search.presets import AppliedPreset, apply_preset
from search.spec import SearchSpec
from search.transfer import resolve_searches
from search.yaml_text import Lines, parse_yaml
from spaces.documents import get_path, has_path, set_path
from spaces.errors import SpecError, did_you_mean
from trainables.user_functions import beside

RECORDED = "recorded"
"""Key of spec.yaml in a search's folder that holds what tunesmith added; ignored when the file is used as a spec."""

_OVERRIDDEN = 0
"""Line of what `--set` gave: not in the file."""
_MOST_ERRORS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedSpec:
    """A spec and where it came from."""

    spec: SearchSpec
    """The checked spec."""
    raw: dict[str, Any]
    """What the user wrote, overrides applied."""
    lines: Lines
    """Line of each key in the file; 0 for what was overridden."""
    source: str
    """Name of the file, for messages."""
    preset: AppliedPreset | None = None
    """What `space.preset` has given, where it was named."""


class SpecErrors(SpecError):
    """Several things are wrong at once."""

    def __init__(self, errors: Sequence[SpecError]) -> None:
        super().__init__("\n".join(str(error) for error in errors), line=errors[0].line)
        self.errors = tuple(errors)


def load_spec(path: Path, *, overrides: Sequence[str] = ()) -> LoadedSpec:
    """Read, override and check the spec at `path`.

    Args:
        path: A YAML file.
        overrides: `PATH=VALUE`, the value in YAML.

    Raises:
        SpecError: with the line where it is known.
    """
    raw, lines = parse_yaml(_read(path))
    if not isinstance(raw, dict):
        raise SpecError(
            f"a spec is a mapping of sections (`name: ...`, `task: ...`), but `{path}` holds {_kind_of(raw)}."
        )
    raw.pop(RECORDED, None)
    for override in overrides:
        _apply_override(raw, override, lines)
    if isinstance(trainable := raw.get("trainable"), str):
        raw["trainable"] = beside(trainable, path.parent)  # else a spec would run from its own folder only
    try:
        resolve_searches(raw)
        preset = apply_preset(raw)
    except SpecError as error:
        raise error.at("", line=line_of(error.path, lines)) from None
    return LoadedSpec(spec=validate(raw, lines=lines), raw=raw, lines=lines, source=str(path), preset=preset)


def validate(raw: Mapping[str, Any], *, lines: Lines | None = None) -> SearchSpec:
    """The spec that `raw` means. Raises SpecErrors for all that its sections do not allow."""
    try:
        return SearchSpec.model_validate(raw)
    except ValidationError as error:
        raise SpecErrors(explain(error, raw, model=SearchSpec, lines=lines or {})[:_MOST_ERRORS]) from None


def json_schema() -> dict[str, Any]:
    """JSON schema of a spec, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SearchSpec.model_json_schema()}


def line_of(path: str, lines: Lines) -> int | None:
    """The line of `path`, or of the nearest section above it. Keys of `space` hold dots themselves."""
    parts = path.split(".")
    while parts:
        if (line := lines.get(".".join(parts))) is not None:
            return line if line != _OVERRIDDEN else None
        parts.pop()
    return None


def _apply_override(raw: dict[str, Any], override: str, lines: Lines) -> None:
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals or not path:
        raise SpecError(f"`--set` takes PATH=VALUE, such as `--set search.trials=10`, but got `{override}`.")
    try:
        value, _ = parse_yaml(text)
    except SpecError as error:
        raise SpecError(f"the value of `--set {override}` is no valid YAML: {error.message}", path=path) from None
    section, _, rest = path.partition(".")
    if path == "storage" and isinstance(value, str) and isinstance(raw.get("storage"), Mapping):
        path = "storage.path"  # a text is short for that, and its database stays
    elif section == "storage" and rest and isinstance(raw.get("storage"), str):
        raw["storage"] = {"path": raw["storage"]}
    if section in ("space", "derive") and rest:
        # their keys are dotted paths themselves
        if raw.get(section) is None:
            raw[section] = {}
        if not isinstance(raw[section], dict):
            raise SpecError(f"`{section}` should be a mapping of dotted paths.", path=section, line=lines.get(section))
        raw[section][rest] = value
    else:
        set_path(raw, path, value)
    for known in [known for known in lines if known.startswith(f"{path}.")]:
        del lines[known]
    lines[path] = _OVERRIDDEN


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        near = did_you_mean(path.name, [entry.name for entry in path.parent.glob("*.y*ml")])
        raise SpecError(f"there is no file `{path}`.{near} `tunesmith init` writes a spec to start from.") from None
    except IsADirectoryError:
        inside = sorted(entry.name for entry in path.glob("*.y*ml"))
        near = f" Did you mean `{path / inside[0]}`?" if inside else ""
        raise SpecError(f"a spec is a file, but `{path}` is a folder.{near}") from None
    except UnicodeDecodeError as error:
        raise SpecError(
            f"`{path}` is not UTF-8 text (its byte {error.start} is no such text): save it as UTF-8."
        ) from None
    except OSError as error:
        raise SpecError(f"cannot read `{path}`: {error.strerror}.") from None


# --- errors in plain words -------------------------------------------------------------------------------


def explain(error: ValidationError, raw: Any, *, model: type[BaseModel], lines: Lines | None = None) -> list[SpecError]:
    """What pydantic found wrong in `raw` when it read it as `model`: one error a place, in plain words."""
    items: dict[str, list[Mapping[str, Any]]] = {}
    for found in error.errors(include_url=False):
        items.setdefault(_place_of(found, raw, model), []).append(found)
    explained = []
    for path, group in items.items():
        if any(other.startswith(f"{path}.") for other in items) and all(_is_wrong_kind(item) for item in group):
            continue  # one way to read it does not fit at all; another did, up to the error below
        explained.append(_explain_place(path, group, raw, model))
    choices = {found.path for found in explained if found.message.startswith(_ONE_OF)}
    kept = [found for found in explained if not any(found.path.startswith(f"{path}.") for path in choices)]
    return [SpecError(found.message, path=found.path, line=line_of(found.path, lines or {})) for found in kept]


_ONE_OF = "one of the keys "


def _place_of(item: Mapping[str, Any], raw: Any, model: type[BaseModel]) -> str:
    """The path in `raw`. Pydantic's location also names the members of unions that it tried."""
    location, kept, node = item["loc"], [], raw
    for index, part in enumerate(location):
        is_last_of_missing = item["type"] == "missing" and index == len(location) - 1
        if (isinstance(node, Mapping) and part in node) or (isinstance(node, list) and isinstance(part, int)):
            node = node[part]
        elif not is_last_of_missing:
            continue
        kept.append(str(part))
    if item["type"] == "missing" and len(_models_at(kept[:-1], model)) > 1:
        kept.pop()  # each kind of source or tokenizer misses its own key: the section lacks one of them
    return ".".join(kept)


def _is_wrong_kind(item: Mapping[str, Any]) -> bool:
    return str(item["type"]) in ("string_type", "dict_type", "model_type", "list_type", "tuple_type")


def _explain_place(path: str, group: Sequence[Mapping[str, Any]], raw: Any, model: type[BaseModel]) -> SpecError:
    first = group[0]
    kind, given = str(first["type"]), first.get("input")
    if kind == "value_error":
        inner = first.get("ctx", {}).get("error")
        return (inner if isinstance(inner, SpecError) else SpecError(str(first["msg"]))).at(path)
    if kind == "extra_forbidden":
        section, _, name = path.rpartition(".")
        known = _known_keys(section.split(".") if section else [], _given_keys(raw, section), model)
        return SpecError(f"unknown key.{did_you_mean(name, known)} Known here: {', '.join(sorted(known))}.", path=path)
    if kind == "missing":
        kinds = _models_at(path.split("."), model)
        if len(kinds) < 2 or not has_path(raw, path):
            return SpecError("this key is required.", path=path)
        needed = {name for one in kinds for name, field in one.model_fields.items() if field.is_required()}
        given_here = _given_keys(raw, path)
        near = next((hint for key in given_here if (hint := did_you_mean(key, needed))), "")
        return SpecError(
            f"{_ONE_OF}{', '.join(f'`{name}`' for name in sorted(needed))} is required, but got "
            f"{', '.join(f'`{key}`' for key in given_here) or 'none'}.{near}",
            path=path,
        )
    wanted = " or ".join(dict.fromkeys(_expectation(path, item) for item in group))
    allowed = [name for item in group if item["type"] == "literal_error" for name in _allowed(item)]
    quotes = " Put it in quotes." if wanted == "a text" and isinstance(given, int | float) else ""
    return SpecError(
        f"expected {wanted}, but got {_shown(given)}.{did_you_mean(str(given), allowed)}{quotes}", path=path
    )


def _given_keys(raw: Any, path: str) -> list[str]:
    """The keys of the mapping at `path` of `raw`."""
    node = get_path(raw, path) if path else raw
    return [str(key) for key in node] if isinstance(node, Mapping) else []


_PATTERNS = {
    "name": "a name of at most 100 letters, digits, dots, dashes and underscores, a letter or digit first",
    "trainable": "`module:function` or `folder/file.py:function`",
}
_NOUNS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "dict": "a mapping",
    "model": "a mapping",
    "list": "a list",
    "tuple": "a list",
}
_SIGNS = {"greater_than": (">", "gt"), "greater_than_equal": (">=", "ge"), "less_than": ("<", "lt"),
          "less_than_equal": ("<=", "le")}  # fmt: skip


def _expectation(path: str, item: Mapping[str, Any]) -> str:
    kind, context = str(item["type"]), item.get("ctx", {})
    if kind == "literal_error":
        names = _allowed(item)
        return f"one of {', '.join(names)}" if len(names) > 1 else f"`{names[0]}`"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(path, f"a text that matches {context.get('pattern')}")
    if kind in _SIGNS:
        sign, key = _SIGNS[kind]
        return f"a number {sign} {context[key]:g}"
    noun = _NOUNS.get(kind.partition("_")[0])
    return noun if noun is not None else f"something else ({str(item['msg'])[:1].lower()}{str(item['msg'])[1:]})"


def _allowed(item: Mapping[str, Any]) -> list[str]:
    return [part.strip(" '") for part in str(item["ctx"]["expected"]).replace(" or ", ", ").split(",")]


def _known_keys(location: Sequence[str], given: Sequence[str], model: type[BaseModel]) -> set[str]:
    """The keys that may stand at `location` beside those that are `given`."""
    kinds = _models_at(location, model)
    fitting = [
        kind for kind in kinds if any(kind.model_fields[key].is_required() for key in given if key in kind.model_fields)
    ]
    return {name for kind in fitting or kinds for name in kind.model_fields}


def _models_at(location: Sequence[str], model: type[BaseModel]) -> list[type[BaseModel]]:
    kinds: list[type[BaseModel]] = [model]
    for part in location:
        if part.isdecimal():
            continue  # an entry of a list, of which `models_in` spoke already
        kinds = [
            inner
            for kind in kinds
            if part in kind.model_fields
            for inner in models_in(kind.model_fields[part].annotation)
        ]
    return kinds


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that a field's annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, typing.Annotated, tuple, list):
        return [model for part in get_args(annotation) for model in models_in(part)]
    return []


def _kind_of(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "nothing")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

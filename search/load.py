"""A spec file -> a checked SearchSpec, with errors that teach: key path, line, what is allowed, the nearest name.

Imports neither torch nor ray nor optuna: `check` must answer at once.
"""

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from search.spec import SearchSpec
from search.yaml_text import Lines, parse_yaml
from spaces.documents import set_path
from spaces.errors import SpecError, did_you_mean

RECORDED = "recorded"
"""Key of spec.yaml in a search's folder that holds what tunesmith added; ignored when the file is used as a spec."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedSpec:
    """A spec and where it came from."""

    spec: SearchSpec
    """The checked spec."""
    raw: dict[str, Any]
    """What the user wrote, overrides applied."""
    lines: Lines
    """Line of each key in the file; overridden keys have none."""
    source: str
    """Name of the file, for messages."""


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
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        near = did_you_mean(
            path.name, [entry.name for entry in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        )
        raise SpecError(f"there is no file `{path}`.{near} `tunesmith init` writes a spec to start from.") from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read `{path}` as a spec: {error}.") from None
    raw, lines = parse_yaml(text)
    if not isinstance(raw, dict):
        raise SpecError(f"a spec is a mapping of sections (`name: ...`, `task: ...`), but `{path}` holds {_kind(raw)}.")
    raw.pop(RECORDED, None)
    for override in overrides:
        _apply_override(raw, override, lines)
    return LoadedSpec(spec=validate(raw, lines=lines), raw=raw, lines=lines, source=str(path))


def validate(raw: Mapping[str, Any], *, lines: Lines | None = None) -> SearchSpec:
    """The spec that `raw` means. Raises SpecErrors for all that its sections do not allow."""
    try:
        return SearchSpec.model_validate(raw)
    except ValidationError as error:
        found = [_in_plain_words(item, lines or {}) for item in error.errors(include_url=False)]
        raise SpecErrors(list({str(item): item for item in found}.values())[:10]) from None


def json_schema() -> dict[str, Any]:
    """JSON schema of a spec, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SearchSpec.model_json_schema()}


def line_of(path: str, lines: Lines) -> int | None:
    """The line of `path`, or of the nearest section above it. Keys of `space` hold dots themselves."""
    parts = path.split(".")
    while parts:
        if (line := lines.get(".".join(parts))) is not None:
            return line
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
    if section in ("space", "derive") and rest:
        # their keys are dotted paths themselves
        entries = raw.setdefault(section, {})
        if not isinstance(entries, dict):
            raise SpecError(f"`{section}` is no mapping.", path=section)
        entries[rest] = value
    else:
        set_path(raw, path, value)
    for known in [known for known in lines if known == path or known.startswith(f"{path}.")]:
        del lines[known]


def _in_plain_words(item: Mapping[str, Any], lines: Lines) -> SpecError:
    path = ".".join(str(part) for part in item["loc"])
    kind, given, context = str(item["type"]), item.get("input"), item.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(item["loc"][:-1])
        name = str(item["loc"][-1])
        message = f"unknown key.{did_you_mean(name, known)} Known here: {', '.join(sorted(known))}."
    elif kind == "missing":
        message = "this key is required."
    elif kind == "literal_error":
        allowed = [part.strip(" '") for part in str(context["expected"]).replace(" or ", ", ").split(",")]
        message = f"allowed are {', '.join(allowed)}, but got {given!r}.{did_you_mean(str(given), allowed)}"
    elif kind == "value_error":
        inner = context.get("error")
        nested = inner if isinstance(inner, SpecError) else SpecError(str(item["msg"]))
        return nested.at(path, line=line_of(".".join(filter(None, (path, nested.path))), lines))
    else:
        message = f"{_expectation(kind, context, str(item['msg']))}, but got {_shown(given)}."
    return SpecError(message, path=path, line=line_of(path, lines))


def _expectation(kind: str, context: Mapping[str, Any], fallback: str) -> str:
    if kind.startswith(("int_", "int")):
        return "expected a whole number"
    if kind.startswith("float"):
        return "expected a number"
    if kind.startswith("bool"):
        return "expected true or false"
    if kind.startswith("string_pattern"):
        return f"expected a text that matches {context.get('pattern')}"
    if kind.startswith("string"):
        return "expected a text"
    if kind.startswith(("dict", "model", "mapping")):
        return "expected a mapping"
    if kind.startswith(("list", "tuple")):
        return "expected a list"
    signs = {
        "greater_than": (">", "gt"),
        "greater_than_equal": (">=", "ge"),
        "less_than": ("<", "lt"),
        "less_than_equal": ("<=", "le"),
    }
    if kind in signs:
        sign, key = signs[kind]
        return f"it must be {sign} {context[key]:g}"
    return fallback.rstrip(".")


def _known_keys(location: Iterable[str | int]) -> set[str]:
    """The keys that may stand at `location` in a spec."""
    candidates: list[Any] = [SearchSpec]
    for part in location:
        following: list[Any] = []
        for model in candidates:
            field = model.model_fields.get(str(part))
            if field is not None:
                following += models_in(field.annotation)
        candidates = following or candidates
    return {name for model in candidates for name in model.model_fields}


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that a field's annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, typing.Annotated):
        return [model for part in get_args(annotation) for model in models_in(part)]
    return []


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", type(None): "nothing"}.get(type(value), f"a {type(value).__name__}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

"""Writes docs/reference.md, every key of a spec with type, default and meaning, from the models that check it."""

import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from search.spec import SearchSpec

TARGET = Path(__file__).with_name("reference.md")
HEAD = """# Every key of a spec

Made from the models that check a spec, by `python docs/make_reference.py`. [spec.md](spec.md) explains how the parts
work together.
"""


def reference() -> str:
    """The whole page."""
    lines = [HEAD]
    _section("", SearchSpec, lines, set())
    return "\n".join(lines).rstrip() + "\n"


def _section(path: str, model: type[BaseModel], lines: list[str], seen: set[tuple[str, type[BaseModel]]]) -> None:
    if (path, model) in seen:
        return
    seen.add((path, model))
    title = f"`{path}`" if path else "Top level"
    lines += [
        f"## {title}",
        "",
        _flat(model.__doc__ or ""),
        "",
        "| key | value | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        default = (
            "required"
            if field.default is PydanticUndefined and field.default_factory is None
            else _default(field.default)
        )
        lines.append(f"| `{name}` | {_kind(field.annotation)} | {default} | {_flat(field.description or '')} |")
        inner += [(f"{path}.{name}" if path else name, found) for found in _models(field.annotation)]
    lines.append("")
    for child_path, child in inner:
        _section(child_path, child, lines, seen)


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined or isinstance(value, BaseModel) or value in ((), {}):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " \\| ".join(dict.fromkeys(_kind(part) for part in get_args(annotation) if part is not type(None)))
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    names = {int: "whole number", float: "number", bool: "true or false", str: "text", dict: "mapping", tuple: "list"}
    return names.get(origin or annotation, "any")


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(reference(), "utf-8")
    sys.stdout.write(f"wrote {TARGET}\n")

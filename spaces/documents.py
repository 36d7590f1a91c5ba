"""Dotted paths into nested mappings: read, write, compare. Knows no distributions and no file format.

A path names keys of mappings only: `data.source.0` does not reach into a list.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from spaces.errors import SpecError, did_you_mean
from spaces.reports import Scalar

Value = Scalar | list[Any] | dict[str, Any]
"""Anything that plain YAML can hold."""

_ABSENT = object()


def has_path(document: Mapping[str, Any], path: str) -> bool:
    """Whether `path` leads to a value, which may be null."""
    return _find(document, path) is not _ABSENT


def get_path(document: Mapping[str, Any], path: str) -> Any:
    """The value at `path`.

    Raises:
        SpecError: there is none; names the nearest path there is.
    """
    value = _find(document, path)
    if value is _ABSENT:
        raise SpecError(f"there is no `{path}` in the document.{did_you_mean(path, all_paths(document))}")
    return value


def set_path(document: dict[str, Any], path: str, value: Any) -> None:
    """Set `path` in place. Mappings on the way that are missing or null are created.

    Raises:
        SpecError: the way leads through a list or a scalar.
    """
    *sections, last = split_path(path)
    node = document
    for depth, key in enumerate(sections):
        if node.get(key) is None:
            node[key] = {}
        node = _section(node[key], path, sections[: depth + 1])
    node[last] = value


def with_paths(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A document with `values` set at their paths, none of which contains another. `document` stays as it is, and
    what was not changed is shared with it."""
    changed = dict(document)
    # Each mapping is copied once, however many of its keys change; the paths of a space number a handful.
    copied: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        way, _, last = path.rpartition(".")
        node = copied.get(way) if way else changed
        if node is None:
            node = _copy_way(changed, path, split_path(path)[:-1], copied)
        node[last] = value
    return changed


def is_below_null(document: Mapping[str, Any], path: str) -> bool:
    """Whether the way to `path` ends early at a null, so that nobody can say if `path` would be there."""
    node: Any = document
    for key in path.split(".")[:-1]:
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
        if node is None:
            return True
    return False


def all_paths(document: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every path that leads to a value, sections before what is in them."""
    for key, value in document.items():
        path = f"{prefix}{key}"
        yield path
        if isinstance(value, Mapping):
            yield from all_paths(value, f"{path}.")


def overlap(path: str, other: str) -> bool:
    """Whether one of two paths is, or contains, the other."""
    return path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.")


def same_value(value: Any, other: Any) -> bool:
    """Equality as YAML means it: 1 is 1.0 but not true."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return value.keys() == other.keys() and all(same_value(value[key], other[key]) for key in value)
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return len(value) == len(other) and all(map(same_value, value, other))
    return bool(value == other)


def split_path(path: str) -> list[str]:
    """The keys of `path`.

    Raises:
        SpecError: a key is empty.
    """
    keys = path.split(".")
    if not all(key and key == key.strip() for key in keys):
        raise SpecError(f"a path is made of keys and single dots, such as `training.learning_rate`, but got `{path}`.")
    return keys


def _find(document: Mapping[str, Any], path: str) -> Any:
    node: Any = document
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return _ABSENT
        node = node[key]
    return node


def _copy_way(
    changed: dict[str, Any], path: str, sections: list[str], copied: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    node = changed
    way = ""
    for depth, key in enumerate(sections):
        way = f"{way}.{key}" if way else key
        if way not in copied:
            below = node.get(key)
            node[key] = copied[way] = dict({} if below is None else _section(below, path, sections[: depth + 1]))
        node = copied[way]
    return node


def _section(node: Any, path: str, way: list[str]) -> dict[str, Any]:
    if isinstance(node, dict):
        return node
    if isinstance(node, list):
        raise SpecError(
            f"`{path}` leads into the list `{'.'.join(way)}`, and paths reach into mappings only. Set the whole list "
            f"instead."
        )
    raise SpecError(f"`{path}` cannot be set: `{'.'.join(way)}` is {node!r}, which holds no keys.")

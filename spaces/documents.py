"""Dotted paths into nested mappings: read, write, compare. Knows no distributions and no file format.

A number reaches into a list that is there: `data.source.0.weight`. Lists are never made longer by a path.
"""

from collections.abc import Iterator, Mapping
from copy import copy
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
    node: Any = document
    for depth, key in enumerate(sections):
        place = _place(node, key, path, sections[:depth])
        if isinstance(node, dict) and node.get(place) is None:
            node[place] = {}
        node = _section(node[place], path, sections[: depth + 1])
    node[_place(node, last, path, sections)] = value


def with_paths(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A document with `values` set at their paths, none of which contains another. `document` stays as it is, and
    what was not changed is shared with it."""
    changed = dict(document)
    # Each mapping is copied once, however many of its keys change; the paths of a space number a handful.
    copied: dict[str, Any] = {}
    for path, value in values.items():
        way, _, last = path.rpartition(".")
        node: Any = copied.get(way) if way else changed
        if node is None:
            node = _copy_way(changed, path, split_path(path)[:-1], copied)
        node[_place(node, last, path, way.split("."))] = value
    return changed


def is_below_null(document: Mapping[str, Any], path: str) -> bool:
    """Whether the way to `path` ends early at a null, so that nobody can say if `path` would be there."""
    node: Any = document
    for key in path.split(".")[:-1]:
        node = _child(node, key)
        if node is _ABSENT:
            return False
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
        elif isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
            yield from all_paths({str(index): each for index, each in enumerate(value)}, f"{path}.")


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
        node = _child(node, key)
        if node is _ABSENT:
            return _ABSENT
    return node


def _child(node: Any, key: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(key, _ABSENT)
    if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
        return node[int(key)]
    return _ABSENT


def _copy_way(changed: dict[str, Any], path: str, sections: list[str], copied: dict[str, Any]) -> Any:
    node: Any = changed
    way = ""
    for depth, key in enumerate(sections):
        way = f"{way}.{key}" if way else key
        if way not in copied:
            place = _place(node, key, path, sections[:depth])
            below = node[place] if isinstance(node, list) else node.get(place)
            node[place] = copied[way] = copy({} if below is None else _section(below, path, sections[: depth + 1]))
        node = copied[way]
    return node


def _place(node: dict[str, Any] | list[Any], key: str, path: str, way: list[str]) -> Any:
    """`key`, or the position that it names in a list."""
    if isinstance(node, dict):
        return key
    if key.isdecimal() and int(key) < len(node):
        return int(key)
    raise SpecError(
        f"`{path}` leads into the list `{'.'.join(way)}`, which has {len(node)} entries: name one by its number, "
        "from 0."
    )


def _section(node: Any, path: str, way: list[str]) -> Any:
    if isinstance(node, dict | list):
        return node
    raise SpecError(f"`{path}` cannot be set: `{'.'.join(way)}` is {node!r}, which holds no keys.")

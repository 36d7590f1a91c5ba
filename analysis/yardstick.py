"""What a search measures with: its task, its data, its folds. Values compare only where these are the same."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.records import SearchRecord
from spaces.errors import SpecError

_UNKNOWN = "what is measured with is not recorded"


def must_compare(records: Sequence[SearchRecord]) -> None:
    """Refuse to rank searches together that optimise different things.

    Raises:
        SpecError: they do.
    """
    first = records[0]
    for other in records[1:]:
        if _aims(other) != _aims(first):
            raise SpecError(
                f"`{first.name}` optimises {_in_words(first)}, but `{other.name}` optimises {_in_words(other)}: values "
                "of different metrics do not compare."
            )


def differing(records: Sequence[SearchRecord]) -> list[str]:
    """In what the searches' tasks, data and folds differ, each as `data.max_length: 48 and 96`; empty where they
    measure the same."""
    if len({id(record) for record in records}) < 2:
        return []
    flat = [dict(_flattened(record.yardstick)) for record in records]
    if not all(flat):
        return [_UNKNOWN]
    found = []
    for path in dict.fromkeys(path for each in flat for path in each):
        values = [json.dumps(each.get(path)) for each in flat]
        if len(set(values)) > 1:
            found.append(f"{path}: {' and '.join(dict.fromkeys(values))}")
    return found


def _flattened(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [pair for key, inner in value.items() for pair in _flattened(inner, f"{path}.{key}" if path else key)]
    return [(path, value)] if path else []


def _aims(record: SearchRecord) -> list[tuple[str, str]]:
    return [(each.name, each.mode) for each in record.objectives] or [(record.metric, record.mode)]


def _in_words(record: SearchRecord) -> str:
    return ", ".join(f"{name} ({mode})" for name, mode in _aims(record))

"""How figures and names read for a person: metrics, values, parameters, amounts. Knows no trial."""

import json
import re
from collections.abc import Sequence
from typing import Any

STATE_WORDS = {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "unfinished"}
"""What the states of a trial are called."""

_MIN_HEADER_WIDTH = 8


def show_metric(value: float) -> str:
    """A metric's value for a person: four decimals, or four digits where these would say nothing."""
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 10_000 else f"{value:.4g}"


def show_value(value: Any) -> str:
    """A parameter's value for a person: numbers with four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return cell(value) if isinstance(value, str | int | bool) or value is None else json.dumps(value)


def narrow(value: Any) -> str:
    """As `show_value`, for a column: three digits, and `8.75e-4` in place of `0.000875`."""
    if not isinstance(value, float) or value == 0:
        return show_value(value)
    if 0.001 <= abs(value) < 100_000:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{digits}e{int(exponent)}"


def cell(value: Any) -> str:
    """A value as a table for other programs has it: texts as they are, others as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def amount(done: float | None) -> str:
    """How much training: whole numbers in full, epochs with their fraction."""
    return "" if done is None else f"{done:,}" if isinstance(done, int) else f"{done:g}"


def duration(seconds: float) -> str:
    """Seconds for a person: `48 s`, `12.5 min`, `3.2 h`."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Path -> its last parts, as few as keep it distinct from the other paths."""
    names = {}
    for path in paths:
        parts = path.split(".")
        for length in range(1, len(parts) + 1):
            tail = ".".join(parts[-length:])
            if sum(other == tail or other.endswith(f".{tail}") for other in paths) == 1:
                break
        names[path] = tail
    return names


def folded(name: str) -> str:
    """A long name on several lines, so that a column is no wider than its values need."""
    lines = [""]
    for part in re.split(r"(?<=[_/.])", name):
        if len(lines[-1]) + len(part) > _MIN_HEADER_WIDTH and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def in_units(count: int, unit: str) -> str:
    """`1 epoch`, `200 steps`: `unit` is a plural."""
    return f"{count:,} {unit.removesuffix('s') if count == 1 else unit}"


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def few(names: Sequence[str], *, most: int = 6) -> list[str]:
    """`names`, the last of many counted together."""
    return list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} others"]

"""How facts of a search are said to a person: lists, times, amounts. Knows no record."""

from collections.abc import Sequence

STATE_WORDS = {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "unfinished"}
"""What the states of a trial are called."""


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def show_seconds(seconds: float) -> str:
    """`42 s`, `3.5 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.1f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def amount(count: int, unit: str) -> str:
    """`1 epoch`, `200 steps`: `unit` is a plural."""
    return f"{count:,} {unit.removesuffix('s') if count == 1 else unit}"


def few(names: Sequence[str], *, most: int = 6) -> list[str]:
    """`names`, the last of many counted together."""
    return list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} others"]

"""Amounts with a unit in a spec: `2h`, `500Wh`, `20GB`. A bare number is in the base unit."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from spaces.errors import SpecError

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_WATT_HOURS = {"wh": 1.0, "kwh": 1e3, "mwh": 1e6}
_BYTES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30,
          "tib": 2.0**40}  # fmt: skip
_AMOUNT = re.compile(r"([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z]+)")


def _reader(units: Mapping[str, float], *, example: str, names: str) -> BeforeValidator:
    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = _AMOUNT.findall(value)
        # `1h 30min` is the sum of its parts; what the pattern passes over is no amount.
        if not parts or _AMOUNT.sub("", value).strip() or any(unit.lower() not in units for _, unit in parts):
            raise SpecError(f"expected an amount such as `{example}` ({names}), but got {value!r}.")
        try:
            return sum(float(number) * units[unit.lower()] for number, unit in parts)
        except ValueError:
            raise SpecError(f"expected an amount such as `{example}` ({names}), but got {value!r}.") from None

    return BeforeValidator(read, json_schema_input_type=float | str)


Seconds = Annotated[
    float, Field(gt=0, allow_inf_nan=False), _reader(_SECONDS, example="2h", names="s, min, h or d; a number: seconds")
]
WattHours = Annotated[
    float, Field(gt=0, allow_inf_nan=False), _reader(_WATT_HOURS, example="500Wh", names="Wh, kWh or MWh; a number: Wh")
]
Bytes = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    _reader(_BYTES, example="20GB", names="kB, MB, GB, TB, KiB, MiB, GiB or TiB; a number: bytes"),
]


def show_count(count: int, noun: str) -> str:
    """For a person: `1 trial`, `2 trials`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def show_bytes(size: float) -> str:
    """For a person: `1.2 GB`."""
    for unit, amount in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= amount:
            return f"{size / amount:.3g} {unit}"
    return f"{size:.0f} B"


def show_seconds(seconds: float) -> str:
    """For a person: `1.5 h`."""
    for unit, amount in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * amount:
            return f"{seconds / amount:.3g} {unit}"
    return f"{seconds:.3g} s"

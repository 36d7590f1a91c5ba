"""What a search optimises: names, which way is better, and what a trial costs as an objective. Knows no task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["min", "max"]

OF_A_TRIAL = "trial/"
"""How names of what a trial takes begin; other objectives are metrics of its last evaluation."""

VALIDATION, TEST = "eval/", "test/"
"""How metrics begin that were measured on validation, and on the test split."""

TRIAL_MODES: dict[str, Mode] = {
    "trial/seconds": "min",
    "trial/cost": "min",
    "trial/energy_wh": "min",
    "trial/peak_memory_bytes": "min",
    "trial/tokens_per_second": "max",
    "trial/mfu": "max",
    "trial/parameters": "min",
    "trial/trainable_parameters": "min",
    "trial/latency_ms": "min",
}
"""What a trial takes, as W&B has it in the trial's summary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """One of them."""

    name: str
    """A metric such as `eval/loss`, or a name of TRIAL_MODES."""
    mode: Mode
    """Which way it is better."""

    @property
    def sign(self) -> float:
        """Times the value: smaller is better."""
        return 1.0 if self.mode == "min" else -1.0


def name_on_test(metric: str) -> str:
    """What `metric` is called when it is measured on the test split: `eval/loss` is `test/loss`."""
    return f"{TEST}{metric.removeprefix(VALIDATION)}"


def values_of(objectives: Sequence[Objective], result: Mapping[str, Any]) -> dict[str, float | None]:
    """Each objective's value in what a trial left behind (`metrics`, `usage`, `seconds`, `cost`); None where it was not
    measured."""
    usage, metrics = result.get("usage", {}), result.get("metrics", {})
    found: dict[str, float | None] = {}
    for objective in objectives:
        if objective.name.startswith(OF_A_TRIAL):
            name = objective.name.removeprefix(OF_A_TRIAL)
            value = result.get(name, usage.get(name))
        else:
            value = metrics.get(objective.name)
        found[objective.name] = None if value is None else float(value)
    return found

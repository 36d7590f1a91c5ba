"""What a probe found, for a person. Knows how to say it, not how to measure it."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.wording import show_value
from search.probe import Probe, Probed

_GIBIBYTE = 1024**3


def probe_text(probe: Probe, *, currency: str) -> RenderableType:
    """A table of what was measured and what the search would take."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=f"probe on {probe.device}", title_justify="left")
    for column in ("trial", "parameters", "batch", "tokens/s", "memory", "a trial takes", "largest micro-batch"):
        table.add_column(column, justify="left" if column == "trial" else "right")
    for trial in probe.trials:
        table.add_row(*_row(trial))
    points = [
        Text(f"{trial.kind:<9} " + ", ".join(f"{path} {show_value(value)}" for path, value in trial.params.items()))
        for trial in probe.trials
        if trial.params
    ]
    return Group(table, Text(""), *points, Text(""), Text(_search(probe, currency=currency)))


def _row(trial: Probed) -> tuple[str, ...]:
    own, largest = trial.own, trial.largest
    if own is None:
        return trial.kind, "", "nothing fits", "", "", "", "0"
    most = "" if largest is None else f"{largest.micro_batch}"
    if largest is not None and largest.tokens_per_second:
        most += f" ({largest.tokens_per_second:,.0f} tokens/s)"
    return (
        trial.kind,
        f"{(own.num_parameters or 0) / 1e6:,.2f}M",
        f"{own.micro_batch} x {own.accumulation}",
        f"{own.tokens_per_second or 0:,.0f}",
        f"{(own.peak_memory_bytes or 0) / _GIBIBYTE:.2f} GiB",
        duration(trial.trial_seconds),
        most,
    )


def _search(probe: Probe, *, currency: str) -> str:
    if probe.search_seconds is None:
        return "How long the search takes cannot be said from this."
    words = (
        f"All {probe.num_trials} trials, {probe.concurrent_trials} at once, take about "
        f"{duration(probe.search_seconds)} if none is stopped early"
    )
    return words + (f", and cost about {probe.search_cost:.2f} {currency}." if probe.search_cost is not None else ".")


def duration(seconds: float | None) -> str:
    """In a person's units."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""What a person reads at the end of a nested cross-validation."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.wording import short_names, show_metric, show_value
from search.nested import NestedOutcome
from search.run import shortest


def nested_text(outcome: NestedOutcome) -> RenderableType:
    """The table of outer folds, and the estimate with its interval."""
    paths = list(dict.fromkeys(path for fold in outcome.folds for path in fold.params))
    names = short_names(paths)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("outer fold", "winner", "in its search", "on the outer fold", *(names[path] for path in paths)):
        table.add_column(name, justify="right")
    for fold in outcome.folds:
        values = (show_value(fold.params[path]) if path in fold.params else "" for path in paths)
        table.add_row(
            str(fold.index), f"trial {fold.best}", show_metric(fold.inner_value), show_metric(fold.outer_value), *values
        )
    lines = ["", *_verdict(outcome), "", f"Searches     {shortest(outcome.directory)}/*"]
    if outcome.was_interrupted:
        lines.append(f"Interrupted. Go on:  tunesmith resume {shortest(outcome.directory)}")
    return Group(table, Text("\n".join(lines)))


def _verdict(outcome: NestedOutcome) -> list[str]:
    if outcome.value is None or outcome.interval is None:
        return [f"{len(outcome.folds)} of {outcome.num_folds} outer folds are done: there is no estimate yet."]
    low, high = outcome.interval
    inner = sum(fold.inner_value for fold in outcome.folds) / len(outcome.folds)
    return [
        f"{outcome.metric} of the whole procedure: {show_metric(outcome.value)}  "
        f"(95%: {show_metric(low)} to {show_metric(high)})",
        f"The winners had {show_metric(inner)} in their own searches, where they were chosen by it.",
    ]

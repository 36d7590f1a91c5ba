"""A comparison in words and numbers, for a terminal. Compares nothing."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.comparison import Candidate, Contrast, SearchComparison, TrialComparison
from analysis.incumbent import CostUnit
from analysis.wording import duration, narrow, short_names, show_metric

_SHARES = ("at 25%", "at 50%", "at 75%", "at 100%")


def trials_text(comparison: TrialComparison) -> RenderableType:
    """Trials side by side: verdicts first, then values, costs and what they were given."""
    candidates = comparison.candidates
    metric = candidates[0].record.metric
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for each in candidates:
        table.add_column(each.name, justify="right")
    table.add_row(metric, *(show_metric(each.trial.value or 0.0) for each in candidates))
    if any(each.trial.fold_values for each in candidates):
        kind = f"{candidates[0].record.fold_kind}s"
        table.add_row(kind, *(str(len(each.trial.fold_values)) for each in candidates))
    table.add_row("time", *("" if (took := each.trial.seconds) is None else duration(took) for each in candidates))
    if any(each.trial.gpu_hours for each in candidates):
        table.add_row("GPU-hours", *(f"{each.trial.gpu_hours or 0.0:.3g}" for each in candidates))
    for path, name in _varying(candidates).items():
        table.add_row(name, *(narrow(each.trial.params.get(path, "")) for each in candidates))
    return _page([contrast_in_words(each, metric) for each in comparison.contrasts], table, comparison.warnings)


def searches_text(comparison: SearchComparison) -> RenderableType:
    """Searches side by side: verdicts first, then what each had found for its money."""
    metric, unit = comparison.metric, comparison.unit
    budget = spent_in_words(comparison.budget, unit)
    lines = [f"At equal cost ({budget}):"]
    lines += [f"  {contrast_in_words(each, metric)}" for each in comparison.contrasts]
    if any(each.method == "bootstrap over trials" for each in comparison.contrasts):
        lines.append(
            "  The interval shows the luck of which configurations came up: each search's own trials, drawn anew. What "
            "an algorithm learns from earlier trials it cannot show; repeats with other seeds (`--with`) can."
        )
    if comparison.best_trials:
        lines += ["Their best trials:", *(f"  {contrast_in_words(each, metric)}" for each in comparison.best_trials)]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("search")
    for name in ("trials", "finished", "spent", f"best {metric}", "best after", *_SHARES):
        table.add_column(name, justify="right")
    for each in comparison.standings:
        table.add_row(
            each.name,
            str(each.num_trials),
            str(each.num_finished),
            spent_in_words(each.spent, unit),
            "" if each.value is None else show_metric(each.value),
            "" if each.spent_for_best is None else spent_in_words(each.spent_for_best, unit),
            *("-" if value is None else show_metric(value) for value in each.at_shares),
        )
    return _page(lines, table, comparison.warnings)


def contrast_in_words(contrast: Contrast, metric: str) -> str:
    """Which is better, by how much, and how sure that is: one sentence."""
    if contrast.difference is None:
        return f"{contrast.first} and {contrast.second}: one of them has no value."
    gap = show_metric(abs(contrast.difference))
    ahead, behind = (contrast.first, contrast.second) if contrast.difference >= 0 else (contrast.second, contrast.first)
    if contrast.p_value is None:
        if contrast.difference == 0.0:
            return f"{ahead} and {behind} have the same {metric}. How much it varies is not known."
        return (
            f"{ahead} has a better {metric} than {behind} by {gap}. Whether that is more than chance is not known: "
            "without folds or seeds each value was measured once. `tunesmith confirm` trains with fresh seeds."
        )
    sure = f"{_interval(contrast)}, p = {contrast.p_value:.2g}, {contrast.method}"
    if contrast.verdict == "undecided":
        return f"{ahead} and {behind} cannot be told apart: {metric} differs by {gap} ({sure})."
    return f"{ahead} is better than {behind}: {metric} by {gap} ({sure})."


def _interval(contrast: Contrast) -> str:
    """Of the better one's lead."""
    if contrast.low is None or contrast.high is None:
        return "too few values for a 95% interval"
    low, high = (contrast.low, contrast.high) if (contrast.difference or 0.0) >= 0 else (-contrast.high, -contrast.low)
    return f"95% interval {show_metric(low)} to {show_metric(high)}"


def spent_in_words(amount: float, unit: CostUnit) -> str:
    """`3.2 GPU-hours`, or `12.5 min` of training."""
    return f"{amount:.3g} GPU-hours" if unit == "gpu_hours" else duration(amount)


def _varying(candidates: Sequence[Candidate]) -> dict[str, str]:
    """The parameters that are not the same in all, by short name."""
    paths = list(dict.fromkeys(path for each in candidates for path in each.trial.params))
    shown = short_names(paths)
    missing = object()
    return {
        path: shown[path]
        for path in paths
        if any(each.trial.params.get(path, missing) != candidates[0].trial.params.get(path) for each in candidates)
    }


def _page(lines: Sequence[str], table: Table, warnings: Sequence[str]) -> RenderableType:
    parts: list[RenderableType] = [*(Text(line) for line in lines), Text(""), table]
    if warnings:
        told = "; ".join(warnings[:5])
        parts += [Text(""), Text(f"Read with care, they do not measure the same: {told}", style="yellow")]
    return Group(*parts)

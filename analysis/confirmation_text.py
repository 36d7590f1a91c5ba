"""A confirmation for a person: a table in the terminal, and what it says in words."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.confirmation import Comparison, Confirmation, Estimate, Summary
from analysis.statistics import Difference
from analysis.wording import short_names, show_metric, show_value
from spaces.objectives import OF_A_TRIAL, VALIDATION, Objective, name_on_test

_KINDS = {"trial": "", "published": "published", "base": "untuned"}
_FEW_SEEDS = 3
_ROUNDING = 1e-12


def confirmation_text(confirmation: Confirmation, earlier: Sequence[Confirmation] = ()) -> RenderableType:
    """All of it. `earlier` are the confirmations before this one, which looked at the same test split."""
    parts: list[RenderableType] = []
    for objective in confirmation.objectives:
        parts.append(_table(confirmation, objective))
        parts += [Text(line) for line in sentences(confirmation, objective)]
        parts.append(Text(""))
    notes = (*confirmation.notes, *_warnings(confirmation, earlier))
    parts += [Text(f"note: {note}", style="yellow") for note in notes]
    return Group(*parts)


def _table(confirmation: Confirmation, objective: Objective) -> Table:
    is_cost = objective.name.startswith(OF_A_TRIAL)
    name = objective.name.removeprefix(VALIDATION)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), title=None)
    table.add_column(f"{name} ({objective.mode})", no_wrap=True)
    table.add_column("search", justify="right", no_wrap=True)
    table.add_column("fresh seeds" if is_cost else "validation", justify="right", no_wrap=True)
    if not is_cost:
        table.add_column("test", justify="right", no_wrap=True)
        table.add_column("optimism", justify="right", no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    names = short_names(list(dict.fromkeys(path for each in confirmation.configurations for path in each.params)))
    for index, each in enumerate(confirmation.summaries(objective)):
        kind = _KINDS[each.configuration.kind]
        table.add_row(
            each.configuration.name,
            _number(each.searched),
            _estimate(each.validation),
            *([] if is_cost else [_estimate(each.test), _number(each.optimism)]),
            _seeds(each),
            _params(each, names),
            style="bold" if index == 0 else "dim" if kind else "",
        )
    if (guess := _guess(confirmation, objective)) is not None:
        table.add_row(*guess, style="dim")
    return table


def _guess(confirmation: Confirmation, objective: Objective) -> list[str] | None:
    """A line for what needs no model."""
    found = [confirmation.guess.get(name) for name in (objective.name, name_on_test(objective.name))]
    if found == [None, None] or objective.name.startswith(OF_A_TRIAL):
        return None
    validation = None if confirmation.trained_on_validation else found[0]
    return [confirmation.guess_name, "", _number(validation), _number(found[1]), "", "", ""]


def sentences(confirmation: Confirmation, objective: Objective) -> list[str]:
    """What follows for one objective, a sentence a finding."""
    said = [in_words(each, objective) for each in confirmation.comparisons(objective)]
    winner = confirmation.summaries(objective)[0]
    is_cost = objective.name.startswith(OF_A_TRIAL)  # no seed changes how many parameters there are
    if winner.winners_curse is not None and winner.validation is not None and not is_cost:
        said.append(
            f"The search measured {_number(winner.searched)} for {winner.configuration.name}; with fresh seeds it is "
            f"{_estimate(winner.validation)} on validation: {_curse(winner.winners_curse)}."
        )
    return said


def _curse(winners_curse: float) -> str:
    if winners_curse > 0:
        return f"the search, which chose the luckiest, was too hopeful by {show_metric(winners_curse)}"
    return "the search was not too hopeful"


def in_words(comparison: Comparison, objective: Objective) -> str:
    """One comparison as a sentence."""
    place = "" if objective.name.startswith(OF_A_TRIAL) else " on the test split"
    name, gain = objective.name.removeprefix(VALIDATION), comparison.gain
    if gain is None:
        both = f"{_start(comparison.first)} and {comparison.second}"
        return f"{both} cannot be compared: at least two seeds of both must end."
    seeds, p_value = f"{gain.count} seeds", _p_value(comparison.adjusted_p or 0.0)
    if not comparison.is_decided:
        return (
            f"{_start(comparison.first)} and {comparison.second} cannot be told apart{place}: {name} differs by "
            f"{show_metric(gain.mean)} ({_between(gain)}{seeds}, {p_value})."
        )
    better, shown = ("better", gain) if gain.mean > 0 else ("worse", gain.reversed())
    return (
        f"{_start(comparison.first)} is {better} than {comparison.second}{place} by {show_metric(shown.mean)} "
        f"({_between(shown)}{seeds}, {p_value})."
    )


def _between(gain: Difference) -> str:
    """Where it lies; nothing where so few values allow no interval."""
    return "" if gain.low is None or gain.high is None else f"{show_metric(gain.low)} to {show_metric(gain.high)}, "


def _warnings(confirmation: Confirmation, earlier: Sequence[Confirmation]) -> list[str]:
    warnings = []
    looks = sum(each.has_looked for each in earlier if each.number < confirmation.number)
    if looks:
        warnings.append(
            f"the test split was looked at {looks} time{'s' if looks > 1 else ''} before: whoever chooses by what they "
            "saw there makes it a second validation split, and its values too good"
        )
    if 1 < len(confirmation.seeds) < _FEW_SEEDS:
        warnings.append("two seeds say next to nothing of the spread: give `--seeds 5` or more")
    for each in confirmation.configurations:
        if each.num_failed:
            error = next((run.error for run in each.runs if run.error), "")
            warnings.append(f"{each.num_failed} of {len(each.runs)} trainings of {each.name} failed: {error}")
    return warnings


def _start(name: str) -> str:
    return name[:1].upper() + name[1:]


def _seeds(each: Summary) -> str:
    done, wanted = sum(run.state == "COMPLETE" for run in each.configuration.runs), len(each.configuration.runs)
    return str(done) if done == wanted else f"{done} of {wanted}"


def _params(each: Summary, names: Mapping[str, str]) -> str:
    return ", ".join(f"{names[path]} {show_value(value)}" for path, value in each.configuration.params.items())


def _number(value: float | None) -> str:
    return "" if value is None else show_metric(value if abs(value) > _ROUNDING else 0.0)


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return "-"
    half = found.half_width
    return show_metric(found.mean) if half is None else f"{show_metric(found.mean)} ± {show_metric(half)}"


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"

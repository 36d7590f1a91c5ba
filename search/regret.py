"""Rehearsals -> how far from the best they came, over trials and over simulated time. Knows no algorithm."""

import math
import statistics
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table as TextTable
from rich.text import Text

from analysis.wording import show_metric
from search.rehearse import Rehearsal

_MOST_COLUMNS = 6
_NAME_WIDTH = 12
_TIME_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def regret_after_trials(rehearsal: Rehearsal, count: int, *, optimum: float) -> float:
    """Distance of the best finished trial to the optimum when `count` had ended; infinite before there was one."""
    found = rehearsal.best[min(count, len(rehearsal.best)) - 1] if rehearsal.best else None
    return math.inf if found is None else abs(found - optimum)


def regret_at_time(rehearsal: Rehearsal, seconds: float, *, optimum: float) -> float:
    """The same, after `seconds` of simulated time."""
    ended = sum(trial.time <= seconds for trial in rehearsal.trials)
    return regret_after_trials(rehearsal, ended, optimum=optimum) if ended else math.inf


def regret_text(rehearsals: Mapping[str, Sequence[Rehearsal]], *, optimum: float, metric: str) -> RenderableType:
    """For a person: a line for each algorithm, the median over its repeats."""
    longest = max((len(one.trials) for group in rehearsals.values() for one in group), default=0)
    last = max((one.trials[-1].time for group in rehearsals.values() for one in group if one.trials), default=0.0)
    counts, times = _counts(longest), [share * last for share in _TIME_SHARES]
    by_trials = _table("trials", [*map(str, counts), "quartiles"])
    by_time = _table("seconds", [f"{time:.4g}" for time in times])
    ends = _table("trials", ["finished", "stopped", "failed"])
    for name, group in rehearsals.items():
        over_trials = [[regret_after_trials(one, count, optimum=optimum) for one in group] for count in counts]
        over_time = [[regret_at_time(one, time, optimum=optimum) for one in group] for time in times]
        by_trials.add_row(name, *map(_median, over_trials), _quartiles(over_trials[-1]))
        by_time.add_row(name, *map(_median, over_time))
        ends.add_row(name, *(f"{_share(group, state):.0%}" for state in ("COMPLETE", "PRUNED", "FAIL")))
    repeats = max(len(group) for group in rehearsals.values())
    head = f"Regret of {metric}, the distance to the table's best {show_metric(optimum)}; medians of {repeats} repeats"
    return Group(Text(head, style="bold"), Text(""), by_trials, Text(""), by_time, Text(""), ends)


def _counts(longest: int) -> list[int]:
    """1, 2, 5, 10, 20, 50 and so on up to `longest`, the last few."""
    steps = [base * 10**power for power in range(7) for base in (1, 2, 5)]
    return [*(count for count in steps if count < longest), longest][-_MOST_COLUMNS:]


def _table(first: str, columns: Sequence[str]) -> TextTable:
    table = TextTable(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True, min_width=_NAME_WIDTH)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _median(regrets: Sequence[float]) -> str:
    middle = statistics.median(regrets)
    return "-" if math.isinf(middle) else f"{middle:.3g}"


def _quartiles(regrets: Sequence[float]) -> str:
    if any(map(math.isinf, regrets)) or len(regrets) < 2:
        return "-"
    low, _, high = statistics.quantiles(regrets, n=4, method="inclusive")
    return f"{low:.3g} .. {high:.3g}"


def _share(group: Sequence[Rehearsal], state: str) -> float:
    trials = [trial for one in group for trial in one.trials]
    return sum(trial.state == state for trial in trials) / max(len(trials), 1)

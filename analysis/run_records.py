"""Runs of W&B -> the record of one search: of ours, or of others whose metric the user names. Knows no W&B."""

from collections.abc import Sequence

from analysis.foreign_runs import record_of_foreign_runs
from analysis.own_runs import is_own, record_of_own_runs, search_of
from analysis.records import SearchRecord
from analysis.runs import Run
from spaces.errors import SpecError
from spaces.objectives import Mode


def record_of_runs(
    runs: Sequence[Run], *, source: str, search: str | None, metric: str | None, mode: Mode | None
) -> SearchRecord:
    """The record.

    Args:
        runs: All runs that `source` names, in the order in which they were started.
        source: Its name, for messages.
        search: Which search of ours, by the beginning of its runs' ids.
        metric: What was optimised, of runs that are not ours. Trials of ours are ranked by it, too, where they are of
            several searches, or of one that optimises something else.
        mode: Which way it is better.

    Raises:
        SpecError: there are no runs, they are of several searches, or of others and no metric is given.
    """
    if not runs:
        raise SpecError(f"`{source}` has no runs.")
    searches: dict[str, list[Run]] = {}
    for run in runs:
        if is_own(run):
            searches.setdefault(search_of(run), []).append(run)
    if search is not None:
        found = [name for name in searches if name.startswith(search)]
        if len(found) != 1:
            raise SpecError(f"`{source}` has no one search `#{search}`. It has {_listed(searches, source)}.")
        searches = {found[0]: searches[found[0]]}
    if len(searches) == 1:
        (own,) = searches.values()
        record = record_of_own_runs(own)
        if record is not None and metric in (None, record.metric):
            return record
    if metric is None and searches:
        if len(searches) > 1:
            raise SpecError(
                f"`{source}` has {len(searches)} searches: name one, {_listed(searches, source)}; or rank the runs of "
                "all of them by `--metric NAME`."
            )
        raise SpecError(
            f"`{source}` lacks the run of the search itself (`{next(iter(searches))}-search`), which says what was "
            "asked: send it by `wandb sync`, or rank the trials by `--metric NAME`."
        )
    trials = [run for run in runs if run.job_type != "search" or not is_own(run)]
    return record_of_foreign_runs(trials, source=source, metric=metric, mode=mode)


def _listed(searches: dict[str, list[Run]], source: str) -> str:
    """The searches by the names of their groups, and by their ids where several have the same."""
    names = [runs[0].group for runs in searches.values()]
    base = source.partition("#")[0]
    places = [
        f"`{base}#{id}` ({runs[0].group}, {sum(run.job_type == 'trial' for run in runs)} trials)"
        for id, runs in searches.items()
    ]
    return ", ".join(places[:8]) + (f" and {len(places) - 8} more" if len(names) > 8 else "") if places else "none"

"""Commands that put results side by side: compare."""

import json
import re
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from search.cli.sources import MetricOption, ModeOption, read_source
from search.cli.specs import JsonOption
from spaces.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from analysis.comparison import Candidate, Side
    from analysis.records import SearchRecord

    Reader = Callable[[str], SearchRecord]

_T = TypeVar("_T")
_TRIAL = re.compile(r"(?P<source>.*)#(?P<number>\d+|best)")


def compare(
    items: Annotated[
        list[str],
        typer.Argument(metavar="A B...", help="Searches, or trials such as `DIR#3` or `DIR#best`.", show_default=False),
    ],
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="SEARCH",
            help="Repeats: all of A B... are one side, and these the other. The search is then the unit. May be given "
            "several times.",
            show_default=False,
        ),
    ] = None,
    test: Annotated[
        str,
        typer.Option(
            help="For trials with folds or seeds: t (corrected for shared data), wilcoxon (exact ranks) or bootstrap."
        ),
    ] = "t",
    metric: MetricOption = None,
    mode: ModeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which search or trial is better, by how much and how surely. Searches are compared at equal cost."""
    from analysis.comparison import compare_searches, compare_trials
    from analysis.comparison_text import searches_text, trials_text
    from analysis.statistics import TESTS
    from search.cli.screen import screen

    read = cache(partial(read_source, metric=metric, mode=mode))
    named = [_TRIAL.fullmatch(item) for item in items]
    if any(named):
        if not all(named) or with_:
            raise SpecError("compare either searches or trials (`DIR#3`), not one with the other.")
        if test not in TESTS:
            raise SpecError(
                f"there is no test `{test}`.{did_you_mean(test, TESTS)} Known: {', '.join(TESTS)}.", path="--test"
            )
        trials = compare_trials(_distinct(items, _candidates(items, read)), test=test)
        text, document = trials_text(trials), trials.to_json()
    else:
        searches = compare_searches(_sides(items, with_ or [], read))
        text, document = searches_text(searches), searches.to_json()
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        screen().print(text, highlight=False, soft_wrap=True)


def _candidates(items: "Sequence[str]", read: "Reader") -> "list[Candidate]":
    from analysis.comparison import Candidate

    found = []
    for item in items:
        match = _TRIAL.fullmatch(item)
        assert match is not None  # asked for before
        source = match["source"]
        record = read(source)
        number = str(record.best.number) if match["number"] == "best" and record.best else match["number"]
        trial = next((trial for trial in record.trials if str(trial.number) == number), None)
        if trial is None:
            raise SpecError(f"`{source}` has no trial {number}: it has {len(record.trials)} of them, from 0 on.")
        found.append((source, record, trial))
    if len({(source, trial.number) for source, _, trial in found}) < len(found):
        raise SpecError(f"compare takes different trials, but got {', '.join(items)}, which names one twice.")
    is_one_search = len({source for source, _, _ in found}) == 1
    return [
        Candidate(
            name=f"trial {trial.number}" if is_one_search else f"trial {trial.number} of {record.name}",
            record=record,
            trial=trial,
        )
        for _, record, trial in found
    ]


def _sides(items: "Sequence[str]", others: "Sequence[str]", read: "Reader") -> "list[Side]":
    from analysis.comparison import Side

    if others:
        if min(len(items), len(others)) < 2:
            rule = "with `--with` both sides are repeats of a search, two or more each"
            raise SpecError(f"{rule}: `compare A1 A2 --with B1 --with B2`.", path="--with")
        return [_repeats(items, read), _repeats(others, read)]
    records = [read(item) for item in items]
    names = [record.name for record in records]
    # Two searches of one name lie in two places.
    shown = names if len(set(names)) == len(names) else list(items)
    found = [Side(name=name, records=[record]) for name, record in zip(shown, records, strict=True)]
    return _distinct(items, found)


def _repeats(items: "Sequence[str]", read: "Reader") -> "Side":
    from analysis.comparison import Side

    records = [read(item) for item in items]
    return Side(name=f"{records[0].name} and {len(records) - 1} more", records=records)


def _distinct(items: "Sequence[str]", found: "list[_T]") -> "list[_T]":
    if len(items) < 2 or len(set(items)) < len(items):
        raise SpecError("compare takes two or more different searches, or trials such as `DIR#3` and `DIR#7`.")
    return found

"""Commands about results: leaderboard."""

import json
from typing import Annotated

import typer

from search.cli.sources import MetricOption, ModeOption, SourcesArgument, read_source
from search.cli.specs import JsonOption

_MOST_LINES = 100
"""Of a table that nobody has asked more of: thousands of lines are for programs, and take their time to draw."""


def leaderboard(
    sources: SourcesArgument,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Only this many lines. Default: all, but 100 in a table.", show_default=False),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPRESSION",
            help="Only trials for which it holds, such as `learning_rate < 1e-3 and seconds < 60`. May be given several"
            " times.",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only finished, stopped, failed or unfinished trials. May be given several times."),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="By a column, parameter or metric; `-COLUMN` the largest first. Ranks stay."
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="COLUMN,...", help="Show these besides the parameters, such as `seconds,eval/f1`."),
    ] = None,
    metric: MetricOption = None,
    mode: ModeOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """Show the trials of a search, best first, or those of several searches together. Works while they run, too."""
    from analysis.leaderboard import leaderboard as ranked
    from analysis.leaderboard_text import remarks, to_csv, to_table
    from analysis.selection import select

    records = [read_source(source, metric=metric, mode=mode) for source in sources]
    ranking = ranked(*records)
    entries = select(ranking, where=where or (), states=state or (), sort=sort, top=top)
    if as_json:
        typer.echo(json.dumps([entry.to_json() for entry in entries], indent=2))
    elif as_csv:
        typer.echo(to_csv(entries), nl=False)
    else:
        from search.cli.screen import screen

        console = screen()
        if ranking and not entries:
            console.print("no trial matches", style="dim")
            return
        chosen = [name.strip() for name in columns.split(",")] if columns else None
        shown = entries if top is not None else entries[:_MOST_LINES]
        console.print(to_table(shown, records[0], width=console.width, columns=chosen), highlight=False)
        if len(shown) < len(entries):
            rest = f"... and {len(entries) - len(shown):,} more: `--top {len(entries)}`, `--csv` or `--json` has all"
            console.print(rest, style="dim", highlight=False, soft_wrap=True)
        for line in remarks(entries, records):
            console.print(line, style="dim", highlight=False, soft_wrap=True, markup=False)

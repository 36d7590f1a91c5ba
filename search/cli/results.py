"""Commands about results: leaderboard."""

import json
from pathlib import Path
from typing import Annotated

import typer

from search.cli.specs import JsonOption


def leaderboard(
    directory: Annotated[Path, typer.Argument(help="The search's folder.", show_default=False)],
    top: Annotated[int | None, typer.Option(min=1, help="Only this many lines.")] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """Show the trials of a search, best first. Works while it runs, too."""
    from analysis.leaderboard import leaderboard as ranked
    from analysis.leaderboard import to_csv, to_table
    from analysis.sources import read_records

    record = read_records(directory)
    entries = ranked(record, top=top)
    if as_json:
        typer.echo(json.dumps([entry.to_json() for entry in entries], indent=2))
    elif as_csv:
        typer.echo(to_csv(entries), nl=False)
    else:
        from search.cli.screen import screen

        console = screen()
        console.print(to_table(entries, record, width=console.width), highlight=False)

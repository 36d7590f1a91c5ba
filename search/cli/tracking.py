"""Commands about Weights & Biases: sync."""

import json
from typing import TYPE_CHECKING

import typer

from search.cli.running import DirectoryArgument
from search.cli.specs import JsonOption

if TYPE_CHECKING:
    from search.sync import SyncOutcome

EXIT_NOT_ALL = 1


def sync(directory: DirectoryArgument, as_json: JsonOption = False) -> None:
    """Send the offline runs of a search to W&B. What is there already is not sent again."""
    outcome = _sync(directory, as_json=as_json)
    if as_json:
        typer.echo(json.dumps(outcome.to_json(), indent=2))
    else:
        typer.echo(outcome.text())
    if outcome.failed:
        raise typer.Exit(EXIT_NOT_ALL)


def _sync(directory: DirectoryArgument, *, as_json: bool) -> "SyncOutcome":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from search.cli.screen import screen
    from search.sync import sync_search

    columns = (TextColumn("sending runs"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=screen(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        return sync_search(
            directory, on_progress=lambda done, total: progress.update(task, completed=done, total=total)
        )

"""Commands about Weights & Biases: sync, publish."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from search.cli.running import DirectoryArgument
from search.cli.specs import JsonOption

EXIT_NOT_ALL = 1


def sync(directory: DirectoryArgument, as_json: JsonOption = False) -> None:
    """Send the offline runs of a search to W&B. What is there already is not sent again."""
    from search.sync import sync_search

    with _sending_shown() as on_progress:
        outcome = sync_search(directory, on_progress=on_progress)
    if as_json:
        typer.echo(json.dumps(outcome.to_json(), indent=2))
    else:
        typer.echo(outcome.text())
    if outcome.failed:
        raise typer.Exit(EXIT_NOT_ALL)


def publish(
    source: Annotated[
        str, typer.Argument(help="The search's folder or URL, or wandb:ENTITY/PROJECT/GROUP.", show_default=False)
    ],
    sync: Annotated[bool, typer.Option("--sync", help="Send offline runs before.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Save a workspace and a report into the search's W&B project. Doing it again updates them."""
    from search.publishing import publish_search

    with _sending_shown() as on_progress:
        outcome = publish_search(source, syncs=sync, on_progress=on_progress)
    typer.echo(json.dumps(outcome.to_json(), indent=2) if as_json else outcome.text())


@contextlib.contextmanager
def _sending_shown() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, once there is something to send."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from search.cli.screen import screen

    columns = (TextColumn("sending runs"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=screen(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)

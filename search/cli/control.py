"""Commands about a search that runs in another process: status, stop, pause, scale."""

import json
from typing import Annotated

import typer

from search.cli.running import DirectoryArgument
from search.cli.specs import JsonOption

ANSWER_SECONDS = 60.0


def status(directory: DirectoryArgument, as_json: JsonOption = False) -> None:
    """Say how far a search is, what it has used, and what it takes on disk."""
    from search.status import read_status

    found = read_status(directory)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
        return
    from search.cli.screen import screen

    screen().print(found.text(), highlight=False, soft_wrap=True)


def stop(
    directory: DirectoryArgument,
    trial: Annotated[
        int | None, typer.Option(min=0, help="Only this trial, at its next evaluation.", show_default=False)
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until it has stopped.")] = 300.0,
) -> None:
    """Stop a search that runs, or one trial of it, from another shell. A stopped search can be resumed."""
    from search.status import stop_search, stop_trial

    if trial is None:
        typer.echo(stop_search(directory, answer_seconds=ANSWER_SECONDS, wait_seconds=wait))
    else:
        typer.echo(stop_trial(directory, trial, answer_seconds=ANSWER_SECONDS, wait_seconds=wait))


def pause(directory: DirectoryArgument) -> None:
    """Let a search that runs begin no new trials; those that run go on to their ends. `resume` lets it go on."""
    from search.status import pause_search

    typer.echo(pause_search(directory, answer_seconds=ANSWER_SECONDS))


def scale(
    directory: DirectoryArgument,
    concurrent_trials: Annotated[int, typer.Argument(min=1, help="Trials at once.", show_default=False)],
) -> None:
    """Let a search that runs train more or fewer trials at once, from now on. What runs goes on to its end."""
    from search.status import scale_search

    typer.echo(scale_search(directory, concurrent_trials, answer_seconds=ANSWER_SECONDS))

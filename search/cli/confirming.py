"""The command that looks at the test split: confirm."""

import json
from typing import Annotated

import typer

from search.cli.running import (
    EXIT_INTERRUPTED,
    EXIT_NO_TRIAL,
    AddressOption,
    DirectoryArgument,
    console_for,
    stdout_for_json,
)
from search.cli.specs import JsonOption


def confirm(
    directory: DirectoryArgument,
    top: Annotated[int, typer.Option(min=1, help="So many of the best trials.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Fresh seeds, each one training of each.")] = 5,
    trial: Annotated[
        list[int] | None,
        typer.Option(min=0, help="This trial instead of the best. May be given several times.", show_default=False),
    ] = None,
    baseline: Annotated[
        bool, typer.Option(help="Train a baseline beside them: the preset's published grid, else the untuned spec.")
    ] = True,
    again: Annotated[
        bool, typer.Option("--again", help="A new confirmation with other seeds, also where this one was done.")
    ] = False,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the best trials again with fresh seeds, and measure them on the test split. Goes on where it was."""
    from analysis.confirmation_text import confirmation_text
    from analysis.kept import place_of
    from analysis.records import SearchFiles
    from search.confirm import Request
    from search.confirm import confirm as carry_out

    request = Request(top=top, trials=trial or (), num_seeds=seeds, with_baseline=baseline, again=again)
    console = console_for(as_json)
    with stdout_for_json(as_json):
        outcome = carry_out(directory, request, address=address, console=console)
    found = outcome.confirmation
    if found is not None and as_json:
        typer.echo(json.dumps(found.to_json()))
    elif found is not None:
        console.print(confirmation_text(found, outcome.earlier), highlight=False, soft_wrap=False)
        assert found.directory is not None, "it was written there"
        place = place_of(SearchFiles(found.directory))
        console.print(f"Record       {place}/confirmation.json", highlight=False, soft_wrap=True)
        if outcome.sync_command:
            console.print(f"W&B          {outcome.sync_command}", highlight=False, soft_wrap=True)
    if outcome.was_interrupted:
        console.print("Interrupted. The same command goes on.", highlight=False)
        raise typer.Exit(EXIT_INTERRUPTED)
    if found is None or not found.has_looked:
        raise typer.Exit(EXIT_NO_TRIAL)

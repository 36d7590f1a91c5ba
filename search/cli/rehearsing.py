"""Commands that search in recorded results: rehearse."""

import json
from pathlib import Path
from typing import Annotated

import typer

from search.cli.specs import JsonOption, SetOption
from spaces.errors import SpecError, did_you_mean


def rehearse(
    spec: Annotated[
        Path | None, typer.Argument(help="The spec. With --from it may be left out.", show_default=False)
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Recorded results: a csv, jsonl or parquet file.", show_default=False)
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Instead of a table: the folder of a search, or its URL.", show_default=False),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Searches with different seeds.")] = 10,
    parallel: Annotated[int, typer.Option(min=1, help="Trials at once.")] = 1,
    algorithm: Annotated[
        list[str] | None,
        typer.Option(help="Instead of the spec's. May be given several times: they are compared.", show_default=False),
    ] = None,
    lookup: Annotated[
        str,
        typer.Option(
            help="exact: what is not in the table diverges. nearest: its neighbour answers. auto: by the space."
        ),
    ] = "auto",
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a search against recorded results, in seconds: which algorithm and scheduler suits?"""
    from analysis.kept import brought_here
    from search.rehearsal import Request, perform
    from search.tables import LOOKUPS

    if lookup not in LOOKUPS:
        raise SpecError(
            f"`--lookup` is one of {', '.join(LOOKUPS)}, but got `{lookup}`.{did_you_mean(lookup, LOOKUPS)}"
        )
    performance = perform(
        Request(
            spec=spec,
            table=table,
            directory=None if from_ is None else brought_here(from_),
            overrides=tuple(set_ or ()),
            algorithms=tuple(algorithm or ()),
            lookup=lookup,  # type: ignore[arg-type]  # one of LOOKUPS
            num_repeats=repeat,
            num_parallel=parallel,
        )
    )
    if as_json:
        typer.echo(json.dumps(performance.to_json()))
        return
    from rich.console import Console

    Console().print(performance.text(), highlight=False)

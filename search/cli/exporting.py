"""The command that makes a model of a trial: export."""

import json
from pathlib import Path
from typing import Annotated

import typer

from search.cli.running import DirectoryArgument, console_for, stdout_for_json
from search.cli.specs import JsonOption


def export(
    directory: DirectoryArgument,
    to: Annotated[Path, typer.Option(help="The folder to write, which must not exist.", show_default=False)],
    trial: Annotated[str, typer.Option(help="`best`, or the number of a trial.")] = "best",
    merge: Annotated[
        bool | None,
        typer.Option("--merge/--no-merge", help="Add an adapter to the weights below it. Default: where that works."),
    ] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train it once more, where its checkpoint was not kept.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a trial's model as a standard Hugging Face folder: weights, tokenizer, model card."""
    from search.export import export as write_export

    console = console_for(as_json)
    with stdout_for_json(as_json):
        done = write_export(
            directory, to, trial=trial, merge=merge, retrain=retrain, overwrite=overwrite, console=console
        )
    if as_json:
        typer.echo(json.dumps(done.to_json()))
        return
    code = ", trust_remote_code=True" if done.model.needs_code else ""
    console.print(f"trial {done.trial.number} of {directory.name} is in {done.folder}", highlight=False, soft_wrap=True)
    if done.model.pipeline is not None:
        loads = f'transformers.pipeline("{done.model.pipeline}", model="{done.folder}"{code})'
        console.print(f"Load it by   {loads}", highlight=False, soft_wrap=True)

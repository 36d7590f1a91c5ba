"""The command that answers requests: serve."""

from typing import Annotated

import typer

from search.cli.running import DirectoryArgument, console_for


def serve(
    directory: DirectoryArgument,
    trial: Annotated[str, typer.Option(help="`best`, or the number of a trial.")] = "best",
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for any free one.")] = 8000,
    num_replicas: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that answer, each with its own copy of the model.")
    ] = 1,
) -> None:
    """Answer HTTP requests with a trial's model: POST /predict, GET /health. Ctrl-C stops it."""
    from search.serve import serve_trial

    console = console_for(as_json=False)
    serve_trial(directory, trial=trial, host=host, port=port, num_replicas=num_replicas, console=console)

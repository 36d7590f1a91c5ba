"""Commands that train: run, resume, trial."""

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.specs import JsonOption, SetOption, SpecArgument

if TYPE_CHECKING:
    from rich.console import Console

    from search.nested import NestedOutcome
    from search.run import SearchOutcome


def _brought_here(directory: Path) -> Path:
    """A search in an object store is worked on in a folder of this machine. What is no folder is said at once."""
    from analysis.kept import brought_here

    found = brought_here(directory).expanduser()
    if not found.is_dir():
        from analysis.study_source import no_search

        raise no_search(found, lacks="spec.yaml")
    return found


DirectoryArgument = Annotated[
    Path, typer.Argument(help="The search's folder, or its URL.", show_default=False, callback=_brought_here)
]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Join the Ray cluster of this machine (`auto`) or at HOST:PORT. Default: Ray here."),
]

_ANSWER_SECONDS = 60.0
EXIT_NO_TRIAL, EXIT_INTERRUPTED = 3, 130


def run(
    spec: SpecArgument,
    set_: SetOption = None,
    storage: Annotated[str | None, typer.Option(help="Folder that holds the search's folder.")] = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a search."""
    from search.load import load_spec
    from search.nested import is_nested, start_nested
    from search.plan import make_plan
    from search.run import start_search

    overrides = [*(set_ or ()), *([f"storage={json.dumps(storage)}"] if storage else ())]
    plan = make_plan(load_spec(spec, overrides=overrides))
    console = console_for(as_json)
    if is_nested(plan.spec):
        with stdout_for_json(as_json):
            nested = start_nested(plan, address=address, console=console)
        _finish_nested(nested, console, as_json=as_json)
        return
    with stdout_for_json(as_json):
        outcome = start_search(plan, address=address, console=console)
    finish(outcome, console, as_json=as_json)


def resume(directory: DirectoryArgument, address: AddressOption = None, as_json: JsonOption = False) -> None:
    """Go on with a search that was interrupted, killed or paused."""
    from search.nested import SPEC_FILE, resume_nested
    from search.run import resume_search
    from search.status import go_on_if_paused

    console = console_for(as_json)
    if (done := go_on_if_paused(directory, answer_seconds=_ANSWER_SECONDS)) is not None:
        typer.echo(json.dumps({"resumed": True}) if as_json else done)
        return
    if (directory / SPEC_FILE).is_file():
        with stdout_for_json(as_json):
            nested = resume_nested(directory, address=address, console=console)
        _finish_nested(nested, console, as_json=as_json)
        return
    with stdout_for_json(as_json):
        outcome = resume_search(directory, address=address, console=console)
    finish(outcome, console, as_json=as_json)


def trial(
    spec: Annotated[Path, typer.Argument(help="A spec, or the folder of a search.", show_default=False)],
    set_: SetOption = None,
    number: Annotated[int | None, typer.Option(min=0, help="Run this recorded trial of the search again.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run one trial here, without Ray: the spec as it stands, or a recorded trial again. `torchrun` works, too."""
    from search.single import run_single

    with stdout_for_json(as_json):
        result = run_single(spec, overrides=set_ or (), number=number, console=console_for(as_json))
    if as_json and result["rank"] == 0:
        typer.echo(json.dumps(result))
    if result["state"] != "COMPLETE":
        raise typer.Exit(EXIT_NO_TRIAL)


def console_for(as_json: bool) -> "Console":
    """Where a command speaks to a person."""
    from search.cli.screen import screen

    return screen(stderr=as_json)


def stdout_for_json(as_json: bool) -> contextlib.AbstractContextManager[object]:
    """With `--json`, what libraries print goes to standard error: standard output has one document and no more."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


def finish(outcome: "SearchOutcome", console: "Console", *, as_json: bool) -> None:
    """The last words of a command that searches, and its exit code."""
    from search.closing import closing_text

    if as_json:
        typer.echo(json.dumps(_as_json(outcome)))
    else:
        console.print(closing_text(outcome, width=console.width), highlight=False, soft_wrap=True)
    if outcome.was_interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.record.best is None:
        raise typer.Exit(EXIT_NO_TRIAL)


def _finish_nested(outcome: "NestedOutcome", console: "Console", *, as_json: bool) -> None:
    from search.nested_text import nested_text

    if as_json:
        typer.echo(json.dumps(outcome.to_json()))
    else:
        console.print(nested_text(outcome), highlight=False, soft_wrap=True)
    if outcome.was_interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.value is None:
        raise typer.Exit(EXIT_NO_TRIAL)


def _as_json(outcome: "SearchOutcome") -> dict[str, Any]:
    from analysis.leaderboard import leaderboard

    record = outcome.record
    return {
        "name": record.name,
        "directory": str(record.directory),
        "interrupted": outcome.was_interrupted,
        "ended_by": record.ended_by,
        "counts": {state: record.count(state) for state in ("COMPLETE", "PRUNED", "FAIL", "RUNNING")},
        "metric": record.metric,
        "mode": record.mode,
        "baseline": record.baseline,
        "leaderboard": [entry.to_json() for entry in leaderboard(record)],
    }

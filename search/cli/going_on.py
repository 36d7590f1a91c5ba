"""Commands that never start over: retry, extend, fork."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.running import AddressOption, DirectoryArgument, console_for, finish, stdout_for_json
from search.cli.specs import JsonOption, SetOption, SpecArgument

if TYPE_CHECKING:
    from analysis.records import SearchFiles


def retry(
    directory: DirectoryArgument,
    failed_kind: Annotated[
        list[str] | None,
        typer.Option(
            help="diverged, out_of_memory, error, lost or disk_full. May be given several times.", show_default=False
        ),
    ] = None,
    trial: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Only this trial. May be given several times.", show_default=False),
    ] = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run failed trials again, from their last checkpoint where there is one. Default: all but those that diverged."""
    from search.going_on import retry as ask_for_retry

    def revise(files: "SearchFiles", say: Callable[[str], object]) -> None:
        ask_for_retry(files, kinds=failed_kind or (), numbers=trial or (), say=say)

    _go_on(directory, revise, address=address, as_json=as_json)


def extend(
    directory: DirectoryArgument,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all.", show_default=False)] = None,
    epochs: Annotated[
        float | None, typer.Option(min=0, help="Longer training: training.num_train_epochs.", show_default=False)
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Longer training: training.max_steps.", show_default=False)
    ] = None,
    set_: SetOption = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="So many of the best train for longer. Default: those whose checkpoints were kept.",
            show_default=False,
        ),
    ] = None,
    inexact: Annotated[
        bool, typer.Option("--inexact", help="Go on from checkpoints also where a schedule was made for the old end.")
    ] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Train them from the start instead.")] = False,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """More trials, a larger budget, or longer training, in which the best trials go on from their checkpoints."""
    from search.going_on import Extension
    from search.going_on import extend as ask_for_more
    from spaces.errors import SpecError

    if inexact and anew:
        raise SpecError("give either `--inexact` or `--anew`, not both.")
    sugar = {"search.trials": trials, "training.num_train_epochs": epochs, "training.max_steps": max_steps}
    given = [f"{path}={value:g}" for path, value in sugar.items() if value is not None]
    extension = Extension(
        overrides=[*given, *(set_ or ())], top=top, manner="inexact" if inexact else "anew" if anew else "exact"
    )

    def revise(files: "SearchFiles", say: Callable[[str], object]) -> None:
        ask_for_more(files, extension, say=say)

    _go_on(directory, revise, address=address, as_json=as_json)


def fork(
    directory: DirectoryArgument,
    spec: SpecArgument,
    set_: SetOption = None,
    storage: Annotated[str | None, typer.Option(help="Folder that holds the new search's folder.")] = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """A new search that begins with what another has found out: its trials where they still fit, else its points."""
    from analysis.kept import place_of
    from analysis.records import SearchFiles
    from search.load import load_spec
    from search.plan import make_plan
    from search.run import start_search
    from spaces.errors import SpecError

    if not SearchFiles(directory).spec.is_file():
        raise SpecError(f"`{directory}` is no search: it has no {SearchFiles(directory).spec.name}.")
    overrides = [*(set_ or ()), *([f"storage={json.dumps(storage)}"] if storage else ())]
    earlier = {"search": place_of(SearchFiles(directory.expanduser().resolve()))}
    others = [each.model_dump() for each in load_spec(spec, overrides=overrides).spec.search.warm_start]
    loaded = load_spec(spec, overrides=[*overrides, f"search.warm_start={json.dumps([earlier, *others])}"])
    console = console_for(as_json)
    with stdout_for_json(as_json):
        outcome = start_search(make_plan(loaded), address=address, console=console)
    finish(outcome, console, as_json=as_json)


def _go_on(
    directory: Path,
    revise: "Callable[[SearchFiles, Callable[[str], object]], None]",
    *,
    address: str | None,
    as_json: bool,
) -> None:
    from search.run import resume_search

    console = console_for(as_json)

    def say(words: str) -> None:
        console.print(words, highlight=False, soft_wrap=True)

    with stdout_for_json(as_json):
        outcome = resume_search(directory, address=address, console=console, revise=lambda files: revise(files, say))
    finish(outcome, console, as_json=as_json)

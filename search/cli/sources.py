"""What commands about results say of where a search is kept: the argument and its options, for all of them."""

from typing import TYPE_CHECKING, Annotated, get_args

import typer

from spaces.errors import SpecError, did_you_mean
from spaces.objectives import Mode

if TYPE_CHECKING:
    from analysis.records import SearchRecord

_HELP = (
    "The folder of a search, or its URL; `wandb:ENTITY/PROJECT/GROUP`; a database URL; a folder of offline W&B runs; "
    "a csv, tsv, jsonl or parquet file."
)

SourceArgument = Annotated[str, typer.Argument(metavar="SEARCH", help=_HELP, show_default=False)]
SourcesArgument = Annotated[
    list[str], typer.Argument(metavar="SEARCH...", help=f"{_HELP} One or several.", show_default=False)
]
MetricOption = Annotated[
    str | None,
    typer.Option(help="What was optimised, of runs and tables that do not say it themselves.", show_default=False),
]
ModeOption = Annotated[
    str | None,
    typer.Option(help="Whether that is better when it is small (min) or large (max).", show_default=False),
]


def read_source(source: str, *, metric: str | None = None, mode: str | None = None) -> "SearchRecord":
    """The record at `source`, with what the options say.

    Raises:
        SpecError: it cannot be read.
    """
    from analysis.sources import read_records

    if mode is not None and mode not in get_args(Mode):
        raise SpecError(f"`--mode` is min or max, but got `{mode}`.{did_you_mean(mode, get_args(Mode))}")
    return read_records(source, metric=metric, mode=mode)  # type: ignore[arg-type]  # it is a mode

"""Commands that show a search to others: report."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from search.cli.sources import MetricOption, ModeOption, SourceArgument, read_source
from spaces.errors import SpecError


def report(
    source: SourceArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; `-` prints it.", show_default=False)
    ] = None,
    format: Annotated[
        Literal["html", "md"], typer.Option(help="One HTML file to read, or Markdown for a pull request.")
    ] = "html",
    is_opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    metric: MetricOption = None,
    mode: ModeOption = None,
) -> None:
    """Write what a search showed: in words, leaderboard, figures and the best configuration. Works while it runs."""
    from analysis.records import replace_text

    record = read_source(source, metric=metric, mode=mode)
    if format == "html":
        from analysis.report import report_html

        text = report_html(record)
    else:
        from analysis.report_text import report_markdown

        text = report_markdown(record)
    if str(output) == "-":
        typer.echo(text, nl=False)
        return
    place = output or (record.directory or Path.cwd()) / f"report.{format}"
    if place.is_dir():
        place = place / f"report.{format}"
    if not place.parent.is_dir():
        raise SpecError(f"there is no folder `{place.parent}` to write the report to.")
    replace_text(place, text)
    typer.echo(str(place))
    if is_opened:
        typer.launch(str(place))

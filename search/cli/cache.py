"""Commands about prepared data on disk: cache, cache clear."""

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.specs import JsonOption
from spaces.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainables.data.cache_entries import CacheEntry

_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}

app = typer.Typer(invoke_without_command=True, help="Show what prepared data takes on disk, or clear it.")


@app.callback()
def cache(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show prepared data and converted models on disk: size, last use, source. `cache clear` removes them."""
    if context.invoked_subcommand is not None:
        return
    from trainables.data.cache_entries import cache_entries, cache_folder, size_in_words, total_bytes

    entries = cache_entries()
    if as_json:
        facts = [entry.to_json() for entry in entries]
        found = {"folder": str(cache_folder()), "bytes": total_bytes(entries), "entries": facts}
        typer.echo(json.dumps(found, indent=2))
        return
    size = size_in_words(total_bytes(entries))
    typer.echo(f"{cache_folder()}: {_counted(entries)}, {size}")
    if entries:
        _print_table(entries)


@app.command()
def clear(
    older_than: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only what was not used for so long: 12h, 30d, 2w.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove prepared data and converted models. What is needed again is made again.

    What is being prepared at this moment stays.
    """
    from trainables.data.cache_entries import cache_entries, cache_folder, size_in_words, total_bytes
    from trainables.data.cache_entries import clear as removed_and_kept

    before = time.time() - (_seconds(older_than) if older_than is not None else 0)
    old = [entry for entry in cache_entries() if entry.last_used <= before]
    busy = [entry for entry in old if entry.state == "being made"]
    chosen = [entry for entry in old if entry.state != "being made"]
    if chosen and not yes:
        if as_json or not sys.stdin.isatty():
            raise SpecError(f"this would remove {_counted(chosen)}: `--yes` does it without asking.")
        _print_table(chosen)
        words = f"remove {_counted(chosen)}, {size_in_words(total_bytes(chosen))}, from {cache_folder()}?"
        typer.confirm(words, abort=True)
    removed, used_since = removed_and_kept(chosen)
    kept = busy + used_since
    if as_json:
        facts = {"removed": [one.to_json() for one in removed], "kept": [one.to_json() for one in kept]}
        typer.echo(json.dumps({"folder": str(cache_folder()), "bytes": total_bytes(removed), **facts}, indent=2))
        return
    left = f"; {_counted(kept)} in use stayed" if kept else ""
    typer.echo(f"removed {_counted(removed)}, {size_in_words(total_bytes(removed))}{left}")


def _seconds(text: str) -> float:
    """What `30d` means."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip())
    if found is None:
        raise SpecError(f"`--older-than` takes hours, days or weeks, such as `12h`, `30d` or `2w`, but got `{text}`.")
    return float(found[1]) * _SECONDS[found[2]]


def _print_table(entries: "Sequence[CacheEntry]") -> None:
    from rich.table import Table

    from search.cli.screen import screen
    from trainables.data.cache_entries import size_in_words

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("folder", "size", "last used", "for", "source"):
        table.add_column(column, justify="right" if column == "size" else "left")
    for entry in entries:
        name = f"{entry.directory.parent.name}/{entry.directory.name}"
        source = entry.source if entry.state == "made" else entry.state
        table.add_row(name, size_in_words(entry.num_bytes), _ago(time.time() - entry.last_used), entry.kind, source)
    screen().print(table, highlight=False, markup=False)


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) >= 1:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def _counted(entries: "Sequence[CacheEntry]") -> str:
    return f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"

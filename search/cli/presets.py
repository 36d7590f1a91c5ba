"""Commands about published spaces: presets."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.specs import JsonOption

if TYPE_CHECKING:
    from spaces.presets import Preset


def presets(
    name: Annotated[str | None, typer.Argument(help="Explain this preset.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """List published search spaces, or explain one: its ranges, its points and where they come from."""
    from spaces.presets import all_presets, preset_named

    if name is not None:
        preset = preset_named(name)
        if as_json:
            typer.echo(json.dumps(preset.to_json(), indent=2))
        else:
            _explain(preset)
        return
    found = list(all_presets().values())
    if as_json:
        typer.echo(json.dumps([preset.to_json() for preset in found], indent=2))
        return
    from rich.table import Table

    from search.cli.screen import screen

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("preset", "for", "tasks", "source"):
        table.add_column(column, no_wrap=column == "preset")
    for preset in found:
        papers = "; ".join(source.paper.partition(",")[0] for source in preset.sources if source.paper)
        table.add_row(preset.name, preset.models_in_words, ", ".join(preset.tasks), papers)
    screen().print(table, "", "tunesmith presets NAME explains one.", highlight=False, markup=False)


def _explain(preset: "Preset") -> None:
    from rich.text import Text

    from search.cli.screen import screen
    from search.yaml_text import to_flow_yaml

    console = screen()
    console.print(Text(preset.name, style="bold"), Text(preset.summary), "", sep="\n", highlight=False)
    console.print(
        f"tasks   {', '.join(preset.tasks)}", f"model   {preset.models_in_words}", "", sep="\n", highlight=False
    )
    console.print(Text("sources", style="bold"))
    for source in preset.sources:
        where = f"{source.paper}. {source.place}: " if source.paper else "Practice, no paper's: "
        console.print(Text(f"- {where}{source.says}"), highlight=False)
    console.print("", Text("in a spec", style="bold"), sep="\n")
    console.print(f"space:\n  preset: {preset.name}\n", highlight=False, markup=False)
    console.print(Text("what that stands for", style="bold"))
    console.print(_written_out(preset), highlight=False, markup=False, soft_wrap=True)
    if preset.grid:
        console.print(Text("the published values", style="bold"))
        for path, values in preset.grid.items():
            console.print(f"{path}: {to_flow_yaml(list(values))}", highlight=False, markup=False, soft_wrap=True)


def _written_out(preset: "Preset") -> str:
    """A part of a spec that says the same without the preset."""
    from search.yaml_text import to_flow_yaml

    lines = ["space:", *(f"  {path}: {to_flow_yaml(entry)}" for path, entry in preset.space.items())]
    if preset.derive:
        lines += ["derive:", *(f"  {path}: {text}" for path, text in preset.derive.items())]
    lines.append("search:")
    if isinstance(preset.points, str):
        lines.append(f"  start_from: {preset.points}")
    else:
        lines += ["  start_from:", *(f"    - {to_flow_yaml(dict(point))}" for point in preset.points)]
    lines += ["# and sets, where you do not:"]
    lines += [f"#   {path}: {to_flow_yaml(value)}" for path, value in preset.settings.items()]
    return "\n".join(lines) + "\n"

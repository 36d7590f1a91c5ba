"""Commands about this machine: doctor."""

import typer

from search.cli.specs import JsonOption


def doctor(as_json: JsonOption = False) -> None:
    """Say what works on this machine: versions, devices, Ray, W&B, folders."""
    import json

    from search.diagnosis import diagnose

    findings = diagnose()
    if as_json:
        typer.echo(json.dumps([finding.to_json() for finding in findings], indent=2))
    else:
        from rich.table import Table

        from search.cli.screen import screen

        table = Table(box=None, pad_edge=False, show_header=False)
        for finding in findings:
            mark = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}[finding.verdict]
            table.add_row(mark, finding.subject, finding.message)
        screen().print(table, highlight=False)
    if any(finding.verdict == "bad" for finding in findings):
        raise typer.Exit(1)

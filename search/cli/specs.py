"""Commands about specs: init, check, schema."""

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spaces.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search.budget import Limit
    from search.plan import Plan
    from search.probe import Probe

SpecArgument = Annotated[Path, typer.Argument(help="The spec, a YAML file.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override one entry of the spec. May be given several times."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

_MODULE = "my_module.py"
"""What the template `custom` names as its trainable."""


def init(
    file: Annotated[Path, typer.Argument(help="Where to write the spec.")] = Path("spec.yaml"),
    template: Annotated[
        str, typer.Option(help="classification, fine-tuning, causal-lm, or custom.")
    ] = "classification",
    force: Annotated[bool, typer.Option(help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a commented spec to start from."""
    templates = files("search").joinpath("templates")
    known = {Path(entry.name).stem: entry for entry in templates.iterdir() if entry.name.endswith(".yaml")}
    if template not in known:
        raise SpecError(
            f"there is no template `{template}`.{did_you_mean(template, known)} Known: {', '.join(sorted(known))}."
        )
    if file.is_dir():
        raise SpecError(f"`{file}` is a folder: name the file to write, such as `{file / 'spec.yaml'}`.")
    if file.exists() and not force:
        raise SpecError(f"`{file}` exists already; `--force` overwrites it.")
    if not file.parent.is_dir():
        raise SpecError(f"there is no folder `{file.parent}`.")
    file.write_text(known[template].read_text("utf-8"), "utf-8")
    typer.echo(f"wrote {file}")
    module = file.with_name(_MODULE)
    if template == "custom" and not module.exists():  # what is there already is the user's
        module.write_text(templates.joinpath(_MODULE).read_text("utf-8"), "utf-8")
        typer.echo(f"wrote {module}")
    typer.echo(f"next:  tunesmith check {file}")


def check(
    spec: SpecArgument,
    set_: SetOption = None,
    as_json: JsonOption = False,
    address: Annotated[
        str | None,
        typer.Option(help="Also join this Ray cluster, and ask all its nodes whether they can write to the storage."),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also train a few real steps: what fits into memory, how long it takes.")
    ] = False,
) -> None:
    """Validate a spec and print the plan, without starting anything."""
    from search.load import load_spec
    from search.plan import make_plan
    from search.plan_text import plan_facts, plan_text

    plan = make_plan(load_spec(spec, overrides=set_ or ()))
    learned = _learned(plan)
    num_nodes = None if address is None else _nodes_that_write(plan, address)
    if as_json:
        facts = plan_facts(plan) | {"warm_start": learned}
        if num_nodes is not None:
            facts["nodes"] = num_nodes
        if probe:
            facts["probe"] = (found := _probe(plan)).to_json()
            facts["probe"]["affordable_trials"] = _affordable(plan, found)
        typer.echo(json.dumps(facts, indent=2))
        return
    from search.cli.screen import screen

    screen().print(plan_text(plan), highlight=False, soft_wrap=True)
    for words in learned:
        screen().print(f"learns from {words}", highlight=False, soft_wrap=True)
    if num_nodes is not None:
        nodes = "1 node" if num_nodes == 1 else f"all {num_nodes} nodes"
        words = f"{nodes} at {address} can write to {plan.spec.storage.path}"
        screen().print(words, highlight=False, soft_wrap=True)
    if probe:
        from search.budget_text import affordable_text
        from search.probe_text import probe_text

        probed = _probe(plan)
        found_text = probe_text(probed, currency=plan.spec.resources.currency)
        screen().print("", found_text, highlight=False, soft_wrap=True)
        affords = affordable_text(
            _affordable(plan, probed), plan.spec.search.budget, num_trials=plan.num_trials,
            currency=plan.spec.resources.currency,
        )  # fmt: skip
        if affords:
            screen().print(affords, highlight=False, soft_wrap=True)


def _learned(plan: "Plan") -> list[str]:
    """What the search would learn from others; looking there costs a second, so only when it is asked for."""
    if not plan.spec.search.warm_start:
        return []
    from search.inheritance import find_inheritance

    return list(find_inheritance(plan).words)


def _nodes_that_write(plan: "Plan", address: str) -> int:
    """How many nodes the cluster has; raises SpecError for one that cannot write to the storage, or a database that
    does not answer here."""
    from cluster.connect import connected
    from cluster.nodes import check_nodes
    from search.databases import reach

    storage = plan.spec.storage
    if storage.database is not None:
        reach(storage.database).dispose()
    with connected(address):
        return check_nodes(storage.path).num_nodes


def _affordable(plan: "Plan", probe: "Probe") -> "Mapping[Limit, int]":
    from search.budget_text import affordable_trials

    return affordable_trials(
        plan.spec.search.budget,
        plan.spec.resources,
        trial_seconds=probe.trials[0].trial_seconds,
        num_parallel=probe.concurrent_trials,
    )


def _probe(plan: "Plan") -> "Probe":
    from search.probe import probe_search

    return probe_search(plan, on_progress=lambda words: typer.echo(f"probe  {words}", err=True))


def schema() -> None:
    """Print the JSON schema of a spec, for editors and checks."""
    from search.load import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))

"""Commands about a team's queue: start, stop, list, cancel, bump, quota; and what `submit --queue` does."""

import getpass
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.specs import JsonOption

if TYPE_CHECKING:
    from search.queue_client import QueueClient
    from search.submission import Submission

app = typer.Typer(help="A team's queue of searches over one Ray cluster.", no_args_is_help=True)

QueueAddressOption = Annotated[
    str, typer.Option(envvar="TUNESMITH_QUEUE", help="Where the queue's API answers.", metavar="URL")
]
DEFAULT_PORT = 8270
DEFAULT_ADDRESS = f"http://127.0.0.1:{DEFAULT_PORT}"
_TokenOption = Annotated[
    Path | None,
    typer.Option(help="File with the token. Default: as for `submit`, the cluster's token.", show_default=False),
]
_ClusterOption = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard, such as http://HOST:8265.", show_default=False
    ),
]
_NameArgument = Annotated[str, typer.Argument(help="The search's name, or its number.", show_default=False)]
_QueueName = Annotated[str, typer.Option("--name", help="Name of the queue, where a cluster has several.")]
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@app.command("start")
def start(
    address: _ClusterOption,
    database: Annotated[
        str, typer.Option(help="SQLite file on the head, or URL of a PostgreSQL database.", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Where the API listens on the head.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the API listens on the head.")] = DEFAULT_PORT,
    service_token_file: Annotated[
        str | None,
        typer.Option(help="File on the head: a line is a token, or NAME TOKEN. Default: the cluster's token."),
    ] = None,
    most_gpus: Annotated[float | None, typer.Option(min=0, help="GPUs that the queue may use. Default: all.")] = None,
    most_cpus: Annotated[float | None, typer.Option(min=0, help="CPUs that the queue may use. Default: all.")] = None,
    installed: Annotated[
        bool, typer.Option("--installed", help="Use the tunesmith that is installed there, instead of this one.")
    ] = False,
    python: Annotated[str, typer.Option(help="The interpreter on the cluster.")] = "python",
    name: _QueueName = "default",
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a queue on a cluster: a small process on its head, which Ray starts again when it dies."""
    from cluster.queue_tables import check_place
    from search.keeper_process import KeeperOrder

    check_place(database)
    if host not in _LOOPBACK:
        typer.echo(
            f"warning: the API listens at {host}, without encryption: who reaches it and has a token runs code on the "
            "cluster. 127.0.0.1 and a tunnel (`ssh -L 8270:localhost:8270 HEAD`) keep it to those who may log in.",
            err=True,
        )
    order = KeeperOrder(
        database=database, name=name, host=host, port=port, token_file=service_token_file, most_cpus=most_cpus,
        most_gpus=most_gpus, is_installed=installed,
    )  # fmt: skip
    answer = _on_head("start", order, address=address, token_file=token_file, installed=installed, python=python)
    if as_json:
        typer.echo(json.dumps(answer))
        return
    url = f"http://{answer['host']}:{answer['port']}"
    typer.echo("keeping the queue." if answer["started"] else "the queue is kept already: nothing was changed.")
    typer.echo(f"  database  {answer['database']}")
    typer.echo(f"  API       {url}  (seen from the head; /docs describes it)")
    if (answer["database"], answer["host"], answer["port"]) != (database, host, port):
        typer.echo("that is not what you asked for: `tunesmith queue stop`, then start it again, changes it.", err=True)
    if answer["port"] != DEFAULT_PORT:
        typer.echo(f"say where it is:   export TUNESMITH_QUEUE={url}   (or the tunnel to it)")
    typer.echo("hand in a search:  tunesmith submit SPEC --queue        look:  tunesmith queue list")


@app.command("stop")
def stop(
    address: _ClusterOption,
    python: Annotated[str, typer.Option(help="The interpreter on the cluster.")] = "python",
    installed: Annotated[bool, typer.Option("--installed", help="Use the tunesmith that is installed there.")] = False,
    name: _QueueName = "default",
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the keeper. Searches that run go on; what waits, waits until it is started again."""
    from search.keeper_process import KeeperOrder

    order = KeeperOrder(database="", name=name)
    answer = _on_head("stop", order, address=address, token_file=token_file, installed=installed, python=python)
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        typer.echo("the keeper has ended; the queue is in its database." if answer["stopped"] else "no keeper runs.")


@app.command("list")
def list_queue(
    all_: Annotated[bool, typer.Option("--all", help="Also what has ended.")] = False,
    queue_address: QueueAddressOption = DEFAULT_ADDRESS,
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what runs and what waits, and why it waits."""
    found = _client(queue_address, token_file).searches(active=not all_)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    if not found:
        typer.echo("the queue is empty.")
        return
    from search.cli.screen import screen
    from search.queue_text import queue_table

    screen().print(queue_table(found), highlight=False)


@app.command("cancel")
def cancel(
    name: _NameArgument,
    queue_address: QueueAddressOption = DEFAULT_ADDRESS,
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a search out of the queue; one that runs is stopped in order, and can be resumed."""
    found = _client(queue_address, token_file).cancel(name)
    if as_json:
        typer.echo(json.dumps(found))
    elif found["state"] == "CANCELLED":
        typer.echo(f"{found['name']} is out of the queue.")
    else:
        typer.echo(f"{found['name']} is being stopped; its trials keep their checkpoints.")


@app.command("bump")
def bump(
    name: _NameArgument,
    priority: Annotated[
        int | None, typer.Option(help="Its new priority. Default: above all others.", show_default=False)
    ] = None,
    queue_address: QueueAddressOption = DEFAULT_ADDRESS,
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a search up in the queue, or to a priority."""
    found = _client(queue_address, token_file).bump(name, priority)
    typer.echo(json.dumps(found) if as_json else f"{found['name']} has priority {found['priority']} now.")


@app.command("quota")
def quota(
    user: Annotated[str | None, typer.Argument(help="Whose; `*`: of all who have none.", show_default=False)] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs at once.", show_default=False)] = None,
    cpus: Annotated[float | None, typer.Option(min=0, help="CPUs at once.", show_default=False)] = None,
    weight: Annotated[float | None, typer.Option(min=0.01, help="Relative share. Default: 1.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="No quota any more.")] = False,
    queue_address: QueueAddressOption = DEFAULT_ADDRESS,
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all quotas; or set what all searches of a user may take together."""
    from spaces.errors import SpecError

    client = _client(queue_address, token_file)
    is_set = (gpus, cpus, weight) != (None, None, None)
    if user is None and (is_set or remove):
        raise SpecError("whose quota? `tunesmith queue quota USER --gpus N`, or `'*'` for all who have none.")
    if remove and is_set:
        raise SpecError("`--remove` takes the quota away; it goes with no other option.")
    if user is not None and remove:
        client.remove_quota(user)
    elif user is not None and is_set:
        client.set_quota(user, {"gpus": gpus, "cpus": cpus, "weight": weight or 1.0})
    quotas = client.quotas()
    if as_json:
        typer.echo(json.dumps(quotas))
        return
    if not quotas:
        typer.echo("there are no quotas: everybody may use all of the cluster, in fair shares.")
        return
    from search.cli.screen import screen
    from search.queue_text import quota_table

    screen().print(quota_table(quotas), highlight=False)


def hand_in(
    submission: "Submission", *, place: Path, overrides: list[str], queue_address: str, priority: int,
    user: str | None, checks: bool, environment: list[str], secret_files: list[str], token_file: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """`tunesmith submit --queue`."""
    found = _client(queue_address, token_file).hand_in(
        submission, place=place, overrides=overrides, priority=priority, user=user or getpass.getuser(), checks=checks,
        environment=environment, secret_files=secret_files,
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"{found['name']} is in the queue, as number {found['number']} of {found['user']}")
    for expected in submission.expected:
        typer.echo(f"  expected  on the cluster: {expected}")
    typer.echo(f"  folder    {found['directory']}")
    typer.echo(f"look:  tunesmith queue list     take it out:  tunesmith queue cancel {found['name']}")


def _client(address: str, token_file: Path | None) -> "QueueClient":
    from cluster.tokens import find_token
    from search.queue_client import QueueClient

    return QueueClient(address, find_token(token_file))


def _on_head(
    wanted: str, order: Any, *, address: str, token_file: Path | None, installed: bool, python: str
) -> dict[str, Any]:  # fmt: skip
    from cluster.errors import ClusterError
    from cluster.jobs import open_jobs
    from cluster.packaging import copy_tunesmith
    from cluster.tokens import find_token

    jobs = open_jobs(address, find_token(token_file))
    typer.echo(f"asking the head of {jobs.address}; this takes some seconds", err=True)
    with tempfile.TemporaryDirectory(prefix="tunesmith-queue-") as scratch:
        went_well, said = jobs.run_helper(
            f"queue-{wanted}",
            ["search.keeper_process", wanted, json.dumps(asdict(order))],
            modules=() if installed else copy_tunesmith(Path(scratch)),
            python=python,
        )
    lines = [line for line in said.splitlines() if line.strip()]
    if not went_well:
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        raise ClusterError(errors[-1] if errors else f"it did not come up: {lines[-1] if lines else 'no word'}")
    return dict(json.loads(lines[-1]))

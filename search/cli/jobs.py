"""Commands about searches on a Ray cluster, over HTTP: submit, and jobs list, status, logs, stop and others."""

import json
import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.queue import DEFAULT_ADDRESS, QueueAddressOption, hand_in
from search.cli.specs import JsonOption, SetOption

if TYPE_CHECKING:
    from cluster.job_records import SearchJob
    from cluster.jobs import Jobs

app = typer.Typer(help="Searches that were submitted to a Ray cluster.", no_args_is_help=True)

_AddressOption = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard, such as http://HOST:8265.", show_default=False
    ),
]
_TokenOption = Annotated[
    Path | None,
    typer.Option(
        help="File with the cluster's token. Default: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.",
        show_default=False,
    ),
]
_NameArgument = Annotated[str, typer.Argument(help="The search's name, or the id of its job.", show_default=False)]
_LAST_LINES = 12
_ASK_SECONDS = 120.0
_WANDB_KEY = "WANDB_API_KEY"

EXIT_FAILED, _EXIT_INTERRUPTED = 3, 130


def submit(
    spec: Annotated[
        Path, typer.Argument(help="The spec; or the folder of a search, which is resumed.", show_default=False)
    ],
    address: _AddressOption = "",
    set_: SetOption = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Holds the search's folder: an absolute path that all nodes see, or s3://... or gs://..."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with this search.")] = False,
    action: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="COMMAND",
            show_default=False,
            help="How it goes on: retry, extend or confirm, with options: --as 'extend --trials 60'.",
        ),
    ] = "",
    include: Annotated[
        list[Path] | None, typer.Option(help="A file or folder that travels, too. May be given several times.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="For all processes. Everyone who may list jobs reads it."),
    ] = None,
    secret_file: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH", help="For the search's process: the value stands in this file on the cluster's head."
        ),
    ] = None,
    send_wandb_key: Annotated[
        bool, typer.Option("--send-wandb-key", help="Send the W&B key of this shell. Who may list jobs can read it.")
    ] = False,
    installed: Annotated[
        bool, typer.Option("--installed", help="Use the tunesmith that is installed there, instead of this one.")
    ] = False,
    python: Annotated[str, typer.Option(help="The interpreter on the cluster.")] = "python",
    most_megabytes: Annotated[float, typer.Option(min=0, help="Of all files that travel.")] = 50.0,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Skip the check here: for paths that only the cluster has.")
    ] = False,
    queue: Annotated[
        bool, typer.Option("--queue", help="Hand it to the team's queue, which starts it when it is its turn.")
    ] = False,
    priority: Annotated[int, typer.Option(help="In the queue: higher ones come first.")] = 0,
    user: Annotated[
        str | None, typer.Option(help="In the queue: whose it is. Default: you.", show_default=False)
    ] = None,
    queue_address: QueueAddressOption = DEFAULT_ADDRESS,
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a search on a Ray cluster. It goes on when this shell is closed."""
    from cluster.job_records import check_submission, metadata_of, next_id
    from cluster.jobs import Order
    from cluster.packaging import copy_tunesmith
    from search.submission import prepare_submission

    if not queue:
        _check_address_is_given(address)
    overrides = [*(set_ or ()), *([f"storage={json.dumps(storage)}"] if storage else ())]
    submission = prepare_submission(
        spec, overrides=overrides, resumes=resume, action=_action(action), include=include or (), environment=env or (),
        secret_files=secret_file or (), most_megabytes=most_megabytes, checks=not no_check,
    )  # fmt: skip
    if queue:
        hand_in(
            submission, place=spec, overrides=overrides, queue_address=queue_address, priority=priority, user=user,
            checks=not no_check, environment=env or [], secret_files=secret_file or [], token_file=token_file,
            as_json=as_json,
        )  # fmt: skip
        return
    environment = {**submission.environment, **(_wandb_key() if send_wandb_key else {})}
    jobs = _open(address, token_file)
    check_submission(
        jobs.searches(), search=submission.name, directory=submission.directory, resumes=submission.resumes,
        address=jobs.address,
    )  # fmt: skip
    submission_id = next_id(submission.name, submission.directory, jobs.ids())
    with tempfile.TemporaryDirectory(prefix="tunesmith-submit-") as scratch:
        travels = Path(scratch) / "search"
        travels.mkdir()
        submission.bundle.copy_to(travels)
        own = Path(scratch) / "tunesmith"
        own.mkdir()
        jobs.submit(
            Order(
                submission_id=submission_id,
                metadata=metadata_of(
                    search=submission.name, directory=submission.directory, command=submission.command[0]
                ),
                working_dir=travels,
                modules=() if installed else copy_tunesmith(own),
                shelf=submission.shelf,
                command=submission.command,
                environment=environment,
                secret_files=submission.secret_files,
                python=python,
            )
        )
    if as_json:
        facts = {
            "submission_id": submission_id,
            "search": submission.name,
            "directory": submission.directory,
            "files": [str(name) for name in submission.bundle.names],
            "expected": list(submission.expected),
        }
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"submitted {submission.name} as job {submission_id}")
    size = submission.bundle.num_bytes / 1e6
    typer.echo(f"  travels   {', '.join(str(name) for name in submission.bundle.names) or 'nothing'} ({size:.1f} MB)")
    for expected in submission.expected:
        typer.echo(f"  expected  on the cluster: {expected}")
    typer.echo(f"  folder    {submission.directory}")
    typer.echo(f"follow it:  tunesmith jobs logs {submission.name} --follow --address {jobs.address}")
    typer.echo(f"stop it:    tunesmith jobs stop {submission.name} --address {jobs.address}")


def _action(text: str) -> tuple[str, ...]:
    """Its words, checked here by the command that will read them there."""
    from search.actions import parse_action
    from search.cli import confirming, going_on, running

    if not text:
        return ()
    words = parse_action(text)
    commands = typer.Typer()
    for function in (running.resume, going_on.retry, going_on.extend, confirming.confirm):
        commands.command(function.__name__)(function)
    command = typer.main.get_group(commands).commands[words[0]]
    # "." stands for the search's folder, which may be seen from the cluster only.
    command.make_context(f"--as {words[0]}", [".", *words[1:]])
    return words


@app.command("list")
def list_jobs(
    address: _AddressOption,
    active: Annotated[bool, typer.Option("--active", help="Only those that wait or run.")] = False,
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the searches that were submitted to a cluster, the last one last."""
    found = [job for job in _open(address, token_file).searches() if job.is_active or not active]
    if as_json:
        typer.echo(json.dumps([job.to_json() for job in found], indent=2))
        return
    if not found:
        typer.echo("no search was submitted to this cluster." if not active else "no search runs or waits there.")
        return
    from rich.table import Table

    from search.cli.screen import screen

    table = Table(box=None, pad_edge=False)
    for title in ("search", "state", "began", "took", "user", "job", ""):
        table.add_column(title, overflow="fold")
    for job in found:
        table.add_row(job.search, job.state, *_times(job), job.user, job.submission_id, job.reason)
    screen().print(table, highlight=False)


@app.command("status")
def status(
    name: _NameArgument,
    address: _AddressOption,
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how a submitted search stands, with the last lines of its log."""
    from cluster.job_records import find_job

    jobs = _open(address, token_file)
    job = find_job(jobs.searches(), name)
    last = jobs.logs(job.submission_id).splitlines()[-_LAST_LINES:]
    if as_json:
        typer.echo(json.dumps({**job.to_json(), "last_lines": last}, indent=2))
        return
    began, took = _times(job)
    typer.echo(f"{job.search}  {job.state}{f': {job.reason}' if job.reason else ''}")
    typer.echo(f"  job     {job.submission_id} ({job.command}), by {job.user}, began {began}, took {took}")
    typer.echo(f"  folder  {job.directory}")
    for line in last:
        typer.echo(f"  | {line}")


@app.command("logs")
def logs(
    name: _NameArgument,
    address: _AddressOption,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the search ends.")] = False,
    token_file: _TokenOption = None,
) -> None:
    """Show what a submitted search writes. Leaving by Ctrl-C does not stop it."""
    from cluster.job_records import find_job

    jobs = _open(address, token_file)
    job = find_job(jobs.searches(), name)
    if not follow:
        typer.echo(jobs.logs(job.submission_id), nl=False)
        return
    try:
        for text in jobs.follow(job.submission_id):
            sys.stdout.write(text)
            sys.stdout.flush()
    except KeyboardInterrupt:
        typer.echo(f"\nno longer followed; {job.search} goes on.", err=True)
        raise typer.Exit(_EXIT_INTERRUPTED) from None
    ended = jobs.job(job.submission_id)
    if ended.state == "failed":
        raise typer.Exit(EXIT_FAILED)


@app.command("stop")
def stop(
    name: _NameArgument,
    address: _AddressOption,
    wait: Annotated[float, typer.Option(min=1, help="Seconds that the search gets to stop in order.")] = 300.0,
    now: Annotated[
        bool, typer.Option("--now", help="End its processes instead; trials go on from their last checkpoint.")
    ] = False,
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a submitted search in order: trials keep their checkpoints, W&B runs are finished, it can be resumed."""
    from cluster.job_records import find_job

    def tell(words: str, *, in_order: bool) -> None:
        facts = {**jobs.job(job.submission_id).to_json(), "in_order": in_order} if as_json else {}
        typer.echo(json.dumps(facts) if as_json else words)

    jobs = _open(address, token_file)
    job = find_job(jobs.searches(), name)
    if not job.is_active:
        tell(
            f"{job.search} does not run: it has {job.state}{f' ({job.reason})' if job.reason else ''}.",
            in_order=job.state == "stopped",
        )
        return
    if job.state == "running" and not now:
        typer.echo(f"asking {job.search} to stop; it has {wait:g} s for that", err=True)
        ended, said = jobs.stop_in_order(job, wait_seconds=wait)
        if ended:
            words = f"stopped {job.search}, as job {job.submission_id}. Go on:  tunesmith submit SPEC --resume"
            tell(words, in_order=True)
            return
        typer.echo(f"{job.search} did not stop in order ({said or 'no answer'}): ending its processes.", err=True)
    jobs.stop_at_once(job)
    jobs.wait_for_end(job, timeout_seconds=30.0)
    tell(
        f"ended {job.search}; its trials go on from their last checkpoint:  tunesmith submit SPEC --resume",
        in_order=False,
    )


@app.command("pause")
def pause(
    name: _NameArgument, address: _AddressOption, token_file: _TokenOption = None, as_json: JsonOption = False
) -> None:
    """Let a submitted search begin no new trials, as `tunesmith pause` does. `jobs go-on` lets it go on."""
    _ask(name, "pause", address=address, token_file=token_file, as_json=as_json)


@app.command("go-on")
def go_on(
    name: _NameArgument, address: _AddressOption, token_file: _TokenOption = None, as_json: JsonOption = False
) -> None:
    """Let a paused search go on."""
    _ask(name, "resume", address=address, token_file=token_file, as_json=as_json)


@app.command("scale")
def scale(
    name: _NameArgument,
    concurrent_trials: Annotated[int, typer.Argument(min=1, help="Trials at once.", show_default=False)],
    address: _AddressOption,
    token_file: _TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a submitted search run more or fewer trials at once, as `tunesmith scale` does."""
    _ask(name, "scale", str(concurrent_trials), address=address, token_file=token_file, as_json=as_json)


def _ask(
    name: str, command: str, *arguments: str, address: str, token_file: Path | None, as_json: bool
) -> None:  # fmt: skip
    from cluster.job_records import find_job
    from spaces.errors import SpecError

    jobs = _open(address, token_file)
    job = find_job(jobs.searches(), name)
    if job.state != "running":
        raise SpecError(f"`{job.search}` does not run: it is {job.state}{f' ({job.reason})' if job.reason else ''}.")
    typer.echo(f"asking {job.search}, on the cluster", err=True)
    agreed, said = jobs.ask(job, command, job.directory, *arguments, wait_seconds=_ASK_SECONDS)
    # What the search answers is for a shell on its own machine.
    said = said.replace(f"tunesmith resume {job.directory}", f"tunesmith jobs go-on {name} --address {jobs.address}")
    if as_json:
        typer.echo(json.dumps({"submission_id": job.submission_id, "search": job.search, "done": agreed, "said": said}))
    else:
        typer.echo(said or "the search did not answer in time.", err=not agreed)
    if not agreed:
        raise typer.Exit(EXIT_FAILED)


def _open(address: str, token_file: Path | None) -> "Jobs":
    from cluster.jobs import open_jobs
    from cluster.tokens import find_token, warning_of

    token = find_token(token_file)
    if token is not None and (warning := warning_of(token)) is not None:
        typer.echo(f"warning: {warning}", err=True)
    return open_jobs(address, token)


def _check_address_is_given(address: str) -> None:
    from spaces.errors import SpecError

    if not address:
        raise SpecError("where to? `--address http://HOST:8265` is the cluster's dashboard; `--queue` a team's queue.")


def _wandb_key() -> dict[str, str]:
    from spaces.errors import SpecError

    if not (key := os.environ.get(_WANDB_KEY)):
        raise SpecError(f"`--send-wandb-key` sends {_WANDB_KEY} of this shell, but it is not set.")
    typer.echo(
        f"warning: {_WANDB_KEY} is sent with the job, and everyone who may list the cluster's jobs can read it; "
        f"`--secret-file {_WANDB_KEY}=PATH` keeps it on the cluster.",
        err=True,
    )
    return {_WANDB_KEY: key}


def _times(job: "SearchJob") -> tuple[str, str]:
    import time

    from search.units import show_seconds

    if job.started_at is None:
        return "", ""
    began = datetime.fromtimestamp(job.started_at).astimezone().strftime("%Y-%m-%d %H:%M")
    return began, show_seconds((job.ended_at or time.time()) - job.started_at)

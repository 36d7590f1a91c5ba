"""What is handed in over the network becomes a search of the queue: checked as `tunesmith check` does, none of it run.

Knows neither HTTP nor the database.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cluster.queue_records import NewSearch, Package
from cluster.queueing import Amount
from search.nested import is_nested
from search.submission import Submission, prepare_submission
from spaces.errors import SpecError
from spaces.store import is_store


@dataclass(frozen=True, kw_only=True, slots=True)
class HandedIn:
    """What somebody wants to run."""

    user: str
    """Who."""
    place: str
    """Name of the spec among the files; or the folder or URL of a search, as the cluster sees it, which is resumed."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Content by relative path."""
    overrides: Sequence[str] = ()
    """`PATH=VALUE` for the spec."""
    priority: int = 0
    """Higher ones come first."""
    resumes: bool = False
    """Whether the search goes on."""
    action: Sequence[str] = ()
    """How: `retry`, `extend` or `confirm`, with options. Default: `resume`."""
    environment: Sequence[str] = ()
    """`NAME=VALUE`, not secret."""
    secret_files: Sequence[str] = ()
    """`NAME=PATH`, a file on the cluster."""


def take_in(handed_in: HandedIn, *, checks: bool = True) -> tuple[NewSearch, Package]:
    """The search, and its files.

    Raises:
        SpecError: something is wrong with it, as `tunesmith check` says; or a file has no place of its own.
    """
    with tempfile.TemporaryDirectory(prefix="tunesmith-intake-") as scratch:
        root = Path(scratch).resolve()
        for name, content in handed_in.files.items():
            file = root / _checked_name(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        place = Path(handed_in.place)
        submission = prepare_submission(
            place if place.is_absolute() or is_store(place) else root / _checked_name(handed_in.place),
            overrides=handed_in.overrides,
            resumes=handed_in.resumes,
            action=handed_in.action,
            include=[root / name for name in handed_in.files],
            environment=handed_in.environment,
            secret_files=handed_in.secret_files,
            checks=checks,
            root=root,
        )
    return _new_search(handed_in, submission), Package(files=dict(handed_in.files))


def _new_search(handed_in: HandedIn, submission: Submission) -> NewSearch:
    resources = submission.spec.resources
    most = resources.concurrent_trials
    return NewSearch(
        name=submission.name,
        user=handed_in.user,
        priority=handed_in.priority,
        directory=submission.directory,
        shelf=submission.shelf,
        command=submission.command,
        environment=dict(submission.environment),
        secret_files=dict(submission.secret_files),
        lane=Amount(
            cpus=float(resources.workers * resources.cpus_per_worker),
            gpus=resources.workers * resources.gpus_per_worker,
        ),
        workers=resources.workers,
        most_lanes=None if most == "auto" else most,
        # A confirmation is a search within the search: nobody there listens.
        is_fixed=is_nested(submission.spec) or submission.command[0] == "confirm",
    )


def _checked_name(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise SpecError(f"files are named relative to the folder of the search, without `..`, but got `{name}`.")
    return path

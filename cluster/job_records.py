"""Searches as jobs of a Ray cluster: what a job's metadata says of its search, names, and what a job's end means.

Knows no ray: what the Jobs API answers comes as plain values.
"""

import getpass
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from spaces.errors import SpecError, did_you_mean

JobState = Literal["waiting", "running", "finished", "stopped", "failed"]

_PREFIX = "tunesmith-"
_SEARCH, _DIRECTORY, _COMMAND, _USER, _HELPS = (
    "tunesmith_search", "tunesmith_directory", "tunesmith_command", "tunesmith_user", "tunesmith_helps",
)  # fmt: skip
_ERROR = "error: "
_NO_PYTHON = "the cluster's head has no such interpreter: `tunesmith submit --python PATH` names the one that runs Ray"
_SAY_WHY = (2, 4)
"""Exit codes with which our last line says more than we do here."""
_EXIT_CODES: dict[int, tuple[JobState, str]] = {
    2: ("failed", "it was refused; the log says why"),
    3: ("failed", "no trial completed"),
    4: ("failed", "something that it needs did not answer; the log says what"),
    126: ("failed", _NO_PYTHON),
    127: ("failed", _NO_PYTHON),
    130: ("stopped", "stopped in order; go on with `tunesmith submit SPEC --resume`"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchJob:
    """One search that was submitted, or one of its helpers."""

    submission_id: str
    """Its name on the cluster."""
    search: str
    """The name of the search."""
    directory: str
    """The search's folder, as the nodes see it."""
    command: str
    """`run` or `resume`."""
    user: str
    """Who submitted it."""
    state: JobState
    """How it stands."""
    reason: str
    """Why, in a few words; empty while there is nothing to say."""
    started_at: float | None = None
    """Unix time."""
    ended_at: float | None = None
    """Unix time."""
    exit_code: int | None = None
    """Of its process; None where there is none, as when it was killed."""

    @property
    def was_lost(self) -> bool:
        """Whether its process was killed, or went down with its node: nothing that it said or did ended it."""
        return self.state == "failed" and (self.exit_code is None or _was_killed(self.exit_code))

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("waiting", "running")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def metadata_of(*, search: str, directory: str, command: str, user: str | None = None) -> dict[str, str]:
    """What is stored with a job. Everyone who may list jobs reads it: no secrets."""
    user = user or getpass.getuser()
    return {"job_name": search, _SEARCH: search, _DIRECTORY: directory, _COMMAND: command, _USER: user}


def helper_metadata(job: SearchJob) -> dict[str, str]:
    """The metadata of a short job that serves another one."""
    return {"job_name": f"{job.search} (helper)", _HELPS: job.submission_id}


def search_job(details: Mapping[str, Any]) -> SearchJob | None:
    """The search that a job of the cluster is, None where it is something else."""
    metadata = details.get("metadata") or {}
    if details.get("submission_id") is None or _SEARCH not in metadata:
        return None
    state, reason = state_of(
        str(details["status"]), exit_code=details.get("driver_exit_code"), message=details.get("message") or ""
    )
    return SearchJob(
        submission_id=details["submission_id"],
        search=metadata[_SEARCH],
        directory=metadata.get(_DIRECTORY, ""),
        command=metadata.get(_COMMAND, "run"),
        user=metadata.get(_USER, ""),
        state=state,
        reason=reason,
        started_at=_seconds(details.get("start_time")),
        ended_at=_seconds(details.get("end_time")),
        exit_code=details.get("driver_exit_code"),
    )


def state_of(status: str, *, exit_code: int | None, message: str) -> tuple[JobState, str]:
    """How a search stands whose job has `status`, and why. Ray calls all that ended with an error FAILED; the exit
    code tells a search that was stopped from one that broke."""
    if status == "PENDING":
        return "waiting", _first_line(message)
    if status == "RUNNING":
        return "running", ""
    if status == "SUCCEEDED":
        return "finished", ""
    if status == "STOPPED":
        return "stopped", "its process was ended; go on with `tunesmith submit SPEC --resume`"
    if exit_code in _EXIT_CODES:
        state, reason = _EXIT_CODES[exit_code]
        return state, (_last_error(message) or reason) if exit_code in _SAY_WHY else reason
    if exit_code is not None and _was_killed(exit_code):
        return "failed", "its process was killed; go on with `tunesmith submit SPEC --resume`"
    if exit_code is not None:
        return "failed", f"it ended with exit code {exit_code}; the log says why"
    return "failed", _first_line(message)


def next_id(search: str, directory: str, taken: Iterable[str]) -> str:
    """The submission id of the next job of a search. Two who submit it at once get the same one, and Ray takes only
    the first of them."""
    place = hashlib.sha256(directory.encode()).hexdigest()[:6]
    stem = f"{_PREFIX}{search}-{place}-"
    numbers = [int(found[1]) for each in taken if (found := re.fullmatch(re.escape(stem) + r"(\d+)", each))]
    return f"{stem}{max(numbers, default=0) + 1}"


def check_submission(
    jobs: Sequence[SearchJob], *, search: str, directory: str, resumes: bool, address: str
) -> None:  # fmt: skip
    """Whether the search may be submitted to the cluster at `address` now.

    Raises:
        SpecError: it runs already, or was run before and is not to be resumed.
    """
    own = [job for job in jobs if job.search == search and _same_place(job.directory, directory)]
    if active := next((job for job in own if job.is_active), None):
        raise SpecError(
            f"`{search}` is {active.state} already as job {active.submission_id}. Follow it: "
            f"`tunesmith jobs logs {search} --follow --address {address}`; stop it: `tunesmith jobs stop {search} "
            f"--address {address}`."
        )
    if not resumes and own and (last := _latest(own)).state in ("finished", "stopped"):
        raise SpecError(
            f"`{search}` was submitted before, and has {last.state} (job {last.submission_id}). Go on with it: "
            "`--resume`; or give the new search another name: `--set name=...`."
        )


def find_job(jobs: Sequence[SearchJob], name: str) -> SearchJob:
    """The latest job of the search `name`, or the job of that id.

    Raises:
        SpecError: there is none, or several searches in different folders have this name.
    """
    if exact := next((job for job in jobs if job.submission_id == name), None):
        return exact
    named = [job for job in jobs if job.search == name]
    if not named:
        known = sorted({job.search for job in jobs})
        hint = f" Searches there: {', '.join(known[:10])}." if known else " No search was submitted there."
        raise SpecError(f"the cluster has no job of a search `{name}`.{did_you_mean(name, known)}{hint}")
    if len({job.directory for job in named}) > 1:
        shown = ", ".join(f"{job.submission_id} ({job.directory})" for job in sorted(named, key=_began))
        raise SpecError(f"several searches are named `{name}`; give the id of one: {shown}.")
    return _latest(named)


def _latest(jobs: Sequence[SearchJob]) -> SearchJob:
    return max(jobs, key=lambda job: (job.is_active, _began(job)))


def _began(job: SearchJob) -> float:
    return job.started_at or 0.0


def _same_place(one: str, other: str) -> bool:
    return PurePosixPath(one) == PurePosixPath(other)


def _seconds(milliseconds: int | None) -> float | None:
    return None if not milliseconds else milliseconds / 1000


def _was_killed(exit_code: int) -> bool:
    """By a signal: Python says it by a negative number, a shell by one above 128."""
    return exit_code < 0 or exit_code > 128


def _last_error(message: str) -> str:
    """What the search itself said in the end: Ray puts the last lines of its log behind its own words."""
    errors = [line for line in message.splitlines() if line.startswith(_ERROR)]
    return errors[-1].removeprefix(_ERROR) if errors else ""


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""

"""The jobs of a Ray cluster over HTTP: submit a search, list, follow and stop searches. Starts no Ray here.

Everything that is specific to the Jobs API is in this file; what a job means is in `job_records.py`.
"""

import asyncio
import contextlib
import json
import logging
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cluster.connect import quiet_ray, set_environment
from cluster.errors import ClusterError
from cluster.job_logs import own_lines
from cluster.job_records import SearchJob, helper_metadata, search_job
from cluster.ray_version import check_installed_ray
from cluster.tokens import Token, missing_token, wrong_token
from spaces.errors import SpecError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_CONNECT_SECONDS, _TIMEOUT_SECONDS = 5.0, 30.0
_AGENT_SECONDS = 60.0
_POLL_SECONDS = 0.5
_HELPER_SECONDS = 300.0
_NO_AGENT = "No available agent"
_CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
_MODULES = ("cluster.arrival", "search.cli.main")


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What the cluster is to run."""

    submission_id: str
    """Its name on the cluster."""
    metadata: Mapping[str, str]
    """What is stored with it."""
    working_dir: Path
    """The folder that travels."""
    modules: Sequence[Path]
    """Python packages that travel."""
    shelf: str
    """Where the folder is laid down on the cluster, seen by all nodes."""
    command: Sequence[str]
    """Arguments of `tunesmith`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all processes; shown to everyone who may list jobs."""
    secret_files: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the search's process, by the file on the cluster that holds their value."""
    python: str = "python"
    """The interpreter on the cluster."""

    def entrypoint(self) -> str:
        """The shell command that starts it."""
        order = {"shelf": self.shelf, "command": list(self.command), "secret_files": dict(self.secret_files)}
        return shlex.join([self.python, "-m", _MODULES[0], json.dumps(order)])


class Jobs:
    """The jobs of one cluster."""

    def __init__(self, client: "JobSubmissionClient", address: str) -> None:
        self._client = client
        self.address = address

    def searches(self) -> list[SearchJob]:
        """All searches that were submitted to the cluster, the first one first."""
        with _explained(self.address):
            found = [search_job(_plain(details)) for details in self._client.list_jobs()]
        return sorted((job for job in found if job is not None), key=lambda job: job.started_at or 0.0)

    def ids(self) -> list[str]:
        """The submission ids of all jobs."""
        with _explained(self.address):
            return [details.submission_id for details in self._client.list_jobs() if details.submission_id]

    def submit(self, order: Order) -> None:
        """Submit what is ordered.

        Raises:
            SpecError: a job of this id exists already.
            ClusterError: the cluster refuses it.
        """
        runtime_env: dict[str, Any] = {"working_dir": str(order.working_dir), "env_vars": dict(order.environment)}
        if order.modules:
            runtime_env["py_modules"] = [str(module) for module in order.modules]
        try:
            self._submit(
                entrypoint=order.entrypoint(),
                submission_id=order.submission_id,
                metadata=dict(order.metadata),
                runtime_env=runtime_env,
            )
        except ClusterError as error:
            if order.submission_id in self.ids():
                raise SpecError(
                    f"somebody has just submitted this search, as job {order.submission_id}: look at "
                    "`tunesmith jobs list`."
                ) from error
            raise

    def job(self, submission_id: str) -> SearchJob:
        """One search as it stands now."""
        with _explained(self.address):
            found = search_job(_plain(self._client.get_job_info(submission_id)))
        assert found is not None, "it was listed as a search"
        return found

    def logs(self, submission_id: str) -> str:
        """All that a job has written so far."""
        with _explained(self.address):
            return "".join(own_lines([str(self._client.get_job_logs(submission_id))]))

    def follow(self, submission_id: str) -> Iterator[str]:
        """What a job has written and writes, until it ends."""
        return own_lines(self._follow(submission_id))

    def _follow(self, submission_id: str) -> Iterator[str]:
        # A runner takes Ctrl-C to the task that waits, and closes what it leaves open.
        with _explained(self.address), asyncio.Runner() as runner:
            pieces = self._client.tail_job_logs(submission_id)

            async def next_piece() -> str | None:
                return await anext(pieces, None)

            while (piece := runner.run(next_piece())) is not None:
                yield piece

    def run_helper(
        self, name: str, arguments: Sequence[str], *, modules: Sequence[Path], python: str
    ) -> tuple[bool, str]:
        """Run one of our modules on the cluster's head for a moment. Gives whether it went well, and what it said."""
        helper = f"tunesmith-{name}-{time.time_ns() // 1_000_000}"
        self._submit(
            entrypoint=shlex.join([python, "-m", *arguments]),
            submission_id=helper,
            metadata={"job_name": f"tunesmith {name}"},
            runtime_env={"py_modules": [str(module) for module in modules]} if modules else {},
        )
        with _explained(self.address):
            deadline = time.monotonic() + _HELPER_SECONDS
            while not (status := self._client.get_job_status(helper)).is_terminal():
                if time.monotonic() > deadline:
                    raise ClusterError(f"the cluster at {self.address} did not carry out `{name}` in time.")
                time.sleep(_POLL_SECONDS)
            said = self._client.get_job_logs(helper)
            self._client.delete_job(helper)
        return str(status) == "SUCCEEDED", said

    def stop_at_once(self, job: SearchJob) -> None:
        """End the job's processes: asked first, killed after a few seconds. Trials go on from their last checkpoint."""
        with _explained(self.address):
            self._client.stop_job(job.submission_id)

    def stop_in_order(self, job: SearchJob, *, wait_seconds: float) -> tuple[bool, str]:
        """Have the search itself stop: trials are checkpointed, W&B runs finished, the record whole. Gives whether it
        ended in time, and what it said."""
        deadline = time.monotonic() + wait_seconds
        agreed, said = self.ask(job, "stop", job.directory, "--wait", f"{wait_seconds:g}", wait_seconds=wait_seconds)
        if not agreed:
            return not self.job(job.submission_id).is_active, said
        return self.wait_for_end(job, timeout_seconds=max(5.0, deadline - time.monotonic())), said

    def ask(self, job: SearchJob, *command: str, wait_seconds: float) -> tuple[bool, str]:
        """Have a `tunesmith` command run on the cluster, in a short job with all that the search's own has: only the
        nodes need to see the search's folder. Gives whether it succeeded in time, and its last line."""
        helper = f"{job.submission_id}-{command[0]}-{time.time_ns() // 1_000_000}"
        with _explained(self.address):
            details = self._client.get_job_info(job.submission_id)
            python = shlex.split(details.entrypoint)[0]
            self._submit(
                entrypoint=shlex.join([python, "-m", _MODULES[1], *command]),
                submission_id=helper,
                metadata=helper_metadata(job),
                runtime_env=details.runtime_env or {},
            )
            deadline = time.monotonic() + wait_seconds
            while not (status := self._client.get_job_status(helper)).is_terminal() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            said = _last_line(self._client.get_job_logs(helper))
            if status.is_terminal():
                self._client.delete_job(helper)
        return str(status) == "SUCCEEDED", said

    def _submit(self, **job: Any) -> None:
        """Submit to the Jobs API. A head that has just started answers before it takes jobs: that is waited for."""
        deadline = time.monotonic() + _AGENT_SECONDS
        while True:
            try:
                with _explained(self.address):
                    self._client.submit_job(**job)
                return
            except ClusterError as error:
                if _NO_AGENT not in str(error.__cause__) or time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_SECONDS)

    def wait_for_end(self, job: SearchJob, *, timeout_seconds: float) -> bool:
        """Wait until the job has ended. Gives whether that came in time."""
        deadline = time.monotonic() + timeout_seconds
        while self.job(job.submission_id).is_active:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True


def open_jobs(address: str, token: Token | None) -> Jobs:
    """The jobs of the cluster whose dashboard answers at `address`.

    Raises:
        SpecError: `address` is no web address.
        ClusterError: nothing answers there, it asks for another token, or it runs another Ray.
    """
    address = checked_address(address)
    check_installed_ray()
    check_cluster(address, token)
    if token is None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else Ray looks for a token, and warns
    set_environment()
    from ray.job_submission import JobSubmissionClient

    quiet_ray()
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    with _explained(address), _without("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        client = JobSubmissionClient(address, headers=token.headers if token else {})
    return Jobs(client, address)


def checked_address(address: str) -> str:
    """`address` without what may be left out.

    Raises:
        SpecError: it is no web address.
    """
    parts = urlsplit(address)
    if parts.scheme == "ray":
        raise SpecError(
            f"searches are submitted to the cluster's dashboard, but got `{address}`: give "
            f"`http://{parts.hostname or 'HOST'}:8265`."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SpecError(f"the address is that of the cluster's dashboard, such as `http://HOST:8265`, not `{address}`.")
    if parts.username or parts.password:
        raise SpecError("an address holds no password: give a token (`--token-file`).")
    return address.rstrip("/")


def check_cluster(address: str, token: Token | None) -> None:
    """Ask the cluster who it is, before anything slow is done.

    Raises:
        ClusterError: nothing answers there, it asks for another token, or it runs another Ray.
    """
    import requests

    try:
        answer = requests.get(
            f"{address}/api/version",
            headers=token.headers if token else {},
            timeout=(_CONNECT_SECONDS, _TIMEOUT_SECONDS),
        )
    except requests.exceptions.SSLError as error:
        if "WRONG_VERSION_NUMBER" in str(error):
            plain = f"http://{urlsplit(address).netloc}"
            raise ClusterError(
                f"what answers at {address} speaks no https: without encryption it is {plain}."
            ) from None
        raise ClusterError(f"the certificate of {address} is not accepted: {_reason(error)}.") from None
    except requests.exceptions.RequestException as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {_reason(error)}. Is its dashboard reachable from here? Tunnels: "
            "`ssh -L 8265:localhost:8265 HEAD`, `kubectl port-forward service/CLUSTER-head-svc 8265`."
        ) from None
    if answer.status_code == 401:
        raise missing_token(address)
    if answer.status_code == 403:
        raise missing_token(address) if token is None else wrong_token(address, token)
    try:
        theirs = str(answer.json()["ray_version"])
    except (ValueError, KeyError, TypeError):
        raise ClusterError(
            f"what answers at {address} is no Ray dashboard (status {answer.status_code} for /api/version)."
        ) from None
    check_ray_version(theirs, ours=version("ray"))


def check_ray_version(theirs: str, *, ours: str) -> None:
    """Whether a search that was made for our Ray runs on theirs.

    Raises:
        ClusterError: they differ in more than the last number.
    """
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        minor = ".".join(ours.split(".")[:2])
        raise ClusterError(
            f"the cluster runs Ray {theirs}, and tunesmith needs Ray {minor}.* there, as here ({ours}): start it from "
            f"an image with `ray=={ours}` (`tunesmith cluster init` writes a Dockerfile)."
        )


@contextlib.contextmanager
def _explained(address: str) -> Iterator[None]:
    """What the Jobs API raises, in our words."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(f"the cluster at {address} does not accept the token any more: {_reason(error)}") from error
    except (requests.exceptions.RequestException, ConnectionError) as error:
        raise ClusterError(f"the cluster at {address} does not answer any more: {_reason(error)}.") from error
    except ClusterError:
        raise
    except RuntimeError as error:
        words = _reason(error)
        if _NO_AGENT in words:
            words = "no node of it takes jobs now (its dashboard agent is not up: give it some seconds, or look there)"
        raise ClusterError(f"the cluster at {address} refuses: {words}.") from error


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    """Ray takes the address from the environment, also when it was handed another one."""
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


def _plain(details: Any) -> dict[str, Any]:
    return {
        name: getattr(details, name)
        for name in (
            "submission_id", "status", "metadata", "message", "start_time", "end_time", "driver_exit_code",
        )
    }  # fmt: skip


def _reason(error: Exception) -> str:
    text = str(error).strip()
    # requests wraps the reason of the operating system in several layers
    for known in ("Connection refused", "Name or service not known", "timed out", "No route to host"):
        if known in text:
            return known.lower()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""

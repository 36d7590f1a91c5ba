"""The HTTP API of a queue: hand in, look, stop, move up. Its description is at /openapi.json, for people at /docs.

Changes nothing itself but the queue's database; the keeper acts on it. Knows no ray.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from analysis.kept import brought_here
from analysis.leaderboard import leaderboard
from analysis.sources import read_records
from cluster.packaging import own_version
from cluster.queue_records import AlreadyQueuedError, QueuedSearch
from cluster.queue_store import QueueStore
from cluster.queueing import Quota
from cluster.visitors import Doorkeeper, Visitor
from search.intake import HandedIn, take_in
from search.queue_places import conducted_in
from search.status import read_status
from spaces.errors import SpecError
from spaces.store import is_store

MOST_BYTES = 80 * 1024**2
"""Of one request: 50 MB of files in base64, and something."""
_SPEC_FILE = "spec.yaml"
_LATE_SECONDS = 60.0


@dataclass(kw_only=True)
class Pulse:
    """When the keeper last looked at the queue."""

    beat: float | None = None
    """On the monotonic clock. None: it has not looked yet."""
    trouble: str = ""
    """What keeps it from looking now."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class SearchRequest(_Body):
    """A search that is handed in: the text of its spec, or a folder or URL that is resumed."""

    spec: str | None = None
    """The spec, in YAML. Its storage is a path that all nodes of the cluster see, or the URL of an object store."""
    spec_file: str = _SPEC_FILE
    """Name that the spec gets beside its files, or has among them."""
    files: dict[str, Base64Bytes] = Field(default_factory=dict)
    """Own code and small data: content in base64, by relative path."""
    directory: str | None = None
    """Instead of a spec: the folder of a search, as the nodes see it, or its URL, which is resumed."""
    overrides: list[str] = Field(default_factory=list)
    """`PATH=VALUE` for the spec."""
    resume: bool = False
    """Go on with the search of this name."""
    action: list[str] = Field(default_factory=list)
    """How it goes on: `["retry"]`, `["extend", "--trials", "60"]` or `["confirm"]`. Default: as it was."""
    environment: list[str] = Field(default_factory=list)
    """`NAME=VALUE` for all its processes, not secret."""
    secret_files: list[str] = Field(default_factory=list)
    """`NAME=PATH`: the value stands in this file on the cluster's head."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Higher ones come first."""
    user: Annotated[str, Field(min_length=1, max_length=100)] = "api"
    """Whose it is, where the token does not say it."""
    check: bool = True
    """Whether the spec is checked as `tunesmith check` does."""


class BumpRequest(_Body):
    """A new place in the queue."""

    priority: Annotated[int, Field(ge=-1000, le=1000)] | None = None
    """The priority. Default: one more than the highest of all that wait or run."""


class QuotaRequest(_Body):
    """What all searches of a user may take together."""

    cpus: Annotated[float, Field(ge=0)] | None = None
    """Logical CPUs. Default: no limit."""
    gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs. Default: no limit."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Relative share, where several could use more."""


def make_app(store: QueueStore, doorkeeper: Doorkeeper, *, pulse: Pulse, most_bytes: int = MOST_BYTES) -> FastAPI:
    """The API over a queue."""
    app = FastAPI(title="tunesmith", version=own_version(), description="A queue of searches over one cluster.")
    _limit_bodies(app, most_bytes)
    app.exception_handler(SpecError)(_refuse)
    bearer = HTTPBearer(auto_error=False, description="The cluster's token, or your own.")

    def knock(found: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)], request: Request) -> Visitor:
        try:
            visitor = doorkeeper.visitor(request.headers.get("authorization"))
        except LookupError:
            raise HTTPException(
                401,
                "this service asks for a token: send `Authorization: Bearer TOKEN`.",
                {"WWW-Authenticate": "Bearer"},
            ) from None
        if visitor is None:
            raise HTTPException(403, "this service does not know the token that was sent.")
        return visitor

    known = Annotated[Visitor, Depends(knock)]

    def find(name: str) -> QueuedSearch:
        try:
            return store.find(name)
        except SpecError as error:
            raise HTTPException(404, str(error)) from None

    def find_own(name: str, visitor: Visitor) -> QueuedSearch:
        found = find(name)
        if not visitor.may_change_what_is_of(found.search.user):
            raise HTTPException(403, f"`{name}` is of {found.search.user}, and your token is of {visitor.user}.")
        return found

    @app.get("/health", tags=["service"])
    def health(response: Response) -> dict[str, Any]:
        """Whether the keeper looks after the queue. Needs no token."""
        behind = None if pulse.beat is None else time.monotonic() - pulse.beat
        status = "starting" if behind is None else "late" if behind > _LATE_SECONDS else "ok"
        if status != "ok":
            response.status_code = 503
        return {
            "status": status,
            "seconds_behind": None if behind is None else round(behind, 1),
            "trouble": pulse.trouble,
            "process": os.getpid(),
        }

    @app.post("/searches", status_code=201, tags=["searches"])
    def hand_in(body: SearchRequest, visitor: known) -> dict[str, Any]:
        """Hand in a search. 422 with key paths where its spec is wrong."""
        new, package = take_in(_handed_in(body, visitor), checks=body.check)
        return store.add(new, package).to_json()

    @app.get("/searches", tags=["searches"])
    def list_searches(visitor: known, active: bool = False) -> list[dict[str, Any]]:
        """All searches by arrival, or those that wait or run."""
        return [each.to_json() for each in store.searches(only_active=active)]

    @app.get("/searches/{name}", tags=["searches"])
    def show(name: str, visitor: known) -> dict[str, Any]:
        """One search, by its name or number, with how far it is."""
        found = find(name)
        return found.to_json() | {"progress": _progress(found)}

    @app.get("/searches/{name}/events", tags=["searches"])
    def events(name: str, visitor: known) -> list[dict[str, Any]]:
        """What happened to it."""
        return [
            {"at": each.at, "event": each.event, "lanes": each.lanes, "detail": each.detail}
            for each in store.events(find(name).number)
        ]

    @app.get("/searches/{name}/leaderboard", tags=["searches"])
    def ranking(name: str, visitor: known, top: Annotated[int | None, Field(ge=1)] = None) -> list[dict[str, Any]]:
        """Its trials, best first, as `leaderboard --json` gives them; also while it runs."""
        if (place := _readable(find(name))) is None:
            raise HTTPException(409, f"`{name}` has not begun.")
        return [entry.to_json() for entry in leaderboard(read_records(place))[:top]]

    @app.post("/searches/{name}/stop", tags=["searches"])
    def stop(name: str, visitor: known) -> dict[str, Any]:
        """Stop one that runs, in order: trials keep their checkpoints, it can be resumed."""
        found = find_own(name, visitor)
        if found.state not in ("STARTING", "RUNNING"):
            raise HTTPException(409, f"`{name}` does not run: it is {found.state}. DELETE takes it out of the queue.")
        store.cancel(found.number, by=visitor.speaks_as(found.search.user))
        return store.get(found.number).to_json()

    @app.delete("/searches/{name}", tags=["searches"])
    def cancel(name: str, visitor: known) -> dict[str, Any]:
        """Take one that waits out of the queue; stop one that runs."""
        found = find_own(name, visitor)
        if not found.is_active:
            raise HTTPException(409, f"`{name}` has {found.state.lower()} already.")
        store.cancel(found.number, by=visitor.speaks_as(found.search.user))
        return store.get(found.number).to_json()

    @app.post("/searches/{name}/bump", tags=["searches"])
    def bump(name: str, visitor: known, body: BumpRequest | None = None) -> dict[str, Any]:
        """Move it up, or to this priority."""
        found = find_own(name, visitor)
        if not found.is_active:
            raise HTTPException(409, f"`{name}` has {found.state.lower()} already.")
        others = [each.search.priority for each in store.searches(only_active=True) if each.number != found.number]
        highest = max(others, default=found.search.priority - 1) + 1
        wanted = body.priority if body is not None and body.priority is not None else highest
        store.set_priority(found.number, wanted, by=visitor.speaks_as(found.search.user))
        return store.get(found.number).to_json()

    @app.get("/quotas", tags=["quotas"])
    def quotas(visitor: known) -> dict[str, dict[str, float | None]]:
        """By user; `*` is everybody's."""
        return {user: _quota(quota) for user, quota in store.quotas().items()}

    @app.put("/quotas/{user}", tags=["quotas"])
    def set_quota(user: str, body: QuotaRequest, visitor: known) -> dict[str, float | None]:
        """Set the quota of a user, or of `*`. Needs the team's token."""
        _check_operator(visitor)
        quota = Quota(cpus=body.cpus, gpus=body.gpus, weight=body.weight)
        store.set_quota(user, quota)
        return _quota(quota)

    @app.delete("/quotas/{user}", status_code=204, tags=["quotas"])
    def remove_quota(user: str, visitor: known) -> None:
        """Remove a quota. Needs the team's token."""
        _check_operator(visitor)
        store.set_quota(user, None)

    return app


def _handed_in(body: SearchRequest, visitor: Visitor) -> HandedIn:
    files: dict[str, bytes] = dict(body.files)
    if body.spec is not None:
        files[body.spec_file] = body.spec.encode()
    if body.directory is None and body.spec_file not in files:
        raise SpecError("a search is handed in as the text of its `spec`, or as a `directory` that is resumed.")
    if body.directory is not None and not (Path(body.directory).is_absolute() or is_store(body.directory)):
        raise SpecError(f"`directory` is an absolute path on the cluster or a URL, not `{body.directory}`.")
    return HandedIn(
        user=visitor.speaks_as(body.user),
        place=body.directory or body.spec_file,
        files=files,
        overrides=body.overrides,
        priority=body.priority,
        resumes=body.resume or body.directory is not None,
        action=tuple(body.action),
        environment=body.environment,
        secret_files=body.secret_files,
    )


def _progress(found: QueuedSearch) -> dict[str, Any] | None:
    """As `status --json`; None while there is nothing yet."""
    if found.attempt == 0:
        return None
    with contextlib.suppress(SpecError):
        return None if (place := _readable(found)) is None else read_status(place).to_json()
    return None


def _readable(found: QueuedSearch) -> Path | None:
    """Where its record is read; None while there is none.

    Raises:
        SpecError: it is in an object store that does not answer, or does not have it.
    """
    if is_store(found.search.directory) and not found.is_active:
        return brought_here(found.search.directory)  # others may have gone on with it elsewhere
    # Of one that waits or runs only what is here: its own process may be about to fetch it, and one at a time does.
    files = conducted_in(found.search)
    return files.path if files.spec.is_file() else None


def _quota(quota: Quota) -> dict[str, float | None]:
    return {"cpus": quota.cpus, "gpus": quota.gpus, "weight": quota.weight}


def _check_operator(visitor: Visitor) -> None:
    if visitor.user is not None:
        raise HTTPException(403, f"quotas are set with the team's token, and yours is of {visitor.user}.")


async def _refuse(request: Request, error: Exception) -> Response:
    """What is wrong with a spec, in the form that FastAPI gives to what is wrong with a request."""
    assert isinstance(error, SpecError), "registered for this one only"
    single: tuple[SpecError, ...] = getattr(error, "errors", (error,))
    detail = [{"path": each.path, "message": each.message, "line": each.line} for each in single]
    return JSONResponse({"detail": detail}, status_code=409 if isinstance(error, AlreadyQueuedError) else 422)


def _limit_bodies(app: FastAPI, most_bytes: int) -> None:
    """Refuse what is too large before it is in memory, also when it does not say its size."""
    too_large = JSONResponse({"detail": f"a request has at most {most_bytes} bytes."}, status_code=413)

    @app.middleware("http")
    async def limit(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most_bytes:
            return too_large
        if "transfer-encoding" in request.headers and "content-length" not in request.headers:
            return JSONResponse({"detail": "say the size of the request (Content-Length)."}, status_code=411)
        with contextlib.suppress(asyncio.CancelledError):
            return await call_next(request)
        return Response(status_code=499)

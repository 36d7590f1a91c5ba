"""The queue in a database: SQLite by default, PostgreSQL by its URL. Every change is one transaction, from the state
that it expects: it can be repeated after a kill, and is done once. Knows no ray and decides nothing.
"""

import contextlib
import hashlib
import io
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from cluster.queue_records import (
    AlreadyQueuedError,
    NewSearch,
    NoLongerKeeperError,
    Package,
    QueuedSearch,
    QueueEvent,
    QueueState,
)
from cluster.queue_tables import EVENTS, IS_ACTIVE, KEEPER, PACKAGES, QUOTAS, SEARCHES, open_database
from cluster.queueing import Amount, Quota
from spaces.errors import SpecError, did_you_mean


class QueueStore:
    """The queue of one team."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # --- what anybody may ask for ---------------------------------------------------------------------------

    def add(self, new: NewSearch, package: Package) -> QueuedSearch:
        """Hand in a search, with its files.

        Raises:
            AlreadyQueuedError: one in the same folder waits or runs already.
        """
        fingerprint = self._keep(_packed(package))
        row = {
            "name": new.name, "user": new.user, "priority": new.priority, "directory": new.directory,
            "submission": asdict(new), "package": fingerprint, "state": "QUEUED", "submitted_at": time.time(),
        }  # fmt: skip
        try:
            with self._engine.begin() as db:
                number = int(db.execute(SEARCHES.insert().values(**row).returning(SEARCHES.c.number)).scalar_one())
                _note(db, number, "QUEUED", detail=new.user)
        except sa.exc.IntegrityError:
            with self._engine.connect() as db:
                other = db.execute(SEARCHES.select().where(SEARCHES.c.directory == new.directory, IS_ACTIVE)).first()
            state = f" ({other.state.lower()}, of {other.user})" if other is not None else ""
            raise AlreadyQueuedError(
                f"a search in `{new.directory}` is in the queue already{state}: look at `tunesmith queue list`, or "
                "give this one another name (`--set name=...`).",
                path="name",
            ) from None
        return self.get(number)

    def _keep(self, content: bytes) -> str:
        """Keep files until a search names them. Gives their fingerprint."""
        fingerprint = hashlib.sha256(content).hexdigest()
        # Where they are kept already, by somebody else at this very moment perhaps, they are the same.
        with contextlib.suppress(sa.exc.IntegrityError), self._engine.begin() as db:
            db.execute(PACKAGES.insert().values(fingerprint=fingerprint, content=content))
        return fingerprint

    def get(self, number: int) -> QueuedSearch:
        """One search."""
        with self._engine.connect() as db:
            return _search(db.execute(SEARCHES.select().where(SEARCHES.c.number == number)).one())

    def find(self, name: str) -> QueuedSearch:
        """The search of this name or number: one that waits or runs, else the last one.

        Raises:
            SpecError: there is none, or several that wait or run.
        """
        named = [each for each in self.searches() if name in (each.search.name, str(each.number))]
        active = [each for each in named if each.is_active]
        if len(active) > 1:
            shown = ", ".join(f"{each.number} ({each.search.directory})" for each in active)
            raise SpecError(f"several searches are named `{name}`; give the number of one: {shown}.")
        if not named:
            known = sorted({each.search.name for each in self.searches()})
            raise SpecError(f"the queue has no search `{name}`.{did_you_mean(name, known)}")
        return active[0] if active else named[-1]

    def searches(self, *, only_active: bool = False) -> list[QueuedSearch]:
        """All searches by arrival."""
        query = SEARCHES.select().order_by(SEARCHES.c.number)
        with self._engine.connect() as db:
            return [_search(row) for row in db.execute(query.where(IS_ACTIVE) if only_active else query)]

    def set_priority(self, number: int, priority: int, *, by: str) -> None:
        """Give a search another priority."""
        with self._engine.begin() as db:
            db.execute(SEARCHES.update().where(SEARCHES.c.number == number).values(priority=priority))
            _note(db, number, "PRIORITY", detail=f"{priority} by {by}")

    def cancel(self, number: int, *, by: str) -> QueueState:
        """Take a search out of the queue; one that runs is to be stopped by the keeper. Gives its state now."""
        waits = (SEARCHES.c.number == number) & (SEARCHES.c.state == "QUEUED")
        runs = (SEARCHES.c.number == number) & IS_ACTIVE
        with self._engine.begin() as db:
            values = {"state": "CANCELLED", "ended_at": time.time(), "message": f"cancelled by {by}"}
            if db.execute(SEARCHES.update().where(waits).values(**values)).rowcount:
                _note(db, number, "CANCELLED", detail=by)
            elif db.execute(SEARCHES.update().where(runs).values(stop_wanted_by=by)).rowcount:
                _note(db, number, "STOP", detail=by)
        return self.get(number).state

    def quotas(self) -> dict[str, Quota]:
        """By user; `*` is everybody's."""
        with self._engine.connect() as db:
            rows = db.execute(QUOTAS.select().order_by(QUOTAS.c.user)).all()
        return {row.user: Quota(cpus=row.cpus, gpus=row.gpus, weight=row.weight) for row in rows}

    def set_quota(self, user: str, quota: Quota | None) -> None:
        """Set the quota of a user, or remove it."""
        with self._engine.begin() as db:
            db.execute(QUOTAS.delete().where(QUOTAS.c.user == user))
            if quota is not None:
                db.execute(QUOTAS.insert().values(user=user, **asdict(quota)))

    def events(self, number: int | None = None) -> list[QueueEvent]:
        """What happened, in order."""
        query = EVENTS.select().order_by(EVENTS.c.id)
        with self._engine.connect() as db:
            rows = db.execute(query if number is None else query.where(EVENTS.c.number == number)).all()
        return [QueueEvent(number=r.number, at=r.at, event=r.event, lanes=r.lanes, detail=r.detail) for r in rows]

    def package(self, fingerprint: str) -> Package:
        """The files of a search."""
        with self._engine.connect() as db:
            query = sa.select(PACKAGES.c.content).where(PACKAGES.c.fingerprint == fingerprint)
            content: bytes = db.execute(query).scalar_one()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return Package(files={name: archive.read(name) for name in archive.namelist()})

    # --- what the keeper does --------------------------------------------------------------------------------

    def begin_term(self) -> "Term":
        """Become the keeper. The one before may change nothing any more."""
        with self._engine.begin() as db:
            if not db.execute(KEEPER.update().values(term=KEEPER.c.term + 1)).rowcount:
                db.execute(KEEPER.insert().values(id=1, term=1))
            number: int = db.execute(sa.select(KEEPER.c.term)).scalar_one()
        return Term(self._engine, number)


class Term:
    """The time in which one keeper changes the queue. Each change says whether it was made: not when the search has
    left the state that it is made from."""

    def __init__(self, engine: sa.Engine, number: int) -> None:
        self._engine = engine
        self.number = number

    def start(self, each: QueuedSearch, *, lanes: int, submission_id: str) -> bool:
        """It is being started as this job. Said before the job is submitted: a job that nobody knows cannot be."""
        values = {"lanes": lanes, "submission_id": submission_id, "attempt": each.attempt + 1, "message": ""}
        return self._change(each, "QUEUED", "STARTING", values, detail=submission_id)

    def runs(self, each: QueuedSearch) -> bool:
        """Its job was taken."""
        first = each.started_at or time.time()
        return self._change(each, "STARTING", "RUNNING", {"started_at": first}, detail=each.submission_id)

    def scaled(self, each: QueuedSearch, lanes: int) -> bool:
        """It was told another number of lanes."""
        return self._change(each, "RUNNING", "RUNNING", {"lanes": lanes, "message": ""}, event="LANES")

    def explain(self, each: QueuedSearch, message: str) -> None:
        """Say why it waits, or what it does; noted only when it is news."""
        if each.message != message:
            self._change(each, each.state, each.state, {"message": message}, event="")

    def end(self, each: QueuedSearch, state: QueueState, message: str) -> bool:
        """It has ended."""
        return self._change(
            each, each.state, state, {"ended_at": time.time(), "message": message, "lanes": 0}, detail=message
        )

    def put_back(self, each: QueuedSearch, message: str) -> bool:
        """Its job was lost: it waits again, at its old place, and will go on."""
        return self._change(each, each.state, "QUEUED", {"lanes": 0, "message": message}, detail=message)

    def _change(
        self, each: QueuedSearch, before: QueueState, after: QueueState, values: Mapping[str, Any], *,
        detail: str = "", event: str | None = None,
    ) -> bool:  # fmt: skip
        expected = (
            (SEARCHES.c.number == each.number) & (SEARCHES.c.state == before) & (SEARCHES.c.attempt == each.attempt)
        )
        with self._engine.begin() as db:
            self._check(db)
            is_made = db.execute(SEARCHES.update().where(expected).values(state=after, **values)).rowcount == 1
            if is_made and event != "":
                _note(db, each.number, event or after, lanes=values.get("lanes", each.lanes), detail=detail)
        return is_made

    def _check(self, db: sa.Connection) -> None:
        now = db.execute(sa.select(KEEPER.c.term).with_for_update(read=True)).scalar_one()
        if now != self.number:
            raise NoLongerKeeperError(f"keeper {self.number} was replaced by keeper {now}")


def open_store(place: str) -> QueueStore:
    """The queue in a SQLite file, or in a database by its URL; it is empty where there was none. Raises SpecError."""
    return QueueStore(open_database(place))


def _note(db: sa.Connection, number: int, event: str, *, lanes: int = 0, detail: str = "") -> None:
    db.execute(EVENTS.insert().values(number=number, at=time.time(), event=event, lanes=lanes, detail=detail))


def _search(row: Any) -> QueuedSearch:
    facts = dict(row.submission)
    handed_in = NewSearch(**{**facts, "lane": Amount(**facts["lane"]), "command": tuple(facts["command"])})
    return QueuedSearch(
        number=row.number,
        search=replace(handed_in, priority=row.priority),
        package=row.package,
        state=row.state,
        lanes=row.lanes,
        attempt=row.attempt,
        submission_id=row.submission_id,
        stop_wanted_by=row.stop_wanted_by,
        message=row.message,
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _packed(package: Package) -> bytes:
    """As bytes; the same files give the same ones."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(package.files):
            archive.writestr(zipfile.ZipInfo(name), package.files[name])
    return buffer.getvalue()

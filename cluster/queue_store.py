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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from cluster.queue_records import (
    ACTIVE,
    NewSearch,
    NoLongerKeeperError,
    Package,
    QueuedSearch,
    QueueEvent,
    QueueState,
)
from cluster.queueing import Amount, Quota
from spaces.errors import SpecError, did_you_mean

_BUSY_SECONDS = 30.0
_POSTGRES = "postgresql"
_schema = sa.MetaData()
_packages = sa.Table(
    "queue_packages", _schema,
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)  # fmt: skip
_searches = sa.Table(
    "queue_searches", _schema,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("directory", sa.Text, nullable=False),
    sa.Column("submission", sa.JSON, nullable=False),
    sa.Column("package", sa.ForeignKey(_packages.c.fingerprint), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("lanes", sa.Integer, nullable=False, default=0),
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    sa.Column("submission_id", sa.String(300), nullable=False, default=""),
    sa.Column("stop_wanted_by", sa.String(200), nullable=False, default=""),
    sa.Column("message", sa.Text, nullable=False, default=""),
    sa.Column("submitted_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sqlite_autoincrement=True,
)  # fmt: skip
_is_active = _searches.c.state.in_(ACTIVE)
# The database itself refuses a second search in a folder that one still has.
sa.Index(
    "queue_active_folder", _searches.c.directory, unique=True, sqlite_where=_is_active, postgresql_where=_is_active
)
_events = sa.Table(
    "queue_events", _schema,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("number", sa.ForeignKey(_searches.c.number), nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("event", sa.String(20), nullable=False),
    sa.Column("lanes", sa.Integer, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)  # fmt: skip
_quotas = sa.Table(
    "queue_quotas", _schema,
    sa.Column("user", sa.String(200), primary_key=True),
    sa.Column("cpus", sa.Float),
    sa.Column("gpus", sa.Float),
    sa.Column("weight", sa.Float, nullable=False),
)  # fmt: skip
_keeper = sa.Table(
    "queue_keeper", _schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("term", sa.Integer, nullable=False),
)  # fmt: skip


class QueueStore:
    """The queue of one team."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # --- what anybody may ask for ---------------------------------------------------------------------------

    def add(self, new: NewSearch, package: Package) -> QueuedSearch:
        """Hand in a search, with its files.

        Raises:
            SpecError: one in the same folder waits or runs already.
        """
        fingerprint = self._keep(_packed(package))
        row = {
            "name": new.name, "user": new.user, "priority": new.priority, "directory": new.directory,
            "submission": asdict(new), "package": fingerprint, "state": "QUEUED", "submitted_at": time.time(),
        }  # fmt: skip
        try:
            with self._engine.begin() as db:
                number = int(db.execute(_searches.insert().values(**row).returning(_searches.c.number)).scalar_one())
                _note(db, number, "QUEUED", detail=new.user)
        except sa.exc.IntegrityError:
            with self._engine.connect() as db:
                other = db.execute(_searches.select().where(_searches.c.directory == new.directory, _is_active)).first()
            state = f" ({other.state.lower()}, of {other.user})" if other is not None else ""
            raise SpecError(
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
            db.execute(_packages.insert().values(fingerprint=fingerprint, content=content))
        return fingerprint

    def get(self, number: int) -> QueuedSearch:
        """One search."""
        with self._engine.connect() as db:
            return _search(db.execute(_searches.select().where(_searches.c.number == number)).one())

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
        query = _searches.select().order_by(_searches.c.number)
        with self._engine.connect() as db:
            return [_search(row) for row in db.execute(query.where(_is_active) if only_active else query)]

    def set_priority(self, number: int, priority: int, *, by: str) -> None:
        """Give a search another priority."""
        with self._engine.begin() as db:
            db.execute(_searches.update().where(_searches.c.number == number).values(priority=priority))
            _note(db, number, "PRIORITY", detail=f"{priority} by {by}")

    def cancel(self, number: int, *, by: str) -> QueueState:
        """Take a search out of the queue; one that runs is to be stopped by the keeper. Gives its state now."""
        waits = (_searches.c.number == number) & (_searches.c.state == "QUEUED")
        runs = (_searches.c.number == number) & _is_active
        with self._engine.begin() as db:
            values = {"state": "CANCELLED", "ended_at": time.time(), "message": f"cancelled by {by}"}
            if db.execute(_searches.update().where(waits).values(**values)).rowcount:
                _note(db, number, "CANCELLED", detail=by)
            elif db.execute(_searches.update().where(runs).values(stop_wanted_by=by)).rowcount:
                _note(db, number, "STOP", detail=by)
        return self.get(number).state

    def quotas(self) -> dict[str, Quota]:
        """By user; `*` is everybody's."""
        with self._engine.connect() as db:
            rows = db.execute(_quotas.select().order_by(_quotas.c.user)).all()
        return {row.user: Quota(cpus=row.cpus, gpus=row.gpus, weight=row.weight) for row in rows}

    def set_quota(self, user: str, quota: Quota | None) -> None:
        """Set the quota of a user, or remove it."""
        with self._engine.begin() as db:
            db.execute(_quotas.delete().where(_quotas.c.user == user))
            if quota is not None:
                db.execute(_quotas.insert().values(user=user, **asdict(quota)))

    def events(self, number: int | None = None) -> list[QueueEvent]:
        """What happened, in order."""
        query = _events.select().order_by(_events.c.id)
        with self._engine.connect() as db:
            rows = db.execute(query if number is None else query.where(_events.c.number == number)).all()
        return [QueueEvent(number=r.number, at=r.at, event=r.event, lanes=r.lanes, detail=r.detail) for r in rows]

    def package(self, fingerprint: str) -> Package:
        """The files of a search."""
        with self._engine.connect() as db:
            query = sa.select(_packages.c.content).where(_packages.c.fingerprint == fingerprint)
            content: bytes = db.execute(query).scalar_one()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return Package(files={name: archive.read(name) for name in archive.namelist()})

    # --- what the keeper does --------------------------------------------------------------------------------

    def begin_term(self) -> "Term":
        """Become the keeper. The one before may change nothing any more."""
        with self._engine.begin() as db:
            if not db.execute(_keeper.update().values(term=_keeper.c.term + 1)).rowcount:
                db.execute(_keeper.insert().values(id=1, term=1))
            number: int = db.execute(sa.select(_keeper.c.term)).scalar_one()
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
        return self._change(each, "RUNNING", "RUNNING", {"lanes": lanes}, event="LANES")

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
            (_searches.c.number == each.number) & (_searches.c.state == before) & (_searches.c.attempt == each.attempt)
        )
        with self._engine.begin() as db:
            self._check(db)
            is_made = db.execute(_searches.update().where(expected).values(state=after, **values)).rowcount == 1
            if is_made and event != "":
                _note(db, each.number, event or after, lanes=values.get("lanes", each.lanes), detail=detail)
        return is_made

    def _check(self, db: sa.Connection) -> None:
        now = db.execute(sa.select(_keeper.c.term).with_for_update(read=True)).scalar_one()
        if now != self.number:
            raise NoLongerKeeperError(f"keeper {self.number} was replaced by keeper {now}")


def open_store(place: str) -> QueueStore:
    """The queue in a SQLite file or a database by its URL; tables are made where there are none.

    Raises:
        SpecError: it cannot be opened, or the URL holds a password.
    """
    url = _url(place)
    is_sqlite = url.startswith("sqlite")
    try:
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS} if is_sqlite else {}, pool_pre_ping=True)
    except ImportError:
        raise SpecError("a queue in PostgreSQL needs psycopg: install `tunesmith[postgres]`.") from None
    if is_sqlite:
        _take_turns(engine)
    try:
        _schema.create_all(engine)
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise SpecError(f"cannot open the queue's database at `{place}`: {reason}.") from None
    return QueueStore(engine)


def check_place(place: str) -> None:
    """Whether a queue could be there, as far as its name tells.

    Raises:
        SpecError: it is a relative path, another kind of database, or its URL holds a password.
    """
    if "://" not in place:
        if not Path(place).is_absolute():
            raise SpecError(f"the queue's database is an absolute path on the head, or a URL, but got `{place}`.")
        return
    parts = urlsplit(place)
    if parts.scheme != _POSTGRES:
        raise SpecError(
            f"a queue is kept in a SQLite file (`/shared/queue.db`) or in PostgreSQL (`{_POSTGRES}://USER@HOST/NAME`), "
            f"but got `{parts.scheme}://`."
        )
    if parts.password:
        raise SpecError(
            "the URL of the queue's database is shown to everyone who may list jobs: leave the password out, and put "
            "it into ~/.pgpass on the head."
        )


def _url(place: str) -> str:
    check_place(place)
    if "://" in place:
        return place.replace(_POSTGRES, f"{_POSTGRES}+psycopg", 1)
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{place}"


def _take_turns(engine: sa.Engine) -> None:
    """SQLite otherwise lets two begin to read, and then refuses the second that wants to write."""

    @sa.event.listens_for(engine, "connect")
    def leave_transactions_to_us(connection: Any, record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def begin_as_a_writer(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _note(db: sa.Connection, number: int, event: str, *, lanes: int = 0, detail: str = "") -> None:
    db.execute(_events.insert().values(number=number, at=time.time(), event=event, lanes=lanes, detail=detail))


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

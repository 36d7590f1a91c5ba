"""The tables of a queue and the database they are in: SQLite by default, PostgreSQL by its URL. Knows no searches."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from cluster.queue_records import ACTIVE
from spaces.errors import SpecError

_BUSY_SECONDS = 30.0
_POSTGRES = "postgresql"
SCHEMA = sa.MetaData()
PACKAGES = sa.Table(
    "queue_packages", SCHEMA,
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)  # fmt: skip
SEARCHES = sa.Table(
    "queue_searches", SCHEMA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("directory", sa.Text, nullable=False),
    sa.Column("submission", sa.JSON, nullable=False),
    sa.Column("package", sa.ForeignKey(PACKAGES.c.fingerprint), nullable=False),
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
IS_ACTIVE = SEARCHES.c.state.in_(ACTIVE)
# The database itself refuses a second search in a folder that one still has.
sa.Index("queue_active_folder", SEARCHES.c.directory, unique=True, sqlite_where=IS_ACTIVE, postgresql_where=IS_ACTIVE)
EVENTS = sa.Table(
    "queue_events", SCHEMA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("number", sa.ForeignKey(SEARCHES.c.number), nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("event", sa.String(20), nullable=False),
    sa.Column("lanes", sa.Integer, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)  # fmt: skip
QUOTAS = sa.Table(
    "queue_quotas", SCHEMA,
    sa.Column("user", sa.String(200), primary_key=True),
    sa.Column("cpus", sa.Float),
    sa.Column("gpus", sa.Float),
    sa.Column("weight", sa.Float, nullable=False),
)  # fmt: skip
KEEPER = sa.Table(
    "queue_keeper", SCHEMA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("term", sa.Integer, nullable=False),
)  # fmt: skip


def open_database(place: str) -> sa.Engine:
    """The database in a SQLite file, or by its URL; tables are made where there are none.

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
        SCHEMA.create_all(engine)
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise SpecError(f"cannot open the queue's database at `{place}`: {reason}.") from None
    return engine


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

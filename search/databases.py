"""Connecting to a database at the other end of a network, so that an outage is noticed. Knows no tables."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analysis.study_place import engine_url
from spaces.errors import SpecError

if TYPE_CHECKING:
    from sqlalchemy import Engine

CONNECTION: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "tunesmith",
    # A peer that vanished is noticed within about half a minute, not after the hours that systems wait by default.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def reach(url: str) -> "Engine":
    """The database at `url`, found to answer.

    Raises:
        SpecError: at `storage.database`, it does not.
    """
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(engine_url(url), connect_args=CONNECTION)
        engine.connect().close()
    except SpecError as error:
        raise error.at("storage.database") from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise SpecError(f"cannot reach {url}: {cause_of(error)}.", path="storage.database") from None
    return engine


@contextlib.contextmanager
def usable(url: str) -> Iterator[None]:
    """For what is done before anything starts: what the database refuses is the user's to change.

    Raises:
        SpecError: at `storage.database`, with what it says.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        raise SpecError(
            f"cannot use {url}: {cause_of(cause)}. It needs a user who may make tables there, at least for the first "
            "search.",
            path="storage.database",
        ) from None


def is_outage(error: BaseException) -> bool:
    """Whether the connection is to blame, and not what was asked."""
    from sqlalchemy.exc import DBAPIError, OperationalError

    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def cause_of(error: BaseException) -> str:
    """The first line of what the database or the network said."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")

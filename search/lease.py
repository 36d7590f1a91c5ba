"""One driver a search, also when drivers run on different machines: a lease in the database that holds the study.

The driver renews it; when it no longer does, another may take the search over after the lease has run out, by the
database's clock. On one machine nobody waits: whoever holds the lock on the search's folder knows that an earlier
driver there is dead. Knows no study and none of Optuna's tables.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.records import SearchFiles
from analysis.study_place import study_place
from search.databases import reach
from spaces.errors import OutOfReach, SpecError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = logging.getLogger(__name__)

SECONDS = 30.0
"""How long a lease lasts unless it is renewed."""
_RENEWALS = 6
"""In that time."""
_TABLE = """
CREATE TABLE IF NOT EXISTS tunesmith_leases (
    study text PRIMARY KEY, holder text NOT NULL, place text NOT NULL, token text NOT NULL, expires timestamptz NOT NULL
)"""
_TAKE = """
INSERT INTO tunesmith_leases AS lease (study, holder, place, token, expires)
VALUES (:study, :holder, :place, :token, now() + make_interval(secs => :seconds))
ON CONFLICT (study) DO UPDATE SET
    holder = excluded.holder, place = excluded.place, token = excluded.token, expires = excluded.expires
WHERE lease.expires < now() OR lease.place = excluded.place
RETURNING token"""
_RENEW = """
UPDATE tunesmith_leases SET expires = now() + make_interval(secs => :seconds)
WHERE study = :study AND token = :token RETURNING token"""
_RELEASE = "DELETE FROM tunesmith_leases WHERE study = :study AND token = :token"
_LOOK = "SELECT holder, place, expires, expires > now() AS holds FROM tunesmith_leases WHERE study = :study"
_LOCK = "SELECT pg_advisory_xact_lock(8243201)"
"""Two programs that make one table at the same moment fail, also with IF NOT EXISTS."""


class LeaseLost(OutOfReach):
    """Another driver has taken the search over: this one must write nothing any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who conducts a search."""

    name: str
    """Machine and process."""
    place: str
    """Equal to that of another process when one lock on the search's folder keeps them apart."""
    expires: datetime
    """When its lease runs out, unless it is renewed before."""
    holds: bool
    """Whether it has not run out yet."""


class Lease:
    """The right to write to one study, renewed by a thread of its own until it is released."""

    def __init__(self, engine: "Engine", study: str, *, token: str, seconds: float) -> None:
        self._engine = engine
        self._study = study
        self._token = token
        self._seconds = seconds
        self._renewed = time.monotonic()
        self._is_lost = False
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._renew_in_time, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that the search is still ours; asks the database only when that is in doubt.

        Raises:
            LeaseLost: another driver has it.
        """
        if not self._is_lost and time.monotonic() - self._renewed > self._seconds:
            self._renew()  # we were cut off, or slept: nobody may have noticed
        if self._is_lost:
            raise LeaseLost("another process has taken this search over, because this one was out of reach for long.")

    def release(self) -> None:
        """Let go of it, so that the next driver need not wait."""
        self._ends.set()
        self._thread.join(self._seconds)
        try:
            with self._engine.begin() as connection:
                _execute(connection, _RELEASE, study=self._study, token=self._token)
        except Exception as error:  # it runs out by itself
            log.info("lease of %s not released: %s", self._study, error)

    def _renew_in_time(self) -> None:
        while not self._ends.wait(self._seconds / _RENEWALS):
            try:
                self._renew()
            except Exception as error:  # the database is away: the writer waits for it, and checks again
                log.info("lease of %s not renewed: %s", self._study, error)

    def _renew(self) -> None:
        asked = time.monotonic()
        with self._engine.begin() as connection:
            found = _execute(connection, _RENEW, study=self._study, token=self._token, seconds=self._seconds)
            self._is_lost = self._is_lost or found is None
        self._renewed = asked


def take_lease(
    engine: "Engine", study: str, *, folder: Path, say: Callable[[str], object], seconds: float = SECONDS
) -> Lease:
    """The lease of `study`. Waits until that of a driver that died elsewhere has run out.

    Args:
        engine: The database.
        study: Name of the study.
        folder: The search's folder, whose lock the caller holds.
        say: Told once when there is something to wait for.
        seconds: How long it lasts unless it is renewed.

    Raises:
        SpecError: a driver that lives has it.
    """
    with engine.begin() as connection:
        if not _has_table(connection):
            _execute(connection, _LOCK)
            _execute(connection, _TABLE)
    token, place = secrets.token_hex(8), _place(folder)
    holder = f"{socket.gethostname()}, process {os.getpid()}"
    seen: Holder | None = None
    while True:
        with engine.begin() as connection:
            asked = {"study": study, "holder": holder, "place": place, "token": token, "seconds": seconds}
            if _execute(connection, _TAKE, **asked) is not None:
                return Lease(engine, study, token=token, seconds=seconds)
        found = holder_of(engine, study)
        if found is not None and seen is not None and found.expires > seen.expires:
            raise SpecError(f"this search is being run by another process at this moment: {found.name}.")
        if found is not None and seen is None:
            seen = found
            say(f"{found.name} conducted this search; if it is gone, its lease runs out within {seconds:g} s")
        time.sleep(seconds / _RENEWALS / 4)


def holder_of(engine: "Engine", study: str) -> Holder | None:
    """Who conducts the search of `study`, or did when its driver died; None when nobody does."""
    from sqlalchemy import text

    with engine.connect() as connection:
        if not _has_table(connection):
            return None
        row = connection.execute(text(_LOOK), {"study": study}).one_or_none()
    return None if row is None else Holder(name=row.holder, place=row.place, expires=row.expires, holds=row.holds)


def is_leased(files: SearchFiles) -> bool:
    """Whether a driver on another machine conducts the search. Of one on this machine the folder's lock tells."""
    place = study_place(files)
    if place is None or place.study is None:
        return False
    engine = reach(place.url)
    try:
        holder = holder_of(engine, place.study)
    finally:
        engine.dispose()
    return holder is not None and holder.holds and holder.place != _place(files.path)


def _has_table(connection: "Connection") -> bool:
    from sqlalchemy import inspect

    return inspect(connection).has_table("tunesmith_leases")


def _execute(connection: "Connection", statement: str, **values: object) -> object:
    """The first value that `statement` gives."""
    from sqlalchemy import text

    result = connection.execute(text(statement), values)
    return result.scalar() if result.returns_rows else None


def _place(folder: Path) -> str:
    """The same for two processes exactly when one lock keeps them apart: of one running system, on one folder."""
    try:
        system = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    except OSError:
        return secrets.token_hex(8)  # not known here: then a lease has to run out
    status = folder.stat()
    return f"{system}:{status.st_dev}:{status.st_ino}"

"""Opens the Optuna storage of a search for writing: `study.db`, or a database that may be away for a while.

What a database at the other end of a network was told twice, because its first answer was lost, it has once. Knows no
trial of ours and no search but by its folder.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from analysis.records import SearchFiles
from analysis.study_place import StudyPlace, engine_url, study_place
from search.databases import CONNECTION, cause_of, is_outage, reach, usable
from search.lease import Lease, LeaseLost, take_lease
from spaces.errors import OutOfReach

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0
"""Seconds between attempts."""
_SCHEMA_LOCK = "SELECT pg_advisory_lock(8243202)"
_WRITES = (
    "set_study_user_attr", "set_study_system_attr", "set_trial_param", "set_trial_intermediate_value",
    "set_trial_user_attr", "set_trial_system_attr",
)  # fmt: skip
"""Doing these twice is as doing them once."""
_READS = (
    "get_study_id_from_name", "get_study_name_from_id", "get_study_directions", "get_study_user_attrs",
    "get_study_system_attrs", "get_all_studies", "get_trial", "get_all_trials", "_get_trials",
    "get_trial_id_from_study_id_trial_number",
)  # fmt: skip


class StorageLost(OutOfReach):
    """What a search is recorded in has been away for too long. Nothing is lost: the search can be resumed."""


class Patience:
    """How long a search waits for its database, and whom it tells."""

    def __init__(self, seconds: float = 300.0) -> None:
        self.seconds = seconds
        """The longest outage."""
        self.say: Callable[[str], object] = log.warning
        """Told when an outage begins and when it ends."""
        self.broken: OutOfReach | None = None
        """Why the search had to stop, when it had to. Tune wraps what it does not know."""

    def outlast(self, act: Callable[[], T], *, place: StudyPlace) -> T:
        """What `act` gives, tried again while the database is away.

        Raises:
            StorageLost: that took too long.
        """
        began, wait = 0.0, _FIRST_WAIT
        while True:
            try:
                result = act()
            except LeaseLost as error:
                self.broken = error
                raise
            except Exception as error:
                cause = _underlying(error)
                if not is_outage(cause):
                    raise
                now = time.monotonic()
                if not began:
                    began = now
                    self.say(f"the database {place.url} does not answer: waiting for up to {self.seconds:g} s")
                if now + wait - began > self.seconds:
                    self.broken = StorageLost(
                        f"the database {place.url} has not answered for {now - began:.0f} s ({cause_of(cause)}); "
                        "go on by `tunesmith resume` once it does"
                    )
                    raise self.broken from error
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
                continue
            if began:
                self.say(f"the database answers again, after {time.monotonic() - began:.0f} s")
            return result


class PatientStorage(RDBStorage):
    """A storage that waits when its database is away, and writes only while the search is ours."""

    def __init__(self, place: StudyPlace, *, patience: Patience, lease: Lease | None) -> None:
        self._place = place
        self._patience = patience
        self._lease = lease
        self._next_number: int | None = None
        super().__init__(engine_url(place.url), engine_kwargs={"connect_args": CONNECTION, "pool_recycle": 1800})

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """As Optuna does, and once only: the search is ours alone, so a number that is taken was taken by us."""
        self._next_number = self._outlast(lambda: self._count_trials(study_id))
        return self._outlast(lambda: super(PatientStorage, self)._create_new_trial(study_id, template_trial))

    def _count_trials(self, study_id: int) -> int:
        from optuna.storages._rdb import models
        from sqlalchemy import func, select

        count = select(func.count()).select_from(models.TrialModel).where(models.TrialModel.study_id == study_id)
        with self.engine.connect() as connection:
            return int(connection.execute(count).scalar_one())

    def _get_prepared_new_trial(self, study_id: int, template_trial: FrozenTrial | None, session: Any) -> Any:
        # Optuna calls it again, too, when a commit has failed of which nobody knows whether it arrived.
        from optuna.storages._rdb import models

        query = session.query(models.TrialModel).filter_by(study_id=study_id, number=self._next_number)
        found = query.one_or_none()
        return found if found is not None else super()._get_prepared_new_trial(study_id, template_trial, session)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna does; a trial that has ended so already, before an answer was lost, is left as it is."""
        attempts = 0

        def act() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                return super(PatientStorage, self).set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if attempts == 1 or super(PatientStorage, self).get_trial(trial_id).state != state:
                    raise
                return True

        return self._outlast(act)

    def _outlast(self, act: Callable[[], T], *, writes: bool = True) -> T:
        def checked() -> T:
            if writes and self._lease is not None:
                self._lease.check()
            return act()

        return self._patience.outlast(checked, place=self._place)


def _patient(name: str, *, writes: bool) -> Callable[..., Any]:
    original = getattr(RDBStorage, name)

    def method(self: PatientStorage, *arguments: Any, **named: Any) -> Any:
        return self._outlast(lambda: original(self, *arguments, **named), writes=writes)

    method.__name__, method.__doc__ = name, original.__doc__
    return method


for _name in _WRITES:
    setattr(PatientStorage, _name, _patient(_name, writes=True))
for _name in _READS:
    setattr(PatientStorage, _name, _patient(_name, writes=False))


@contextlib.contextmanager
def leased(files: SearchFiles, *, say: Callable[[str], object]) -> Iterator[Lease | None]:
    """The right to write to a study that others can reach, too. The caller holds the lock on the search's folder.

    Raises:
        SpecError: somebody conducts the search elsewhere, or the database cannot be reached.
    """
    place = study_place(files)
    if place is None or place.study is None:
        yield None
        return
    engine = reach(place.url)
    try:
        with usable(place.url):
            lease = take_lease(engine, place.study, folder=files.path, say=say)
        try:
            yield lease
        finally:
            lease.release()
    finally:
        engine.dispose()


def open_storage(files: SearchFiles, *, patience: Patience | None = None, lease: Lease | None = None) -> RDBStorage:
    """Where the study of a search is written."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    place = study_place(files)
    if place is None or not place.is_shared:
        return _in_a_file(files.study)
    engine = reach(place.url)
    try:
        # Programs that make the tables at the same moment fail.
        with usable(place.url), engine.connect() as connection:
            connection.exec_driver_sql(_SCHEMA_LOCK)
            return PatientStorage(place, patience=patience or Patience(), lease=lease)
    finally:
        engine.dispose()


@contextlib.contextmanager
def new_file(files: SearchFiles) -> Iterator[RDBStorage]:
    """A database to make the study of a new search in. It takes its place in the folder at the end of the block: who
    reads a search as it begins does not meet half of a study, nor does what goes on after a kill.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    unfinished = files.study.with_name(f".{files.study.name}-{os.getpid()}")
    unfinished.unlink(missing_ok=True)  # of a process that was killed: each container counts its processes from one
    storage = _in_a_file(unfinished)
    try:
        yield storage
    except BaseException:
        unfinished.unlink()
        raise
    finally:
        storage.engine.dispose()
    unfinished.replace(files.study)


def _in_a_file(file: Path) -> RDBStorage:
    from sqlalchemy import event

    storage = RDBStorage(f"sqlite:///{file}", engine_kwargs={"connect_args": {"timeout": 60}})

    # A kill of the process loses nothing either way; only a power cut could lose the last commit, and waiting
    # for the disk at each report would cost more than a small trial takes.
    @event.listens_for(storage.engine, "connect")
    def _relax(connection: "DBAPIConnection", _: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()
    return storage


def _underlying(error: BaseException) -> BaseException:
    """Optuna wraps what SQLAlchemy raises."""
    return error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error

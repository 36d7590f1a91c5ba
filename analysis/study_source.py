"""The record of a search in an Optuna storage: the study.db of its folder, a database by its URL, a journal file.

Knows neither ray nor torch nor W&B. Optuna is imported only where its tables are not read directly.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.distributions import ranges_of
from analysis.kept import with_local_checkpoints
from analysis.records import SearchFiles, SearchRecord
from analysis.stored import StoredStudy, StoredTrial, record_of, record_of_foreign_study
from analysis.study_place import engine_url, study_place
from analysis.study_tables import is_known_schema, read_study, study_names
from spaces.errors import SpecError, did_you_mean
from spaces.objectives import Mode

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial
    from sqlalchemy import URL

_JOURNAL = "journal:"
_DRIVERS = {
    "mysql": "mysqlclient",
}
"""What SQLAlchemy reads a database with, where its URL names no driver."""


def read_search(directory: Path) -> SearchRecord:
    """The record in `directory`; a search that still runs can be read too.

    Raises:
        SpecError: `directory` holds no search.
    """
    files = SearchFiles(directory)
    place = study_place(files) if directory.is_dir() else None
    if place is None:
        raise no_search(directory, lacks=files.study.name)
    study = _read_database(place.url, name=place.study)
    record = record_of(
        replace(study, name=place.search or study.name),
        directory=directory,
        history_of=lambda number: files.trial(number).read_history(),
    )
    return with_local_checkpoints(record)


def no_search(directory: Path, *, lacks: str) -> SpecError:
    """Why there is no search in `directory`, with what was probably meant. `lacks` is the file that tells one."""
    if not directory.exists():
        return SpecError(f"`{directory}` is no search: there is no such folder.{_near(directory)}")
    if directory.is_dir():
        return SpecError(f"`{directory}` is no search: it has no {lacks}.{_nearby(directory)}")
    hint = f" `tunesmith run {directory}` begins that of a spec." if directory.suffix in (".yaml", ".yml") else ""
    return SpecError(f"`{directory}` is no search: it is a file, and a search is a folder.{hint}")


def is_storage(source: str) -> bool:
    """Whether `source` names an Optuna storage: a database URL or `journal:FILE`."""
    return source.startswith(_JOURNAL) or "://" in source


def read_storage(source: str, *, metric: str | None = None) -> SearchRecord:
    """The record of the study at `source`: `URL` or `journal:FILE`, with `#STUDY` where the storage holds several.
    `metric` names the objective of a study that does not.

    Raises:
        SpecError: the storage cannot be read, or it does not hold the study.
    """
    place, _, name = source.partition("#")
    if place.startswith(_JOURNAL):
        study = _read_journal(Path(place.removeprefix(_JOURNAL)).expanduser(), name=name or None)
    else:
        study = _read_database(place, name=name or None)
    if study.is_ours:
        return record_of(study)
    if metric is not None and not study.metrics and len(study.modes) == 1:
        study = replace(study, metrics=(metric,))
    return record_of_foreign_study(study)


def stored(trial: "FrozenTrial") -> StoredTrial:
    """A trial that Optuna gives."""
    return StoredTrial(
        number=trial.number,
        state=trial.state.name,
        values=tuple(trial.values) if trial.state.name == "COMPLETE" else (),
        params=trial.params,
        intermediate=dict(sorted(trial.intermediate_values.items())),
        attributes=trial.user_attrs,
        started=trial.datetime_start,
        ended=trial.datetime_complete,
    )


def stored_study(study: "Study", trials: Sequence["FrozenTrial"] = ()) -> StoredStudy:
    """A study that Optuna gives, with some of its trials."""
    begun = [trial for trial in trials if trial.state.name != "WAITING"]
    modes: list[Mode] = ["max" if direction.name == "MAXIMIZE" else "min" for direction in study.directions]
    return StoredStudy(
        name=study.study_name,
        modes=tuple(modes),
        metrics=tuple(study.metric_names or ()),
        attributes=study.user_attrs,
        space=ranges_of(begun),
        trials=[stored(trial) for trial in begun],
    )


def _read_database(url: str, *, name: str | None) -> StoredStudy:
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        place = make_url(engine_url(url))
        is_file = place.get_backend_name() == "sqlite"
        engine = create_engine(place, connect_args={"timeout": 60} if is_file else {})
    except (ArgumentError, NoSuchModuleError) as error:
        raise SpecError(f"`{_shown(url)}` is no database that can be read: {error}.") from None
    except ModuleNotFoundError as error:
        needed = _DRIVERS.get(url.partition(":")[0].partition("+")[0], error.name)
        raise SpecError(f"reading `{_shown(url)}` needs another package (pip install {needed}).") from None
    if is_file and not Path(place.database or "").is_file():
        raise SpecError(f"there is no database `{place.database}`.{_near(Path(place.database or ''))}")
    try:
        with engine.connect() as connection:
            if is_known_schema(connection):
                found = _chosen(study_names(connection), name, place)
                return read_study(connection, found)
    except SQLAlchemyError as error:
        raise SpecError(f"cannot read `{_shown(url)}`: {_cause(error)}.") from None
    finally:
        engine.dispose()
    return _read_by_optuna(lambda: _relational(place), name=name, place=place)


def _relational(place: "URL") -> "BaseStorage":
    """Of another version of Optuna, which knows best what can be read."""
    from optuna.storages import RDBStorage
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(place)
    try:
        # Optuna would make what is missing: in a database of something else, or while a program is just making it.
        has_studies = inspect(engine).has_table("studies") and inspect(engine).has_table("alembic_version")
        if has_studies:
            with engine.connect() as connection:
                has_studies = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() is not None
    finally:
        engine.dispose()
    if not has_studies:
        raise SpecError(f"`{_shown(place)}` holds no Optuna studies, or is just being made.")
    return RDBStorage(place.render_as_string(hide_password=False))


def _read_journal(file: Path, *, name: str | None) -> StoredStudy:
    if not file.is_file():
        raise SpecError(f"there is no journal `{file}`.{_near(file)}")
    return _read_by_optuna(lambda: _journal(file), name=name, place=file)


def _journal(file: Path) -> "BaseStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(file)))


def _read_by_optuna(open_storage: Callable[[], "BaseStorage"], *, name: str | None, place: Any) -> StoredStudy:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = open_storage()
        names = [study.study_name for study in storage.get_all_studies()]
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"cannot read `{_shown(place)}`: {error}") from None
    study = optuna.load_study(study_name=_chosen(names, name, place), storage=storage)
    return stored_study(study, study.get_trials(deepcopy=False))


def _chosen(names: Sequence[str], name: str | None, place: Any) -> str:
    where = _shown(place)
    if not names:
        raise SpecError(f"`{where}` holds no study.")
    if name is None and len(names) == 1:
        return names[0]
    listed = ", ".join(f"`{one}`" for one in names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    if name is None:
        raise SpecError(f"`{where}` holds {len(names)} studies: name one by `{where}#{names[0]}`. It has {listed}.")
    if name not in names:
        raise SpecError(f"`{where}` holds no study `{name}`.{did_you_mean(name, names)} It has {listed}.")
    return name


def _shown(place: Any) -> str:
    """A place without its password."""
    from sqlalchemy import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(place).render_as_string(hide_password=True) if isinstance(place, str | URL) else str(place)
    except ArgumentError:
        return str(place)


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")


def _near(file: Path) -> str:
    names = [entry.name for entry in file.parent.glob("*")] if file.parent.is_dir() else []
    return did_you_mean(file.name, names)


def _nearby(directory: Path) -> str:
    found = sorted(path.parent for path in directory.glob("*/study.db")) if directory.is_dir() else []
    if not found:
        return ""
    is_nested = (directory / "nested.yaml").is_file()
    kind = "It is a nested cross-validation, whose searches are" if is_nested else "Searches in there:"
    return f" {kind} {', '.join(str(path) for path in found[:5])}."

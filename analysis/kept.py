"""A search that is kept in an object store, brought to this machine: its study, spec and histories at once, its
checkpoints when they are asked for. Knows no ray and no mirror.
"""

import contextlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock

from analysis.records import SearchFiles, SearchRecord, TrialFiles, replace_text
from spaces.errors import OutOfReach, SpecError
from spaces.reports import TrialReport
from spaces.shelf import bring_shelf
from spaces.store import COPY, REPORTS, Store, entered, is_store, store_of, store_url, why, working_folder

NOTES = "mirror.json"
"""In the store: which machine's copy it was made from, and whether that still runs."""
NESTED = "nested.yaml"
"""The spec of a nested cross-validation, in the folder or store that holds its searches."""
_OWN = re.compile(
    r"(^|/)\.|^control/|^study\.db|^mirror\.json$|^trials/\d+/(checkpoints/|reports/|(attempt|void)$|needed-by/)"
    r"|^(confirmation-\d+|[^/]+-published)/"
)
"""What the mirror leaves alone: hidden and passing files, what trials and the study see to themselves, and searches of
their own in there."""


def is_mirrored(name: str) -> bool:
    """Whether a file of a search's folder, or a folder in it (with a slash at its end), is copied as it is."""
    return _OWN.search(name) is None


def brought_here(place: Path | str) -> Path:
    """The folder of a search on this machine. One in an object store is fetched, unless this machine's copy is what
    the store was made from, and so at least as new; with it comes what was submitted with it.

    Raises:
        SpecError: there is no search at that URL, or the store does not answer.
    """
    if not is_store(place):
        return Path(place)
    store = Store.at(place)
    files = SearchFiles(working_folder(place))
    try:
        notes = read_notes(store)
        if notes is None and store.read(NESTED) is not None:
            inner = _fetch_nested(store, files)
        elif notes is None:
            raise SpecError(f"`{store.url}` is no search: it has no {NOTES}.{_nearby(store)}")
        else:
            inner = _fetch(store, files) if notes["copy"] != copy_id(files) else []
    except (SpecError, filelock.Timeout):
        raise
    except Exception as error:
        if copy_id(files) is None:
            raise SpecError(f"cannot read `{store.url}`: {why(error)}.") from None
        inner = []
    bring_shelf(store.url)
    for name in inner:
        brought_here(f"{store.url}/{name}")
    return files.path


def read_notes(store: Store) -> dict[str, Any] | None:
    """What the mirror has noted in the store; None where there is no search."""
    text = store.read(NOTES)
    return None if text is None else json.loads(text)


def conducted_elsewhere(files: SearchFiles) -> str | None:
    """The other machine, with the process, that conducts a search in an object store; None where none says so there.
    One that was lost could not take back its word."""
    if (store := store_of(files.path)) is None:
        return None
    try:
        notes = read_notes(store)
    except Exception:  # whatever a store's library raises: then nobody says anything
        return None
    if notes is None or not notes["running"] or notes["copy"] == copy_id(files):
        return None
    return f"{notes['host']}, process {notes['process']}"


def copy_id(files: SearchFiles) -> str | None:
    """Which copy of a search the working folder holds."""
    try:
        return (files.path / COPY).read_text("utf-8")
    except FileNotFoundError:
        return None


def new_copy(files: SearchFiles) -> None:
    """This machine has made or fetched a copy of its own."""
    replace_text(files.path / COPY, secrets.token_hex(8))


def _fetch(store: Store, files: SearchFiles) -> list[str]:
    """Replace what is here, as far as a search is written by its driver. Gives the names of searches in its folder:
    confirmations, and the published values that they measure."""
    entered(store.url)
    lock = filelock.FileLock(files.lock)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return []  # a driver here is at work on it, and its copy counts
    try:
        found = store.names()
        for name in sorted(found):
            if is_mirrored(name) or name == files.study.name:
                store.get(name, files.path / name)
        below = {tuple(name.split("/")[1:3]) for name in found if name.startswith("trials/")}
        for trial in sorted({each[0] for each in below}):
            _note_checkpoints(files.trial(int(trial)), are_some=(trial, "checkpoints") in below)
            if (trial, REPORTS) in below:
                _complete_history(store, files.trial(int(trial)), f"trials/{trial}")
        _forget_others(files, set(found))
        new_copy(files)
        return _searches_in(found)
    finally:
        lock.release()


def _fetch_nested(store: Store, files: SearchFiles) -> list[str]:
    """Replace what the folder of a nested cross-validation holds itself. Gives the names of its searches."""
    entered(store.url)
    found = store.names()
    for name in found:
        if "/" not in name and is_mirrored(name):
            store.get(name, files.path / name)
    new_copy(files)
    return _searches_in(found)


def _searches_in(names: Iterable[str]) -> list[str]:
    return sorted({name.removesuffix(f"/{NOTES}") for name in names if name.endswith(f"/{NOTES}")})


def _note_checkpoints(trial: TrialFiles, *, are_some: bool) -> None:
    """The folder says that a trial has checkpoints, also where it is empty: they come when they are asked for."""
    if are_some:
        trial.checkpoints.mkdir(parents=True, exist_ok=True)
    elif not (trial.path / "attempt").exists():  # else the trial ran here, and maybe runs
        with contextlib.suppress(OSError):  # not empty: then they are here
            trial.checkpoints.rmdir()


def _complete_history(store: Store, trial: TrialFiles, name: str) -> None:
    """Rows that the trial reported when the driver could not store them any more."""
    reports = _reports(store, name)
    rows = trial.read_history()
    ends = [index for index, row in enumerate(rows) if "evaluation" in row]
    done = int(rows[ends[-1]]["evaluation"] or 0) if ends else 0
    if not any(report.progress.evaluation > done for report in reports):
        return
    rows = rows[: ends[-1] + 1] if ends else []
    for report in reports:
        if report.progress.evaluation == done + 1:
            rows += report.rows
            done += 1
    trial.path.mkdir(parents=True, exist_ok=True)
    trial.rewrite_history(rows)


def _reports(store: Store, trial: str) -> list[TrialReport]:
    """What a trial has reported, and its search may not have stored, in order."""
    names = sorted(store.names(f"{trial}/{REPORTS}"))
    return [TrialReport.from_json(text) for name in names if (text := store.read(name)) is not None]


def _forget_others(files: SearchFiles, found: set[str]) -> None:
    """Files of an older copy that the search has no more."""
    for path in files.path.rglob("*"):
        name = path.relative_to(files.path).as_posix()
        if path.is_file() and is_mirrored(name) and name not in found and not name.endswith("history.jsonl"):
            path.unlink(missing_ok=True)


def kept_in(files: SearchFiles) -> str:
    """What `storage` is for the search in this folder: the folder above it, or that in its object store."""
    store = store_of(files.path)
    return str(files.path.parent) if store is None else store.url.rpartition("/")[0]


def place_of(files: SearchFiles) -> str:
    """Where the search in this folder is kept: the folder, or its URL."""
    store = store_of(files.path)
    return str(files.path) if store is None else store.url


def store_late(file: Path) -> None:
    """Store a file that was written when nobody mirrors its search.

    Raises:
        OutOfReach: the store does not take it.
    """
    if (store := store_of(file.parent)) is None:
        return
    try:
        store.put(file, file.name)
    except Exception as error:  # whatever a store's library raises
        raise OutOfReach(
            f"`{store.url}/{file.name}` is not stored: {why(error)}. It lies in {file}; the same command stores it."
        ) from None


def public_checkpoint(files: SearchFiles, number: int, checkpoint: str) -> str:
    """Where others find a checkpoint that a trial has reported, on whatever machine it ran."""
    store = store_of(files.path)
    _, separator, inside = checkpoint.rpartition("/checkpoints/")
    return f"{store.url}/trials/{number}/checkpoints/{inside}" if store and separator else checkpoint


def local_checkpoint(checkpoint: str) -> Path:
    """The folder of a recorded checkpoint on this machine; one that is only in an object store is fetched.

    Raises:
        SpecError: the store does not have it, or does not answer.
    """
    folder = working_folder(checkpoint)
    if is_store(checkpoint) and not folder.is_dir():
        above, _, name = store_url(checkpoint).rpartition("/")
        store = Store.at(above)
        try:
            if not store.names(name):
                raise SpecError(f"there is no checkpoint `{checkpoint}` (any more).")
            store.get_folder(name, folder)
        except SpecError:
            raise
        except Exception as error:
            raise SpecError(f"cannot read `{checkpoint}`: {why(error)}.") from None
    return folder


def with_local_checkpoints(record: SearchRecord) -> SearchRecord:
    """The record with the folders of checkpoints that this machine has, instead of their URLs; and without those that
    were kept for a while only."""

    own = record.directory

    def here(number: int, checkpoint: str | None) -> str | None:
        if checkpoint is None or not is_store(checkpoint):
            return checkpoint
        folder = working_folder(checkpoint)
        if folder.is_dir():
            return str(folder)
        if own is None or not folder.is_relative_to(own.resolve()):
            return checkpoint
        return checkpoint if SearchFiles(own).trial(number).checkpoints.is_dir() else None

    if not any(trial.checkpoint and is_store(trial.checkpoint) for trial in record.trials):
        return record
    trials = [replace(trial, checkpoint=here(trial.number, trial.checkpoint)) for trial in record.trials]
    return replace(record, trials=trials)


def _nearby(store: Store) -> str:
    found = _searches_in(store.names())
    return f" Searches in there: {', '.join(f'{store.url}/{name}' for name in found[:5])}." if found else ""

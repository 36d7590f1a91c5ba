"""A trial's checkpoints in an object store: put there before they are reported, fetched by whoever goes on.

The pointer goes last, so that the store has the old checkpoint or the new one. With each goes its report: a driver that
is lost with what it had not stored yet is told again by them. Knows no search, and no trial but by its folder.
"""

import json
import logging
import shutil
from pathlib import Path

from spaces.reports import TrialReport
from spaces.store import COPY, REPORTS, Store, store_of, why
from spaces.whole_text import replace_text

POINTER = "last.json"
EXTRA = "extra.json"
"""Points to a checkpoint between two evaluations (see `extra_checkpoints.py`)."""
_ATTEMPT, _VOID = "attempt", "void"

log = logging.getLogger(__name__)


def push(trial: Path, checkpoints: Path) -> None:
    """Bring the store up to the checkpoint that the pointer in `checkpoints`, a folder of `trial`, names. While the
    store is away training goes on, and the next checkpoint brings it up to date."""
    store = store_of(trial)
    if store is None:
        return
    below = checkpoints.relative_to(trial).as_posix()
    text = (checkpoints / POINTER).read_text("utf-8")
    folder = json.loads(text)["folder"]
    report = TrialReport.from_json(json.loads(text)["report"])
    try:
        before, files = store.names(below), file_sizes(checkpoints / folder)
        store.put_all(checkpoints / folder, files, below=f"{below}/{folder}")
        # A disk that is going away, too, must not replace what is whole there.
        if file_sizes(checkpoints / folder) != files:
            raise OSError(f"`{checkpoints / folder}` changed while it was stored")
        store.write(f"{REPORTS}/{report.progress.evaluation:06d}.json", report.to_json())
        store.write(f"{below}/{POINTER}", text)
        kept = (f"{below}/{folder}/", f"{below}/{POINTER}")
        store.remove(*(name for name in before if not name.startswith(kept)))
    except Exception as error:  # whatever a store's library raises: training does not depend on it
        log.warning("checkpoint %s not stored in %s: %s", folder, store.url, why(error))


def file_sizes(folder: Path) -> dict[str, int]:
    """All files below a folder, in order. Raises FileNotFoundError where there is none."""
    folder.stat()
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def push_extra(trial: Path, checkpoints: Path) -> None:
    """Bring the checkpoint that `extra.json` names to the store, beside the last one. The next evaluation removes
    it."""
    store = store_of(trial)
    if store is None:
        return
    below = checkpoints.relative_to(trial).as_posix()
    text = (checkpoints / EXTRA).read_text("utf-8")
    folder = json.loads(text)["folder"]
    try:
        store.put_all(checkpoints / folder, file_sizes(checkpoints / folder), below=f"{below}/{folder}")
        store.write(f"{below}/{EXTRA}", text)
    except Exception as error:  # whatever a store's library raises: the last evaluation's is there
        log.warning("extra checkpoint %s not stored in %s: %s", folder, store.url, why(error))


def fetch_extra(trial: Path, checkpoints: Path) -> None:
    """Bring the checkpoint that the store's `extra.json` names here."""
    store = store_of(trial)
    if store is None:
        return
    below = checkpoints.relative_to(trial).as_posix()
    try:
        text = store.read(f"{below}/{EXTRA}")
        if text is None or (checkpoints / json.loads(text)["folder"]).is_dir():
            return
        folder = json.loads(text)["folder"]
        checkpoints.mkdir(parents=True, exist_ok=True)
        store.get_folder(f"{below}/{folder}", checkpoints / folder)
        replace_text(checkpoints / EXTRA, text)
    except Exception as error:  # training goes on from the last evaluation
        log.warning("extra checkpoint of %s not fetched: %s", store.url, why(error))


def fetch(trial: Path) -> None:
    """Bring the folder of a trial up to the last checkpoints that are in its store, where these are newer."""
    store = store_of(trial)
    if store is None:
        return
    try:
        _fetch(store, trial)
    except Exception as error:  # what lies here is whole, only maybe older
        log.warning("checkpoints of %s not fetched: %s", store.url, why(error))


def _fetch(store: Store, trial: Path) -> None:
    pointers = [pointer for name in (POINTER, EXTRA) for pointer in (trial / "checkpoints").rglob(name)]
    found = [_order(pointer.read_text("utf-8")) for pointer in pointers]
    if found and (last := store.read(_VOID)) is not None and min(found)[0] <= int(last):
        shutil.rmtree(trial / "checkpoints")  # of another trial that had this number
        (trial / "checkpoints").mkdir()
    for name in [name for name in store.names("checkpoints") if name.endswith(f"/{POINTER}")]:
        text = store.read(name)
        here = trial / Path(name).parent
        if text is None or _order(text) <= _order_here(here):
            continue
        folder = json.loads(text)["folder"]
        here.mkdir(parents=True, exist_ok=True)
        store.get_folder(f"{Path(name).parent.as_posix()}/{folder}", here / folder)
        replace_text(here / POINTER, text)
        for other in here.iterdir():
            if other.is_dir() and other.name != folder and not other.name.startswith("fold-"):
                shutil.rmtree(other, ignore_errors=True)


def leave(trial: Path) -> None:
    """The trial no longer runs on this machine. One that only lends its processes need not keep what the store has:
    its disk would fill with the checkpoints of all trials that ever ran there."""
    store = store_of(trial)
    if store is None or (trial.parent.parent / COPY).exists():
        return
    try:
        pointers = [pointer.relative_to(trial).as_posix() for pointer in (trial / "checkpoints").rglob(POINTER)]
        if all(store.read(name) == (trial / name).read_text("utf-8") for name in pointers):
            shutil.rmtree(trial / "checkpoints", ignore_errors=True)
    except Exception as error:  # it stays
        log.warning("checkpoints of %s not removed here: %s", trial, why(error))


def void(trial: Store) -> None:
    """Remove what the trial at this place has stored: its number goes to another one. An attempt of it that still
    lives can commit nothing any more, and what lies of it on nodes is not gone on from. Raises what the store does."""
    last = int(trial.read(_ATTEMPT) or 0) + 1
    trial.write(_VOID, str(last))
    trial.write(_ATTEMPT, str(last))
    for below in ("checkpoints", REPORTS):
        trial.remove(*trial.names(below))


def recorded_attempt(trial: Path) -> int:
    """The last attempt that the store knows of; 0 when it knows none, or does not answer."""
    store = store_of(trial)
    try:
        return int((store.read(_ATTEMPT) if store else None) or 0)
    except Exception as error:
        log.warning("attempts of %s not read: %s", trial, why(error))
        return 0


def note_attempt(trial: Path, attempt: int) -> None:
    """Tell the store of an attempt."""
    store = store_of(trial)
    if store is None:
        return
    try:
        store.write(_ATTEMPT, str(attempt))
    except Exception as error:
        log.warning("attempt of %s not noted: %s", trial, why(error))


def _order(pointer: str) -> tuple[int, int]:
    """Later checkpoints are larger: a later attempt of the trial, or a later evaluation of it."""
    content = json.loads(pointer)
    _, _, attempt = content["folder"].rpartition("attempt-")
    evaluation = TrialReport.from_json(content["report"]).progress.evaluation
    return int(attempt) if attempt.isdecimal() else 0, evaluation


def _order_here(checkpoints: Path) -> tuple[int, int]:
    try:
        text = (checkpoints / POINTER).read_text("utf-8")
    except FileNotFoundError:
        return -1, -1
    return _order(text) if (checkpoints / json.loads(text)["folder"]).is_dir() else (-1, -1)

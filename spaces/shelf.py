"""What travelled with a submitted search that is kept in an object store: laid down there, and brought to the same
place of every machine that needs it.

A spec makes paths absolute, so the place must be the same on all nodes: it lies below `/tmp`, whatever a node's home
is. Knows no cluster and nothing of what the files mean.
"""

import functools
import json
import logging
import os
import re
import shutil
import stat
from pathlib import Path

from spaces.errors import SpecError
from spaces.store import Store, is_store, why

SHELF = "TUNESMITH_SHELF"
"""Environment variable of a submitted search's process: the URL of its shelf. It runs in the shelf's place."""
NOTE = "submitted.json"
"""File of a search: where its shelf is, and the place that its paths name."""
_ROOT = Path("/tmp")
_PLACE = re.compile(rf"{_ROOT}/tunesmith-\d+/[\w-][\w.-]*")

log = logging.getLogger(__name__)


def lay_down(source: Path, url: str) -> Path:
    """Put all files of `source` on the shelf at `url`, and in its place on this machine, which is given. What lies
    there has the same content already: its name says so."""
    shelf = Store.at(url)
    place = _ROOT / f"tunesmith-{os.getuid()}" / shelf.url.rpartition("/")[2]
    files = [file.relative_to(source) for file in sorted(source.rglob("*")) if file.is_file()]
    there = shelf.names()
    for name in files:
        if there.get(name.as_posix()) != (source / name).stat().st_size:
            shelf.put(source / name, name.as_posix())
    if not place.is_dir():
        temporary = _temporary(place)
        shutil.copytree(source, temporary)
        _settle(temporary, place)
    _check_is_ours(place.parent)
    return place


def note_shelf(search: Path, store: Store) -> None:
    """Note in a new search, here and in its store, what this process was submitted with; or, in a search that lies in
    the folder of another one, what that one was."""
    if url := os.environ.get(SHELF):
        text = json.dumps({"shelf": url, "place": str(Path.cwd())})
    elif (outer := search.parent / NOTE).is_file():
        text = outer.read_text("utf-8")
    else:
        return
    (search / NOTE).write_text(text, "utf-8")
    store.write(NOTE, text)


def bring_shelf(search: str) -> None:
    """Have what travelled with the search at a URL where its paths name it. Nothing for searches that were not
    submitted, or are kept in a folder. Failing, it says so: what is missing shows when it is looked for."""
    if not is_store(search):
        return
    try:
        noted = _noted(search)
        if noted is None:
            return
        shelf, place = Store.at(noted["shelf"]), Path(noted["place"])
        if _PLACE.fullmatch(noted["place"]) is None:
            raise SpecError(f"`{search}` wants files at `{place}`, where nothing that was submitted lies.")
        if not place.is_dir():
            temporary = _temporary(place)
            shelf.fetch_all(temporary)
            _settle(temporary, place)
        _check_is_ours(place.parent)
    except SpecError:
        raise
    except Exception as error:  # whatever a store's library raises
        log.warning("what was submitted with %s was not brought here: %s", search, why(error))


def noted_place(search: Path) -> Path | None:
    """The place of what travelled with the search in this folder; None where nothing did, or it is in a folder."""
    try:
        return Path(json.loads((search / NOTE).read_text("utf-8"))["place"])
    except FileNotFoundError:
        return None


@functools.cache
def _noted(search: str) -> dict[str, str] | None:
    """Read once in a process: it is written before the first trial starts."""
    text = Store.at(search).read(NOTE)
    return None if text is None else dict(json.loads(text))


def _temporary(place: Path) -> Path:
    place.parent.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    _check_is_ours(place.parent)
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    return temporary


def _settle(temporary: Path, place: Path) -> None:
    """Move a whole folder to its place, where another process may be as quick."""
    try:
        temporary.rename(place)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not place.is_dir():
            raise


def _check_is_ours(folder: Path) -> None:
    """`/tmp` is everyone's: code that others could have laid there is not run.

    Raises:
        SpecError: others may write to `folder`.
    """
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise SpecError(f"`{folder}` is not this user's alone, so no code of a submitted search is run from there.")

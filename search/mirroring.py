"""A search that is kept in an object store: begun there, mirrored while it runs, and by one machine at a time.

Knows not how a mirror keeps up.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator

from analysis.kept import NESTED, copy_id, new_copy, read_notes
from analysis.records import SearchFiles
from search.mirror import TAKE_OVER_SECONDS, Mirror
from spaces.errors import SpecError
from spaces.store import Store, check_writable, entered, store_of


def begin_store(files: SearchFiles, url: str) -> None:
    """Make the working folder of a new search, or of a nested cross-validation, and note in it where it is kept.

    Raises:
        SpecError: the store cannot be written to, or holds the search already.
    """
    store = Store.at(url)
    check_writable(store)
    if read_notes(store) is not None or store.read(NESTED) is not None:
        raise SpecError(
            f"`{store.url}` exists already. Go on with it by `tunesmith resume {store.url}`, or give the search "
            "another name (`--set name=...`).",
            path="name",
        )
    shutil.rmtree(files.path, ignore_errors=True)  # what a search left here that the store has no more
    entered(store.url)
    new_copy(files)


@contextlib.contextmanager
def mirrored(files: SearchFiles, *, say: Callable[[str], object]) -> Iterator[Mirror | None]:
    """Keep the store of a search up to date meanwhile; None for one that is kept in its folder. At the end it says
    what is not stored.

    Raises:
        SpecError: another machine conducts the search, or the store cannot be written to.
    """
    store = store_of(files.path)
    if store is None:
        yield None
        return
    check_writable(store)
    wait_for_turn(files, store, say=say)
    mirror = Mirror(files, store, say=say)
    mirror.start()
    try:
        yield mirror
    finally:
        if missing := mirror.close():
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            say(f"not stored in {store.url}: {shown}. They lie in {files.path}; `tunesmith resume` stores them")


def wait_for_turn(files: SearchFiles, store: Store, *, say: Callable[[str], object]) -> None:
    """Wait until it is clear that no other machine conducts the search.

    Raises:
        SpecError: one does.
    """
    notes = read_notes(store)
    if notes is None or not notes["running"] or notes["copy"] == copy_id(files):
        return
    say(f"{notes['host']} conducted this search: looking for {TAKE_OVER_SECONDS:g} s whether it still does")
    time.sleep(TAKE_OVER_SECONDS)
    if read_notes(store) != notes:
        raise SpecError(
            f"this search is being run by another machine at this moment: {notes['host']}, process {notes['process']}."
        )

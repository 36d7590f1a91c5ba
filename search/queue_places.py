"""Where the process of a queued search works, and whether there is something to go on with; seen from the keeper.

Both live on the cluster's head, so a search in an object store is asked through the working folder of that machine.
Knows neither ray nor the queue's database.
"""

from analysis.kept import NESTED, read_notes
from analysis.records import SearchFiles
from cluster.queue_records import NewSearch
from spaces.errors import OutOfReach
from spaces.store import CACHE, Store, is_store, why, working_folder


def conducted_in(search: NewSearch) -> SearchFiles:
    """The folder that the search's process works in: the search's own, or what stands for its store on the head."""
    return SearchFiles(working_folder(search.directory, cache=search.environment.get(CACHE)))


def has_begun(search: NewSearch) -> bool:
    """Whether the search can be gone on with, by its folder or by its store: the head may be a new machine.

    Raises:
        OutOfReach: the store does not answer.
    """
    if not is_store(search.directory):
        files = conducted_in(search)
        return files.spec.is_file() or (files.path / NESTED).is_file()
    try:
        store = Store.at(search.directory)
        return read_notes(store) is not None or store.read(NESTED) is not None
    except Exception as error:  # whatever a store's library raises
        raise OutOfReach(f"`{search.directory}` does not answer: {why(error)}.") from error

"""Which entry of a list of sources an error is about. Knows no source."""

from collections.abc import Iterator
from contextlib import contextmanager

from spaces.errors import SpecError
from trainables.config import DataConfig

_SOURCE = "data.source"


@contextmanager
def source_named(data: DataConfig, index: int) -> Iterator[None]:
    """Errors about the source carry its place: `data.source.1.files` in a list, else `data.source.files`."""
    try:
        yield
    except SpecError as error:
        is_about_it = error.path == _SOURCE or error.path.startswith(f"{_SOURCE}.")
        if not isinstance(data.source, tuple) or not is_about_it:
            raise
        path = f"{_SOURCE}.{index}{error.path.removeprefix(_SOURCE)}"
        raise SpecError(error.message, path=path, line=error.line) from error

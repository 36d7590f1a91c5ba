"""A folder in an object store (`s3://`, `gs://`), and the working folder on this machine that stands for it.

Who works on a search works in the working folder; a small file in it names the store. Credentials are found as the
ecosystem does: environment, configuration files, the machine's role. Knows no search and no file's meaning.
"""

import contextlib
import logging
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spaces.errors import SpecError
from spaces.whole_text import replace_text

_DRIVERS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}
"""Scheme -> the package that speaks it, and the extra that brings it."""
_CHATTY = ("gcsfs", "google.auth")
"""Loggers that add warnings to each call, with all that they try. What goes wrong is raised, and said by who asked."""
_URL = re.compile(r"(s3|gs)://?(?=[^/])")
_MARKER = ".store"
CACHE = "TUNESMITH_CACHE"
"""Environment variable: the folder that holds all working folders. Default: ~/.cache/tunesmith."""
REPORTS = "reports"
"""Folder of a trial in a store: reports that its search may not have stored yet, one file each."""


COPY = ".copy"
"""In a working folder that a driver, or a reader, has made: which copy of the search it is. Nodes have none."""


def is_store(text: str | Path) -> bool:
    """Whether `text` names a folder in an object store. A `Path` that was made of a URL has lost a slash: it does."""
    return _URL.match(str(text)) is not None


def store_url(text: str | Path) -> str:
    """The URL that `text` means, with no slash at its end."""
    return _URL.sub(r"\1://", str(text), count=1).rstrip("/")


@dataclass(frozen=True, slots=True)
class Store:
    """A folder in an object store. Its methods raise what the store's library raises."""

    url: str

    @staticmethod
    def at(text: str | Path) -> "Store":
        """The store at a URL.

        Raises:
            SpecError: the package that speaks to it is not installed.
        """
        url = store_url(text)
        package, extra = _DRIVERS[url.partition(":")[0]]
        if find_spec(package) is None:
            raise SpecError(f"`{url}` needs {package}: `pip install 'tunesmith[{extra}]'`.")
        return Store(url)

    def __truediv__(self, name: str | Path) -> "Store":
        return Store(f"{self.url}/{name}")

    def names(self, below: str = "") -> dict[str, int]:
        """All files below a folder, with their sizes; names are relative to this store."""
        place = f"{self.url}/{below}".rstrip("/")
        found: dict[str, Any] = self._call("find", self._path(place), detail=True)
        root = self._path(self.url).rstrip("/")
        return {
            str(path).removeprefix(root).lstrip("/"): int(facts.get("size") or 0)
            for path, facts in found.items()
            if facts.get("type") != "directory" and not str(path).endswith("/")
        }

    def read(self, name: str) -> str | None:
        """The text of a file; None when there is none."""
        try:
            return str(self._call("cat_file", self._path(f"{self.url}/{name}")).decode())
        except FileNotFoundError:
            return None

    def write(self, name: str, text: str) -> None:
        """Replace the text of a file: a reader meets the old one or the new one."""
        self._call("pipe_file", self._path(f"{self.url}/{name}"), text.encode())

    def put(self, local: Path, name: str) -> None:
        """Copy a file there."""
        self._call("put_file", str(local), self._path(f"{self.url}/{name}"))

    def put_all(self, folder: Path, names: Iterable[str], *, below: str) -> None:
        """Copy files of a folder to the folder `below` there, several at once."""
        pairs = [(str(folder / name), self._path(f"{self.url}/{below}/{name}")) for name in names]
        if pairs:
            self._call("put", [pair[0] for pair in pairs], [pair[1] for pair in pairs])

    def get(self, name: str, local: Path) -> None:
        """Copy a file here, all or nothing."""
        local.parent.mkdir(parents=True, exist_ok=True)
        temporary = local.with_name(f".{local.name}.{os.getpid()}")
        self._call("get_file", self._path(f"{self.url}/{name}"), str(temporary))
        temporary.replace(local)

    def get_folder(self, name: str, local: Path) -> None:
        """Copy a folder here, all or nothing."""
        temporary = local.with_name(f".{local.name}.{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        (self / name).fetch_all(temporary)
        shutil.rmtree(local, ignore_errors=True)
        temporary.rename(local)

    def fetch_all(self, local: Path) -> None:
        """Copy all files into a new folder here, several at once. What fails midway leaves a part of them."""
        local.mkdir(parents=True)
        files = list(self.names())
        for file in files:
            (local / file).parent.mkdir(parents=True, exist_ok=True)
        if files:
            self._call("get", [self._path(f"{self.url}/{file}") for file in files], [str(local / f) for f in files])

    def remove(self, *names: str) -> None:
        """Remove files; those that are not there are gone already."""
        if names:
            with contextlib.suppress(FileNotFoundError):
                self._call("rm", [self._path(f"{self.url}/{name}") for name in names])

    def _path(self, url: str) -> str:
        return url.partition("://")[2]

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        import fsspec

        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # What others write must be seen, so nothing that was listed is remembered. The libraries try several times.
        system = fsspec.filesystem(self.url.partition(":")[0], use_listings_cache=False)
        return getattr(system, method)(*arguments, **named)


def check_writable(store: Store) -> None:
    """Write, read and remove a small file.

    Raises:
        SpecError: at `storage.path`, that is not possible; with the reason.
    """
    name, content = f".tunesmith-probe-{os.getpid()}-{time.monotonic_ns()}", "written by tunesmith, to be removed"
    try:
        store.write(name, content)
        read = store.read(name)
        store.remove(name)
    except FileNotFoundError:
        bucket = store.url.split("/")[2]
        raise SpecError(f"there is no bucket `{bucket}`, which `{store.url}` names.", path="storage.path") from None
    except PermissionError as error:
        raise SpecError(
            f"no permission to write, read and remove in `{store.url}`: {why(error)}. Credentials come from the "
            "environment, as for other programs.",
            path="storage.path",
        ) from None
    except Exception as error:
        raise SpecError(f"cannot write to `{store.url}`: {why(error)}.", path="storage.path") from None
    if read != content:
        raise SpecError(f"`{store.url}` does not give back what was written to it.", path="storage.path")


def why(error: BaseException) -> str:
    """The reason in one line."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def working_folder(text: str | Path, *, cache: str | None = None) -> Path:
    """Where this machine works on what is kept at a URL; a folder of its own is itself. The folder may not be there.
    `cache` is that of another process here, where it is not this one's."""
    if not is_store(text):
        return Path(text).expanduser().resolve()
    scheme, _, place = store_url(text).partition("://")
    held_in = Path(cache or os.environ.get(CACHE) or "~/.cache/tunesmith").expanduser().resolve()
    return held_in / "searches" / scheme / place


def entered(text: str | Path, *, search_levels: int = 0) -> Path:
    """The working folder of a URL, which is there then and knows its store. `search_levels` folders above it, that of
    the search, hold the note."""
    folder = working_folder(text)
    if is_store(text):
        folder.mkdir(parents=True, exist_ok=True)
        search, url = folder, store_url(text)
        for _ in range(search_levels):
            search, url = search.parent, url.rpartition("/")[0]
        mark(search, url)
    return folder


def mark(folder: Path, url: str) -> None:
    """Note that `folder` stands for the store at `url`."""
    note = folder / _MARKER
    if not note.is_file():
        replace_text(note, url)


def store_of(folder: Path) -> Store | None:
    """The store that a working folder, or one in it, stands for; None for a folder that is kept as it is."""
    for above in _upwards(folder):
        with contextlib.suppress(OSError):
            url = (above / _MARKER).read_text("utf-8").strip()
            inside = folder.relative_to(above)
            return Store(url) / inside if inside.parts else Store(url)
    return None


def _upwards(folder: Path) -> Iterator[Path]:
    """A folder and those above it, as deep as a search is."""
    yield folder
    yield from list(folder.parents)[:2]

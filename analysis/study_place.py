"""Where the study of a search is: `study.db` in its folder, or a database elsewhere that a small file there points to.

The pointer holds no secret: a password comes from PGPASSWORD or ~/.pgpass, as for every program that uses PostgreSQL.
Knows URLs, and opens nothing.
"""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import parse_qsl, urlsplit

from analysis.records import SearchFiles, replace_text
from spaces.errors import SpecError
from spaces.redaction import is_secret_name

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_DRIVER = "postgresql+psycopg"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyPlace:
    """The database that holds the study of one search, and the study's name there."""

    url: str
    """URL of the database, without a password."""
    study: str | None = None
    """The name of the study; None where the database holds that one only."""
    search: str | None = None
    """The name of the search, where the study has another one."""

    @property
    def is_shared(self) -> bool:
        """Whether other searches may be kept there, too."""
        return self.study is not None

    def __str__(self) -> str:
        return self.url if self.study is None else f"{self.url}#{self.study}"


def study_place(files: SearchFiles) -> StudyPlace | None:
    """Where the study of the search in this folder is; None when there is no search."""
    try:
        pointer = json.loads(files.study_pointer.read_text("utf-8"))
    except FileNotFoundError:
        return StudyPlace(url=f"sqlite:///{files.study}") if files.study.is_file() else None
    return StudyPlace(url=pointer["database"], study=pointer["study"], search=pointer["search"])


def write_place(files: SearchFiles, *, database: str, search: str, fingerprint: str) -> StudyPlace:
    """Note in the folder of a new search that its study is in `database`. Many searches may have one name there, so the
    study has the search's fingerprint behind it."""
    place = StudyPlace(url=database, study=f"{search}-{fingerprint}", search=search)
    replace_text(
        files.study_pointer, json.dumps({"database": database, "study": place.study, "search": search}, indent=2)
    )
    return place


def check_database(url: str) -> str:
    """`url`, of a database that a study can be kept in.

    Raises:
        SpecError: it is none, or it holds a password. The message does not repeat that.
    """
    try:
        parts = urlsplit(url)
        password, host, options = parts.password, parts.hostname, parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise SpecError("this is no URL: give one such as `postgresql://user@host/studies`.") from None
    if password is not None or any("password" in name or is_secret_name(name) for name, _ in options):
        raise SpecError(
            "a password does not belong into a spec, which is kept and shared with the search. Leave it out of the "
            "URL; it is taken from the environment (PGPASSWORD) or from ~/.pgpass."
        )
    if parts.scheme not in _SCHEMES or "://" not in url:
        # The whole of it may hold a password that no parser recognises.
        given = f"`{parts.scheme}:`" if parts.scheme else "a text without `://`"
        raise SpecError(f"a study is kept in PostgreSQL (`postgresql://user@host/studies`), but got {given}.")
    if not parts.path.strip("/"):
        raise SpecError(f"`{url}` names no database: give one such as `postgresql://{host or 'host'}/studies`.")
    return url


def engine_url(url: str) -> str:
    """`url` with the driver that we bring where it names none.

    Raises:
        SpecError: that is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in _SCHEMES:
        return url
    if find_spec("psycopg") is None:
        raise SpecError("a study in PostgreSQL needs psycopg: `pip install 'tunesmith[postgres]'`.")
    return f"{_DRIVER}{separator}{rest}"

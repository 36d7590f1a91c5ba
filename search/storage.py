"""What a spec says of where a search is kept: a folder, and maybe a database beside it. Opens nothing.

`storage: ./searches` is short for `storage: {path: ./searches}`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from analysis.records import SearchFiles
from analysis.study_place import check_database
from search.units import Seconds
from spaces.errors import SpecError
from spaces.store import is_store, working_folder
from trainables.config import Section

DEFAULT_PATH = "./searches"


class StorageConfig(Section):
    """Where a search is kept."""

    path: Annotated[str, Field(min_length=1)] = DEFAULT_PATH
    """Folder that holds the search's folder: a path, or a URL of an object store (`s3://bucket/searches`, `gs://...`).
    """
    database: str | None = None
    """URL of a PostgreSQL database that holds the study, such as `postgresql://user@host/studies`; searches of several
    people may share one. The password comes from PGPASSWORD or ~/.pgpass. Default: `study.db` in the search's folder.
    """
    max_outage: Seconds = 300.0
    """How long a search waits for a database that does not answer. After that it stops, and can be resumed. An object
    store is waited for without end: the search goes on meanwhile."""

    def files(self, name: str) -> SearchFiles:
        """The folder of the search called `name`."""
        return SearchFiles(working_folder(f"{self.path}/{name}"))

    @field_validator("path")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if not separator or is_store(value):
            return value.rstrip("/") if is_store(value) else value
        if scheme == "file":
            return f"/{rest.lstrip('/')}"
        raise SpecError(
            f"a search is kept in a folder, in `s3://BUCKET/...` or in `gs://BUCKET/...`, but got `{scheme}://`."
        )

    @field_validator("database")
    @classmethod
    def _is_a_database(cls, value: str | None) -> str | None:
        return None if value is None else check_database(value)

    @model_serializer(mode="wrap")
    def _short_where_it_can_be(self, as_mapping: SerializerFunctionWrapHandler) -> Any:
        mapping = as_mapping(self)
        return self.path if self == StorageConfig(path=self.path) else mapping


def _path_as_mapping(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


Storage = Annotated[StorageConfig, BeforeValidator(_path_as_mapping, json_schema_input_type=str | StorageConfig)]


def moved(storage: Any, path: str | Path) -> Any:
    """`storage`, as a spec has it, with another folder and all else as it was."""
    return {**storage, "path": str(path)} if isinstance(storage, Mapping) else str(path)

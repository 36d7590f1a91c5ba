"""The columns that a task reads from its source: their names, and what a value in them must be. Reads nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from spaces.errors import SpecError

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "label"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of the source, and what it is for."""

    role: str
    """What the documents call it, whatever the source does: `text`, `label`, ..."""
    name: str
    """Its name in the source."""
    kind: Kind = "text"
    """What a value in it must be. A `label` is a class: a string, an integer or a truth value."""

    @property
    def path(self) -> str:
        """The key that names it in a spec."""
        return f"data.{self.role}"

    @property
    def arrow_type(self) -> "pa.DataType":
        """How its checked values are kept on disk."""
        import pyarrow as pa

        return {"text": pa.large_string(), "label": pa.string()}[self.kind]

    def checked(self, value: Any, *, where: str) -> Any:
        """`value` as it is kept. Raises SpecError when it is missing or of another kind."""
        if value is None:
            raise SpecError(
                f"every document needs a {self.role}, but {where} has none in `{self.name}`.", path=self.path
            )
        return _CHECKS[self.kind](self, value, where)


def class_column(columns: Iterable[Column]) -> Column | None:
    """The column whose values are classes, if the task has one."""
    return next((column for column in columns if column.kind == "label"), None)


def roles(columns: Sequence[Column]) -> tuple[str, ...]:
    """The roles, in order."""
    return tuple(column.role for column in columns)


def _checked_text(column: Column, value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise SpecError(f"`{column.name}` must hold text, but {where} holds {type(value).__name__}.", path=column.path)
    return value


def _checked_label(column: Column, value: Any, where: str) -> str:
    if not isinstance(value, str | bool | int):
        raise SpecError(
            f"a label is a string, an integer or a truth value, but {where} holds {type(value).__name__} "
            f"in `{column.name}`.",
            path=column.path,
        )
    return str(value)


_CHECKS = {"text": _checked_text, "label": _checked_label}

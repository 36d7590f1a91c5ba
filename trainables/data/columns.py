"""The columns that a task reads from its source: their names, and what a value in them must be. Reads nothing."""

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from spaces.errors import SpecError
from trainables.config import DataConfig

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "label", "labels", "number", "words", "tags", "messages", "group", "time", "optional text"]
CLASS_KINDS = {"label", "labels", "tags"}
ROLES = ("system", "user", "assistant")
_ADJECTIVES = {"chosen", "rejected"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of the source, and what it is for."""

    role: str
    """What the documents call it, whatever the source does: `text`, `label`, ..."""
    name: str
    """Its name in the source."""
    kind: Kind = "text"
    """What a value in it must be. A `label` is a class: a string, an integer or a truth value; `labels` are any number
    of them, `tags` one for each of the `words`. An `optional text` may be missing; `messages` are a conversation."""

    @property
    def path(self) -> str:
        """The key that names it in a spec."""
        return "data.curriculum.by" if self.role == DIFFICULTY else f"data.{self.role}"

    @property
    def described(self) -> str:
        """What it holds, for a person."""
        words = {"label": "labels", "labels": "lists of labels", "number": "numbers", "words": "words", "tags": "tags",
                 "messages": "messages", "optional text": f"{self.role} texts"}  # fmt: skip
        return words.get(self.kind, f"{self.role} texts" if self.role in _ADJECTIVES else f"{self.role}s")

    @property
    def arrow_type(self) -> "pa.DataType":
        """How its checked values are kept on disk."""
        import pyarrow as pa

        one = {
            "text": pa.large_string(),
            "optional text": pa.large_string(),
            "messages": _message_lists(),
            "label": pa.string(),
            "number": pa.float64(),
            "group": pa.string(),
            "time": pa.float64(),
        }
        return one[self.kind] if self.kind in one else pa.list_(pa.string())

    def checked(self, value: Any, *, where: str) -> Any:
        """`value` as it is kept. Raises SpecError when it is missing or of another kind."""
        if value is None and self.kind == "optional text":
            return ""
        if value is None:
            raise SpecError(
                f"every document needs a {self.role}, but {where} has none in `{self.name}`.", path=self.path
            )
        return _CHECKS[self.kind](self, value, where)


DIFFICULTY = "difficulty"


def difficulty_columns(data: DataConfig) -> tuple[Column, ...]:
    """The column that a curriculum orders documents by, where it names one."""
    if data.curriculum is None or data.curriculum.by == "length":
        return ()
    return (Column(role=DIFFICULTY, name=data.curriculum.by, kind="number"),)


def split_columns(data: DataConfig) -> tuple[Column, ...]:
    """The column that documents are split by, where there is one. Its role cannot be a task's."""
    if data.splits.by == "group":
        return (Column(role="splits.group", name=str(data.splits.group), kind="group"),)
    if data.splits.by == "time":
        return (Column(role="splits.time", name=str(data.splits.time), kind="time"),)
    return ()


def _message_lists() -> "pa.DataType":
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.large_string())]))


def class_column(columns: Iterable[Column]) -> Column | None:
    """The column whose values are classes, if the task has one."""
    return next((column for column in columns if column.kind in CLASS_KINDS), None)


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


def _checked_labels(column: Column, value: Any, where: str) -> list[str]:
    if isinstance(value, str):  # a cell of a csv file
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list):
        raise SpecError(
            f"`{column.name}` must hold a list of labels, but {where} holds {type(value).__name__}.", path=column.path
        )
    return [_checked_label(column, label, where) for label in value]


def _checked_number(column: Column, value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise SpecError(f"`{column.name}` must hold finite numbers, but {where} holds {value!r}.", path=column.path)
    return number


def _checked_time(column: Column, value: Any, where: str) -> float:
    if isinstance(value, datetime.datetime | datetime.date):
        value = value.isoformat()
    if isinstance(value, str):
        try:
            moment = datetime.datetime.fromisoformat(value.strip())
        except ValueError:
            return _checked_number(column, value, where)  # a number in a csv file
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    return _checked_number(column, value, where)


def _checked_words(column: Column, value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise SpecError(
            f"`{column.name}` must hold a list of words, but {where} holds {type(value).__name__}.", path=column.path
        )
    return value


def _checked_tags(column: Column, value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        raise SpecError(
            f"`{column.name}` must hold a list with a tag for each word, but {where} holds {type(value).__name__}.",
            path=column.path,
        )
    return [_checked_label(column, tag, where) for tag in value]


def _checked_messages(column: Column, value: Any, where: str) -> list[dict[str, str]]:
    """A conversation in which the assistant says something; the system speaks first, if at all."""
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise SpecError(
            f"`{column.name}` must hold a list of messages, but {where} holds {type(value).__name__}.", path=column.path
        )
    checked = []
    for number, message in enumerate(value):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES or (role == "system" and number) or not isinstance(content, str):
            raise SpecError(
                f"a message is `{{role, content}}`, a text as content and a role of {', '.join(ROLES)} (system only at "
                f"the start), but message {number + 1} of {where} has role {role!r} and a content of type "
                f"{type(content).__name__}.",
                path=column.path,
            )
        checked.append({"role": role, "content": content})
    if not any(message["role"] == "assistant" for message in checked):
        raise SpecError(f"the assistant says nothing in {where}: there is nothing to learn.", path=column.path)
    return checked


_CHECKS = {
    "text": _checked_text,
    "optional text": _checked_text,
    "messages": _checked_messages,
    "label": _checked_label,
    "labels": _checked_labels,
    "number": _checked_number,
    "words": _checked_words,
    "tags": _checked_tags,
    "group": _checked_label,
    "time": _checked_time,
}

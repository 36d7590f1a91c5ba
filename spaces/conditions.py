"""Conditions between parameters: does one hold, and in which order can they be decided. Knows no distributions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spaces.documents import Value, get_path, has_path, same_value
from spaces.errors import SpecError


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A path must have one of some values."""

    allowed: tuple[Value, ...]
    """The values."""
    searched: str | None
    """The parameter that decides; None when the base document does."""
    inside: str = ""
    """The way into the parameter's value, when that is a mapping; empty for the value itself."""
    holds_in_document: bool = False
    """What the base document says, when it decides."""

    def holds(self, assignment: Mapping[str, Any]) -> bool:
        """Whether it holds. An inactive parameter has no value, so nothing holds of it."""
        if self.searched is None:
            return self.holds_in_document
        if self.searched not in assignment:
            return False
        value = assignment[self.searched]
        if self.inside:
            return isinstance(value, Mapping) and _has_allowed(value, self.inside, self.allowed)
        return any(same_value(value, allowed) for allowed in self.allowed)


def resolve_condition(
    path: str, allowed: tuple[Value, ...], *, searched: Iterable[str], document: Mapping[str, Any]
) -> Condition:
    """The condition that `path` has one of `allowed`, once it is known who decides it."""
    for parameter in searched:
        if path == parameter:
            return Condition(allowed=allowed, searched=parameter)
        if path.startswith(f"{parameter}."):
            return Condition(allowed=allowed, searched=parameter, inside=path.removeprefix(f"{parameter}."))
    return Condition(allowed=allowed, searched=None, holds_in_document=_has_allowed(document, path, allowed))


def order_by_dependency(needs: Mapping[str, set[str]]) -> list[str]:
    """The keys of `needs`, each after the keys it needs, otherwise in their given order.

    Raises:
        SpecError: they need each other in a circle; the message is the circle.
    """
    ordered: dict[str, None] = {}

    def place(key: str, way: tuple[str, ...]) -> None:
        if key in way:
            raise SpecError(" -> ".join(f"`{part}`" for part in (*way[way.index(key) :], key)))
        if key in ordered:
            return
        for other in needs:
            if other in needs[key]:
                place(other, (*way, key))
        ordered[key] = None

    for key in needs:
        place(key, ())
    return list(ordered)


def _has_allowed(document: Mapping[str, Any], path: str, allowed: tuple[Value, ...]) -> bool:
    if not has_path(document, path):
        return False
    value = get_path(document, path)
    return any(same_value(value, one) for one in allowed)

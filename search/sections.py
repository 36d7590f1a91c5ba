"""Sections that begin with a name: arguments of another name are refused. Knows no algorithm and no scheduler."""

from collections.abc import Mapping

from pydantic import BaseModel

from spaces.errors import SpecError


def refuse_arguments(section: BaseModel, name: str, owners: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse an argument that `name` does not have. `owners`: argument -> the names that have it.

    Raises:
        SpecError: with the argument's key.
    """
    for argument, those in owners.items():
        # A recorded spec has all defaults filled in: only other values were meant.
        given, default = getattr(section, argument), type(section).model_fields[argument].default
        if name in those or given == default:
            continue
        shown = ", ".join(f"`{owner}`" for owner in those[:-1]) + (" and " if len(those) > 1 else "") + f"`{those[-1]}`"
        verb = "have" if len(those) > 1 else "has"
        raise SpecError(
            f"only {shown} {verb} this, but the name is `{name}`: leave it out, or use "
            f"{'one of them' if len(those) > 1 else shown}.",
            path=argument,
        )

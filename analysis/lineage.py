"""How the trials of a search hang together: which one runs another again, goes on from it, or came from elsewhere.

A finished trial of a study cannot be opened again, so what goes on is a new trial that says where it comes from. Knows
no database and no files.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

OriginKind = Literal["retry", "extension", "inherited"]
ORIGIN = "origin"
"""User attribute of a trial: its origin."""
LENGTHENED_AT = "lengthened_at"
"""User attribute of a study: how many trials there were when trials were last given more training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a trial comes from that no algorithm has suggested."""

    kind: OriginKind
    """`retry`: it runs a failed trial again. `extension`: it trains a finished one for longer. `inherited`: it is the
    evidence of another search and was never run in this one."""
    trial: int
    """Number of the earlier trial."""
    search: str | None = None
    """Folder of the search that has the earlier trial, where that is another one."""
    revision: int | None = None
    """The revision of the spec that asked for it."""
    seconds_before: float = 0.0
    """Of its wall time what the earlier trial spent already."""
    energy_before_wh: float = 0.0
    """Of its energy what the earlier trial used already."""

    def to_json(self) -> dict[str, Any]:
        """As the attribute of a trial."""
        return asdict(self)

    @staticmethod
    def from_attributes(attributes: Mapping[str, Any]) -> "Origin | None":
        """The origin in the attributes of a trial; None for one that an algorithm suggested."""
        found = attributes.get(ORIGIN)
        return None if found is None else Origin(**found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """What follows from the origins of all trials."""

    superseded: Mapping[int, int]
    """Trial -> the later trial that stands for it now."""
    shortened: frozenset[int]
    """Trials that trained to an end which is none any more, since others train for longer now."""
    adopted: frozenset[int]
    """Trials that no algorithm suggested."""


def lineage(origins: Mapping[int, Origin], *, completed: Collection[int], lengthened_at: int | None) -> Lineage:
    """The lineage of a search.

    Args:
        origins: By number, of the trials that have one.
        completed: Numbers of the trials that trained to an end.
        lengthened_at: How many trials there were when trials were last given more training.
    """
    superseded = {origin.trial: number for number, origin in origins.items() if origin.kind != "inherited"}
    return Lineage(
        superseded=superseded,
        shortened=frozenset(number for number in completed if number < (lengthened_at or 0)) - superseded.keys(),
        adopted=frozenset(origins),
    )

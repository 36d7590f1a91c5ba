"""What a spec says of learning from other searches. Reads none."""

from typing import Any

from pydantic import NonNegativeInt

from analysis.wandb_address import parse_address
from trainables.section import Section


class WarmStartConfig(Section):
    """What is learned from one other search."""

    search: str
    """The other search: its folder, `wandb:ENTITY/PROJECT/GROUP` or any other source that `leaderboard` reads. Runs,
    studies and tables of others give points only, by the names of their parameters."""
    points: NonNegativeInt = 5
    """So many of its best configurations are tried first, as far as they fit this space. Those that are evidence
    already are not run again."""
    evidence: bool = True
    """Whether its trials count as this search's own where the rest of the document is equal: they are ranked, and the
    algorithm learns from them."""


def as_warm_start(value: Any) -> Any:
    """A source is short for `{search: SOURCE}`.

    Raises:
        SpecError: it names W&B, but nothing in it.
    """
    source = value.get("search") if isinstance(value, dict) else value
    if isinstance(source, str) and source.startswith("wandb:"):
        parse_address(source)
    return {"search": value} if isinstance(value, str) else value

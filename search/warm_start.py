"""What a spec says of learning from other searches. Reads none."""

from typing import Any

from pydantic import NonNegativeInt

from spaces.errors import SpecError
from trainables.section import Section


class WarmStartConfig(Section):
    """What is learned from one other search."""

    search: str
    """The folder of the other search."""
    points: NonNegativeInt = 5
    """So many of its best configurations are tried first, as far as they fit this space. Those that are evidence
    already are not run again."""
    evidence: bool = True
    """Whether its trials count as this search's own where the rest of the document is equal: they are ranked, and the
    algorithm learns from them."""


def as_warm_start(value: Any) -> Any:
    """A folder is short for `{search: FOLDER}`."""
    place = value.get("search") if isinstance(value, dict) else value
    if isinstance(place, str) and place.startswith("wandb:"):
        raise SpecError(
            f"searches in W&B cannot be read yet, but got `{place}`: give the search's folder. Reading `wandb:` comes "
            "with `analysis`."
        )
    return {"search": value} if isinstance(value, str) else value

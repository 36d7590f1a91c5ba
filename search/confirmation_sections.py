"""What the spec of a confirmation says: which configurations are trained again, and with which seeds.

Written by `tunesmith confirm`, and kept in the spec of the confirmation's folder, so that it can be gone on with.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from spaces.errors import SpecError
from trainables.section import Section


class ConfirmedConfiguration(Section):
    """One configuration, trained once for each seed."""

    name: str
    """What it is called, such as `trial 7`."""
    kind: Literal["trial", "published", "base"]
    """A trial of the search; the best point of a published grid; or the spec as it stands, with nothing tuned."""
    trial: NonNegativeInt | None = None
    """Its number in the search."""
    params: dict[str, Any] = Field(default_factory=dict)
    """What the search has given it."""
    searched: dict[str, float] = Field(default_factory=dict)
    """Its objectives as the search measured them."""
    document: dict[str, Any]
    """The trial document."""


class ConfirmationConfig(Section):
    """Configurations that are trained again with fresh seeds, and measured on the test split."""

    search: str
    """Name of the search; the W&B group of the runs."""
    fingerprint: str
    """That of the search, with which the ids of the runs begin."""
    number: PositiveInt
    """1 for the first confirmation of the search."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
    """What `training.seed` is in each training; `config.seed` for a function of one's own."""
    configurations: Annotated[tuple[ConfirmedConfiguration, ...], Field(min_length=1)]
    """The search's winner first."""
    with_baseline: bool = True
    """Whether a baseline was asked for."""
    notes: tuple[str, ...] = ()
    """What a reader should know of how it was made."""

    @model_validator(mode="after")
    def _names_differ(self) -> "ConfirmationConfig":
        names = [configuration.name for configuration in self.configurations]
        if len(set(names)) < len(names) or len(set(self.seeds)) < len(self.seeds):
            raise SpecError("each configuration has a name of its own, and each seed stands once.")
        return self

    @property
    def num_trainings(self) -> int:
        """One for each configuration and seed."""
        return len(self.seeds) * len(self.configurations)

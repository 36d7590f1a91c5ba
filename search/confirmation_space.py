"""The space of a confirmation: which configuration with which seed. Each point is a trial document as it was, seeded
anew and measured on the test split.

Knows no search and no study.
"""

import copy
from collections.abc import Mapping
from typing import Any

from search.confirmation_sections import ConfirmationConfig
from spaces.distributions import Choice
from spaces.parameters import Parameter
from spaces.space import Space

CONFIGURATION, SEED = "configuration", "seed"
"""Parameters of a confirmation's trials."""


class ConfirmationSpace(Space):
    """All pairs of a configuration and a seed. Every configuration has a seed before any has the next, so that also an
    unfinished confirmation compares on the same seeds."""

    def __init__(self, config: ConfirmationConfig) -> None:
        names = tuple(configuration.name for configuration in config.configurations)
        super().__init__(
            [
                Parameter(path=SEED, distribution=Choice(values=config.seeds)),
                Parameter(path=CONFIGURATION, distribution=Choice(values=names)),
            ],
            constraints=(),
            derive={},
            document=config.configurations[0].document,
        )
        self._documents = {configuration.name: configuration.document for configuration in config.configurations}

    def apply(self, assignment: Mapping[str, Any]) -> dict[str, Any]:
        """The trial document of a configuration with a seed."""
        self._check_known(assignment)
        return confirming(self._documents[assignment[CONFIGURATION]], seed=assignment[SEED])


def confirming(document: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """`document` with `seed`, one training long, and measured on the test split."""
    made: dict[str, Any] = copy.deepcopy(dict(document))
    made.pop("folds", None)
    if "trainable" in made:
        made["config"] |= {"seed": seed, "measure_test": True}
    else:
        made["training"]["seed"] = seed
        made["measure_test"] = True
    return made

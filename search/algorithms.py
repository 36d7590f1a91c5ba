"""What a spec says of its algorithm: names, arguments, which argument belongs to which. Imports no optuna."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from search.sections import refuse_arguments
from trainables.config import Section

AlgorithmName = Literal[
    "auto", "grid", "brute_force", "random", "quasi_random", "tpe", "gp", "cma_es", "nsga2", "nsga3"
]

FINITE = ("grid", "brute_force")
"""Algorithms that list all points of a space."""
_ARGUMENTS = {
    "startup_trials": ("tpe", "gp"),
    "startup": ("tpe", "gp"),
    "candidates": ("tpe",),
    "sequence": ("quasi_random", "tpe", "gp"),
    "population": ("cma_es", "nsga2", "nsga3"),
}
"""Argument -> the algorithms that have it."""


class AlgorithmConfig(Section):
    """How configurations are chosen."""

    name: AlgorithmName = "tpe"
    """`auto` chooses one of the others by space and number of trials. `grid`: all combinations in order;
    `brute_force`: all in random order. `random`. `quasi_random`: a Sobol or Halton sequence, more even than random.
    `tpe` and `gp`: Bayesian, learn from finished, early-stopped and failed trials. `cma_es`, `nsga2`, `nsga3`:
    evolution, for hundreds of trials."""
    startup_trials: PositiveInt | None = None
    """tpe, gp: trials before the model takes over. Default: a third of `trials`, 4 to 10."""
    startup: Literal["random", "quasi_random"] = "random"
    """tpe, gp: how these are drawn."""
    candidates: PositiveInt = 24
    """tpe: candidates weighed for each suggestion."""
    sequence: Literal["sobol", "halton"] = "sobol"
    """quasi_random: which sequence."""
    population: Annotated[int, Field(ge=2)] | None = None
    """cma_es, nsga2, nsga3: trials in a generation. Default: 4 + 3 ln(parameters) for cma_es, 50 for the others."""

    def has(self, argument: str) -> bool:
        """Whether the algorithm has this argument."""
        return self.name in _ARGUMENTS[argument]

    @model_validator(mode="after")
    def _arguments_belong_to_it(self) -> "AlgorithmConfig":
        refuse_arguments(self, self.name, _ARGUMENTS)
        return self


def with_startup_trials(config: AlgorithmConfig, num_trials: int) -> AlgorithmConfig:
    """The number of startup trials filled in where the algorithm has them and the spec leaves them open."""
    if not config.has("startup_trials") or config.startup_trials is not None:
        return config
    return config.model_copy(update={"startup_trials": max(4, min(10, num_trials // 3))})

"""What `algorithm: auto` stands for: a rule by space, number of trials and parallelism. Imports no optuna."""

from dataclasses import dataclass

from search.algorithms import AlgorithmConfig
from spaces.distributions import Choice
from spaces.space import Space


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What the rule looks at."""

    num_trials: int
    """Trials that there will be."""
    grid_size: int | None
    """Points of the space; None when it is not finite, or too large to count."""
    num_parameters: int
    """Parameters that vary."""
    num_categorical: int
    """Those without an order."""
    is_conditional: bool
    """Whether some exist only under conditions."""
    num_parallel: int = 1
    """Trials at once."""

    @staticmethod
    def of(space: Space, *, num_trials: int, num_parallel: int = 1) -> "Situation":
        """The situation of a search over `space`."""
        return Situation(
            num_trials=num_trials,
            grid_size=space.grid_size(constrained=False) if space.is_finite else None,
            num_parameters=len(space.parameters),
            num_categorical=sum(isinstance(parameter.distribution, Choice) for parameter in space.parameters),
            is_conditional=space.is_conditional,
            num_parallel=num_parallel,
        )


def chosen(config: AlgorithmConfig, situation: Situation) -> tuple[AlgorithmConfig, str]:
    """The algorithm that `auto` stands for, and why, in words. Other algorithms stand for themselves."""
    if config.name != "auto":
        return config, ""
    if situation.grid_size is not None and situation.num_trials >= situation.grid_size:
        return AlgorithmConfig(name="grid"), "there are trials for all points of the space"
    return AlgorithmConfig(name="tpe", startup="quasi_random"), "the default"

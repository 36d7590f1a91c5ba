"""What `algorithm: auto` stands for: a rule by space, number of trials and parallelism. Imports no optuna."""

from dataclasses import dataclass

from search.algorithms import AlgorithmConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What the rule looks at."""

    num_trials: int
    """Trials that there will be."""
    grid_size: int | None
    """Points that the constraints of the space leave; None when it is not finite, or too large to count."""
    num_parallel: int = 1
    """Trials at once."""
    has_priors: bool = False
    """Whether the user believes something of where the best values lie."""


def chosen(config: AlgorithmConfig, situation: Situation) -> tuple[AlgorithmConfig, str]:
    """The algorithm that `auto` stands for, and why, in words. Other algorithms stand for themselves."""
    if config.name != "auto":
        return config, ""
    if situation.grid_size is not None and situation.num_trials >= situation.grid_size:
        return AlgorithmConfig(name="grid"), "there are trials for all points of the space"
    if 2 * situation.num_parallel >= situation.num_trials:
        reason = "half of the trials or more start before one has ended"
        return AlgorithmConfig(name="random" if situation.has_priors else "quasi_random"), reason
    return AlgorithmConfig(name="tpe"), "the space is larger than the number of trials"

"""Checks whether an algorithm can use the priors of a space. Imports no optuna."""

from search.algorithms import AlgorithmConfig
from spaces.errors import SpecError
from spaces.space import Space

BELIEVING = ("auto", "random", "tpe")
"""Algorithms that weigh in priors."""


def check_priors(algorithm: AlgorithmConfig, space: Space, *, num_objectives: int = 1) -> None:
    """Raise SpecError when `algorithm` would pass over the priors of `space`."""
    path = next((parameter.path for parameter in space.parameters if parameter.prior is not None), None)
    if path is None:
        return
    if num_objectives > 1:
        raise SpecError(
            "a prior says where the best value of one metric lies, but there are several: leave it out, or search for "
            "one metric.",
            path=f"space.{path}.prior",
        )
    if algorithm.name not in BELIEVING:
        raise SpecError(
            f"`space.{path}` has a prior, which {', '.join(f'`{name}`' for name in BELIEVING)} can use, but the "
            f"algorithm is `{algorithm.name}`: use one of them, or leave `prior` out. `start_from` tries points first "
            "with every algorithm.",
            path="search.algorithm",
        )
    if algorithm.startup == "quasi_random":
        raise SpecError(
            f"`space.{path}` has a prior: half of the first trials are drawn from it and the others at random. Leave "
            "this out.",
            path="search.algorithm.startup",
        )

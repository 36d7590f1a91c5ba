"""Checks the points that a search is to start from against its space. Knows no algorithm."""

from random import Random
from typing import Any

from search.first_guesses import check_first_guesses
from search.spec import SearchSpec
from spaces.errors import SpecError
from spaces.space import Space


def check_start_points(spec: SearchSpec, space: Space, *, num_trials: int) -> None:
    """Refuse points that cannot be tried.

    Raises:
        SpecError: at `search.start_from.N` or below.
    """
    points = spec.search.start_from
    if isinstance(points, str):
        check_first_guesses(spec, space)
        return
    if len(points) > num_trials:
        raise SpecError(
            f"there are {len(points)} points to start from, but only {num_trials} trials: give more `trials`.",
            path="search.start_from",
        )
    whole: list[dict[str, Any]] = []
    for index, point in enumerate(points):
        try:
            completed = space.complete(point, Random(spec.search.seed))
        except SpecError as error:
            raise error.at(f"search.start_from.{index}") from None
        if completed.keys() == point.keys():
            if completed in whole:
                raise SpecError(
                    "this point stands there already, and none is run twice.", path=f"search.start_from.{index}"
                )
            whole.append(completed)

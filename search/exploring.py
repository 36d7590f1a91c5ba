"""How a population changes values: PBT's perturbations and PB2's Gaussian process, Tune's code within our space."""

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from ray.tune.schedulers import pb2, pbt
from sklearn.exceptions import ConvergenceWarning

from search.population import Observation
from search.rules import HandOver
from search.stopping import SchedulerConfig
from spaces.distributions import Choice, Distribution, Int, LogInt, LogUniform
from spaces.space import Assignment, Space

_ATTEMPTS = 20
_MOST_NEIGHBOURS = 1000
"""A stepped range with more values than this is changed by a factor."""


class Perturbation:
    """PBT (Jaderberg et al. 2017): a value is drawn anew, or multiplied by 0.8 or 1.2, or moved to its neighbour."""

    def __init__(self, space: Space, config: SchedulerConfig, *, mutate: Sequence[str]) -> None:
        self._space = space
        self._config = config
        self._distributions = {each.path: each.distribution for each in space.parameters if each.path in mutate}

    def observe(self, observation: Observation) -> None:
        """Nothing is learned."""

    def adopt(self, hand_over: HandOver, *, score: float) -> None:
        """The same."""

    def explore(self, donor: Observation, *, seed: int, is_first: bool) -> Assignment:
        """The donor's values, perturbed. What the constraints forbid is tried again; in the end nothing is changed."""
        for attempt in range(_ATTEMPTS):
            changed = {**donor.assignment, **self._perturbed(donor.assignment, Random(seed + attempt))}
            if self._space.is_allowed(changed):
                return changed
        return dict(donor.assignment)

    def _perturbed(self, assignment: Assignment, generator: Random) -> Assignment:
        mutations: dict[str, Any] = {}
        for path, distribution in self._distributions.items():
            if path in assignment:
                neighbours = _neighbours(distribution)
                mutations[path] = neighbours or (lambda drawn=distribution: drawn.sample(generator))
        with _seeded(generator.randrange(2**32)):
            explored, _ = pbt._explore(
                {path: assignment[path] for path in mutations},
                mutations,
                self._config.resample_probability,
                tuple(self._config.factors),
                None,
            )
        return {path: _within(self._distributions[path], value) for path, value in explored.items()}


class Bandit:
    """PB2 (Parker-Holder et al. 2020): a Gaussian process over time, score and values says what improves most."""

    def __init__(self, space: Space, config: SchedulerConfig, *, mutate: Sequence[str]) -> None:
        self._space = space
        self._perturbation = Perturbation(space, config, mutate=mutate)
        self._distributions = {each.path: each.distribution for each in space.parameters if each.path in mutate}
        self._bounds = {path: _scaled_bounds(each) for path, each in self._distributions.items()}
        self._rows: list[dict[str, Any]] = []
        self._chosen: list[list[float]] = []

    def observe(self, observation: Observation) -> None:
        """A point of the Gaussian process."""
        self._note(observation.number, observation.resource, observation.score, observation.assignment)

    def adopt(self, hand_over: HandOver, *, score: float) -> None:
        """The receiver begins a new line, where its donor is."""
        self._note(hand_over.receiver, hand_over.resource, score, hand_over.assignment)

    def explore(self, donor: Observation, *, seed: int, is_first: bool) -> Assignment:
        """What the Gaussian process wants, in the first round a perturbation."""
        if is_first:
            self._chosen = []
        place = self._place(donor.assignment)
        current = np.array(self._chosen) if self._chosen else None
        with _seeded(seed):
            explored, _ = pb2._explore(
                pd.DataFrame(self._rows), self._bounds, current, str(donor.number), "new", dict(place)
            )
        self._chosen.append([explored[path] for path in self._bounds])
        if explored == place:  # nothing is known of the donor's values yet
            return self._perturbation.explore(donor, seed=seed, is_first=is_first)
        values = {path: _from_scale(each, explored[path]) for path, each in self._distributions.items()}
        changed = {**donor.assignment, **values}
        if not self._space.is_allowed(changed):
            return self._perturbation.explore(donor, seed=seed, is_first=is_first)
        return changed

    def _note(self, number: int, resource: float, score: float, assignment: Mapping[str, Any]) -> None:
        self._rows.append({"Trial": str(number), "Time": resource, **self._place(assignment), "Reward": score})

    def _place(self, assignment: Mapping[str, Any]) -> dict[str, float]:
        return {path: _to_scale(each, assignment[path]) for path, each in self._distributions.items()}


def _neighbours(distribution: Distribution) -> list[Any]:
    """The values of a finite range, in order; none for one that is continuous."""
    if isinstance(distribution, Choice):
        return list(distribution.values)
    count = distribution.num_values
    return list(distribution.grid()) if count is not None and count <= _MOST_NEIGHBOURS else []


def _within(distribution: Distribution, value: Any) -> Any:
    """The nearest value that the range has."""
    if isinstance(distribution, Choice):
        return value
    whole = round(value) if isinstance(distribution, Int | LogInt) else value
    return distribution.from_optuna_value(distribution.to_optuna_value(whole))


def _is_log(distribution: Distribution) -> bool:
    return isinstance(distribution, LogUniform | LogInt)


def _to_scale(distribution: Distribution, value: Any) -> float:
    return float(np.log(value)) if _is_log(distribution) else float(value)


def _from_scale(distribution: Distribution, value: float) -> Any:
    return _within(distribution, float(np.exp(value)) if _is_log(distribution) else float(value))


def _scaled_bounds(distribution: Any) -> tuple[float, float]:
    return _to_scale(distribution, distribution.low), _to_scale(distribution, distribution.high)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Tune draws from the global generators: seeded for the time of the block, and put back after it."""
    before, before_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        with warnings.catch_warnings():
            # Tune's kernel says at each fit how near its parameters are to their bounds.
            warnings.simplefilter("ignore", ConvergenceWarning)
            yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)

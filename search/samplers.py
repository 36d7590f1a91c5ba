"""SAMPLERS: how the next configuration is chosen. Optuna's samplers with every argument pinned, and our own lists.

Each builder takes the space, the algorithm's part of the spec and the seed of the search.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from search.algorithms import AlgorithmConfig
from search.believing import BelievingRandomProposer, BelievingStartup, BelievingTPESampler
from search.proposers import (
    GridProposer,
    PhasedProposer,
    Proposer,
    RandomProposer,
    SamplerProposer,
    StartedProposer,
)
from spaces.space import Space

BuildProposer = Callable[[Space, AlgorithmConfig, int], Proposer]
"""(space, configuration, seed of the search) -> proposer."""


def make_proposer(
    space: Space, config: AlgorithmConfig, *, seed: int, start_from: Sequence[Mapping[str, Any]] = ()
) -> Proposer:
    """The proposer of a search, the user's own points first."""
    proposer = SAMPLERS[config.name](space, config, seed)
    return StartedProposer(space, start_from, proposer, seed=seed) if start_from else proposer


@contextlib.contextmanager
def _experimental() -> Iterator[None]:
    """Optuna marks these parts as experimental at each use; our pin and our tests answer for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _grid(space: Space, config: AlgorithmConfig, seed: int) -> Proposer:
    return GridProposer(space)


def _brute_force(space: Space, config: AlgorithmConfig, seed: int) -> Proposer:
    return GridProposer(space, shuffle_seed=seed)


def _random(space: Space, config: AlgorithmConfig, seed: int) -> Proposer:
    if space.has_priors:
        return BelievingRandomProposer(space, seed=seed)
    return RandomProposer(space, seed=seed)


def _quasi_random(space: Space, config: AlgorithmConfig, seed: int) -> Proposer:
    # One sequence for the search: its position is kept in the study. Scrambled, so that seeds differ.
    def build(seed: int, trial_seed: int) -> BaseSampler:
        with _experimental():
            return QMCSampler(
                qmc_type=config.sequence, scramble=True, seed=seed, independent_sampler=RandomSampler(seed=trial_seed),
                warn_asynchronous_seeding=False, warn_independent_sampling=False,
            )  # fmt: skip

    return SamplerProposer(space, seed=seed, build=build)


def _tpe(space: Space, config: AlgorithmConfig, seed: int) -> Proposer:
    num_startup = config.startup_trials or 10
    # `group` gives each branch of a conditional space its own joint model, and costs time where there is none.
    # `constant_liar` keeps parallel trials apart by counting running ones as bad.
    with _experimental():
        build_sampler = partial(BelievingTPESampler, space) if space.has_priors else TPESampler
        sampler = build_sampler(
            n_startup_trials=num_startup, n_ei_candidates=config.candidates, multivariate=True,
            group=space.is_conditional, constant_liar=True, seed=0,
        )  # fmt: skip

    def build(seed: int, trial_seed: int) -> BaseSampler:
        # One sampler that is seeded anew keeps what it knows of the search space: a third of its time otherwise.
        for generator in (sampler._rng, sampler._random_sampler._rng):
            generator.rng.seed(trial_seed)
        return sampler

    model = SamplerProposer(space, seed=seed, build=build, ranks_stopped_trials=True)
    return _started(space, config, seed, model, num_startup=num_startup)


def _gp(space: Space, config: AlgorithmConfig, seed: int) -> Proposer:
    num_startup = config.startup_trials or 10

    def build(seed: int, trial_seed: int) -> BaseSampler:
        with _experimental():
            return GPSampler(
                seed=trial_seed, independent_sampler=RandomSampler(seed=trial_seed), n_startup_trials=num_startup,
                deterministic_objective=False, warn_independent_sampling=False,
            )  # fmt: skip

    return _started(space, config, seed, SamplerProposer(space, seed=seed, build=build), num_startup=num_startup)


def _cma_es(space: Space, config: AlgorithmConfig, seed: int) -> Proposer:
    def build(seed: int, trial_seed: int) -> BaseSampler:
        with _experimental():
            return CmaEsSampler(
                n_startup_trials=1, independent_sampler=RandomSampler(seed=trial_seed), seed=trial_seed,
                popsize=config.population, with_margin=True, warn_independent_sampling=False,
            )  # fmt: skip

    return SamplerProposer(space, seed=seed, build=build)


def _nsga2(space: Space, config: AlgorithmConfig, seed: int) -> Proposer:
    def build(seed: int, trial_seed: int) -> BaseSampler:
        return NSGAIISampler(population_size=config.population or 50, seed=trial_seed)

    return SamplerProposer(space, seed=seed, build=build)


def _nsga3(space: Space, config: AlgorithmConfig, seed: int) -> Proposer:
    def build(seed: int, trial_seed: int) -> BaseSampler:
        with _experimental():
            return NSGAIIISampler(population_size=config.population or 50, seed=trial_seed)

    return SamplerProposer(space, seed=seed, build=build)


def _started(space: Space, config: AlgorithmConfig, seed: int, model: Proposer, *, num_startup: int) -> Proposer:
    """`model` after its startup trials."""
    if space.has_priors:
        return PhasedProposer(BelievingStartup(space, seed=seed), model, num_first=num_startup)
    if config.startup == "random":
        return model
    return PhasedProposer(_quasi_random(space, config, seed), model, num_first=num_startup)


SAMPLERS: dict[str, BuildProposer] = {
    "grid": _grid,
    "brute_force": _brute_force,
    "random": _random,
    "quasi_random": _quasi_random,
    "tpe": _tpe,
    "gp": _gp,
    "cma_es": _cma_es,
    "nsga2": _nsga2,
    "nsga3": _nsga3,
}
"""Every algorithm but `auto`, which stands for one of these."""

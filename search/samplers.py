"""SAMPLERS: how the next configuration is chosen. Optuna's samplers, asked for whole configurations at a time.

A configuration is drafted and checked against the constraints before it is written down, so a rejected draft leaves
no trace. Each draft has its own seed, made of the search's seed and the trial's number: an interrupted search that
goes on suggests what it would have suggested.
"""

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from search.spec import AlgorithmConfig
from spaces.errors import SpecError
from spaces.space import Assignment, Space

_MODEL_ATTEMPTS = 200
_RANDOM_ATTEMPTS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A configuration that may become a trial."""

    assignment: Assignment
    """Dotted path -> value, as the trial document gets it."""
    params: dict[str, Any]
    """The same as Optuna stores it."""
    distributions: dict[str, BaseDistribution]
    """Optuna's distribution of each parameter."""


class Proposer(Protocol):
    """Chooses configurations for one space."""

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft | None:
        """A configuration for `trial`, which is running and still empty; None when there is none left."""


class GridProposer:
    """All points of the grid, in order. A point counts as done when a trial of the study has it."""

    def __init__(self, space: Space, config: AlgorithmConfig, *, seed: int) -> None:
        self._space = space
        self._points: Iterator[Assignment] = space.grid()
        self._taken: set[str] | None = None

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft | None:
        """The next point that no trial has."""
        if self._taken is None:
            self._taken = {_key(other.params) for other in study.get_trials(deepcopy=False)}
        for assignment in self._points:
            drafting = _FixedDraft(self._space, assignment)
            self._space.suggest(drafting)
            if _key(drafting.params) not in self._taken:
                return Draft(assignment=assignment, params=drafting.params, distributions=drafting.distributions)
        return None


class SamplerProposer:
    """Drafts by an Optuna sampler; what the constraints forbid is drawn again."""

    def __init__(self, space: Space, config: AlgorithmConfig, *, seed: int, build: "BuildSampler") -> None:
        self._space = space
        self._config = config
        self._seed = seed
        self._build = build

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft | None:
        """A draft that meets the constraints.

        Raises:
            SpecError: none was found in 10,000 attempts.
        """
        trial_seed = _seed_of(self._seed, trial.number)
        sampler = self._build(self._config, self._seed, trial_seed)
        broken = ""
        for attempt in range(_RANDOM_ATTEMPTS):
            if attempt == _MODEL_ATTEMPTS:
                # The model insists on a forbidden region: leave it.
                sampler = RandomSampler(seed=trial_seed)
            drafting = _SampledDraft(study, trial, sampler)
            assignment = self._space.suggest(drafting)
            broken_now = self._space.violated(assignment)
            if broken_now is None:
                return Draft(assignment=assignment, params=drafting.params, distributions=drafting.distributions)
            broken = broken_now
        raise SpecError(
            f"no configuration that meets all constraints was found in {_RANDOM_ATTEMPTS} attempts; the last one broke "
            f"`{broken}`.",
            path="constraints",
        )


BuildSampler = Callable[[AlgorithmConfig, int, int], BaseSampler]
"""(configuration, seed of the search, seed of this trial) -> sampler."""


@contextlib.contextmanager
def _experimental() -> Iterator[None]:
    """Optuna marks these parts as experimental at each use; our pin and our tests answer for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _random(config: AlgorithmConfig, seed: int, trial_seed: int) -> BaseSampler:
    return RandomSampler(seed=trial_seed)


def _quasi_random(config: AlgorithmConfig, seed: int, trial_seed: int) -> BaseSampler:
    # One sequence for the search: its position is kept in the study. Scrambled, so that seeds differ.
    with _experimental():
        return QMCSampler(
            qmc_type="sobol", scramble=True, seed=seed, independent_sampler=RandomSampler(seed=trial_seed),
            warn_asynchronous_seeding=False, warn_independent_sampling=False,
        )  # fmt: skip


def _tpe(config: AlgorithmConfig, seed: int, trial_seed: int) -> BaseSampler:
    # `group` gives each branch of a conditional space its own joint model; `constant_liar` keeps parallel trials
    # apart by counting running ones as bad.
    with _experimental():
        return TPESampler(
            n_startup_trials=config.startup_trials or 10, n_ei_candidates=config.candidates, seed=trial_seed,
            multivariate=True, group=True, constant_liar=True,
        )  # fmt: skip


def _grid(space: Space, config: AlgorithmConfig, *, seed: int) -> Proposer:
    return GridProposer(space, config, seed=seed)


def _by(build: BuildSampler) -> Callable[..., Proposer]:
    return lambda space, config, *, seed: SamplerProposer(space, config, seed=seed, build=build)


SAMPLERS: dict[str, Callable[..., Proposer]] = {
    "grid": _grid,
    "random": _by(_random),
    "quasi_random": _by(_quasi_random),
    "tpe": _by(_tpe),
}


@dataclass
class _Drafting:
    """Stands in for an Optuna trial while a configuration is drafted."""

    params: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """As `optuna.Trial.suggest_float`."""
        return float(self._draw(name, FloatDistribution(low, high, step=step, log=log)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """As `optuna.Trial.suggest_int`."""
        return int(self._draw(name, IntDistribution(low, high, step=step, log=log)))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """As `optuna.Trial.suggest_categorical`."""
        return self._draw(name, CategoricalDistribution(choices))

    def _draw(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self.params:
            self.params[name] = self._value(name, distribution)
            self.distributions[name] = distribution
        return self.params[name]

    def _value(self, name: str, distribution: BaseDistribution) -> Any:
        raise NotImplementedError


class _SampledDraft(_Drafting):
    """Draws as `optuna.Trial` does: jointly where the sampler can, else parameter by parameter."""

    def __init__(self, study: optuna.Study, trial: FrozenTrial, sampler: BaseSampler) -> None:
        super().__init__()
        self._study = study
        self._trial = trial
        self._sampler = sampler
        self._joint_space = sampler.infer_relative_search_space(study, trial)
        self._joint = sampler.sample_relative(study, trial, self._joint_space)

    def _value(self, name: str, distribution: BaseDistribution) -> Any:
        if distribution.single():
            return distribution.choices[0] if isinstance(distribution, CategoricalDistribution) else distribution.low
        if name in self._joint and self._joint_space.get(name) == distribution:
            return self._joint[name]
        return self._sampler.sample_independent(self._study, self._trial, name, distribution)


class _FixedDraft(_Drafting):
    """Answers with the values of a given configuration."""

    def __init__(self, space: Space, assignment: Assignment) -> None:
        super().__init__()
        self._stored = space.to_optuna_params(assignment)

    def _value(self, name: str, distribution: BaseDistribution) -> Any:
        return self._stored[name]


def _key(params: dict[str, Any]) -> str:
    return repr(sorted(params.items()))


def _seed_of(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")

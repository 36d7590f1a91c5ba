"""Drafts of configurations: drawn by an Optuna sampler, or given. A draft that is thrown away leaves no trace."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from spaces.space import Assignment, Space


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A configuration that may become a trial."""

    assignment: Assignment
    """Dotted path -> value, as the trial document gets it."""
    params: dict[str, Any]
    """The same as Optuna stores it."""
    distributions: dict[str, BaseDistribution]
    """Optuna's distribution of each parameter."""

    @property
    def key(self) -> str:
        """Equal for drafts that mean the same configuration."""
        return key_of(self.assignment)


def key_of(assignment: Mapping[str, Any]) -> str:
    """A text that is equal for equal assignments."""
    return repr(sorted(assignment.items()))


def sampled_draft(space: Space, study: optuna.Study, trial: FrozenTrial, sampler: BaseSampler) -> Draft:
    """What `sampler` suggests for `trial`. Constraints are not looked at."""
    drafting = _SampledDrafting(study, trial, sampler)
    assignment = space.suggest(drafting)
    return Draft(assignment=assignment, params=drafting.params, distributions=drafting.distributions)


def given_draft(space: Space, assignment: Assignment) -> Draft:
    """The draft of a whole assignment."""
    drafting = _GivenDrafting(space, assignment)
    return Draft(assignment=space.suggest(drafting), params=drafting.params, distributions=drafting.distributions)


@dataclass
class _Drafting(ABC):
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

    @abstractmethod
    def _value(self, name: str, distribution: BaseDistribution) -> Any:
        """The value of a parameter that has none yet."""


class _SampledDrafting(_Drafting):
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


class _GivenDrafting(_Drafting):
    """Answers with the values of a given configuration."""

    def __init__(self, space: Space, assignment: Assignment) -> None:
        super().__init__()
        self._stored = space.to_optuna_params(assignment)

    def _value(self, name: str, distribution: BaseDistribution) -> Any:
        return self._stored[name]

"""Proposers and a sampler that weigh in what the user believes, and less and less of it.

As in piBO (Hvarfner et al. 2022, arXiv 2204.11051), a belief counts with an exponent that falls with the number of
trials; and it counts only as far as trials near to it were better ones. So a wrong belief costs a few trials, and
washes out. Knows no spec.
"""

import math
from random import Random
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.drafts import Draft, given_draft
from search.proposers import RandomProposer, draw_new, seed_of, turn_of
from spaces.errors import SpecError
from spaces.priors import Prior
from spaces.space import Space

_STRENGTH = 10.0
"""piBO's beta: after so many trials, a belief counts as its density."""


class BelievingRandomProposer(RandomProposer):
    """Independent draws; a share of them, which falls with the number of trials, from the priors."""

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft | None:
        """A draw that meets the constraints and was not drawn before."""
        if self._points.are_exhausted(study):
            return None
        turn, taken = turn_of(trial), self._points.taken(study)
        generator = Random(seed_of(self._seed, turn))
        draft = self._believed_values(generator) if turn == 0 else None
        if draft is None:
            is_believed = generator.random() < self._share(turn)
            draft = draw_new(self._space, generator, taken, believing=is_believed)
        if draft is not None:
            taken.add(draft.key)
        return draft

    def _believed_values(self, generator: Random) -> Draft | None:
        """Just what the user believes in; None where the constraints forbid it."""
        centres = {
            parameter.path: parameter.prior.centre
            for parameter in self._space.parameters
            if parameter.prior is not None
        }
        try:
            return given_draft(self._space, self._space.complete(centres, generator, only_active=True))
        except SpecError:
            return None

    def _share(self, turn: int) -> float:
        return _STRENGTH / (_STRENGTH + turn)


class BelievingStartup(BelievingRandomProposer):
    """The first trials of a model: by turns from the priors and evenly, so that it sees whether they are right."""

    def _share(self, turn: int) -> float:
        return 1.0 if turn % 2 == 0 else 0.0


class BelievingTPESampler(TPESampler):
    """TPE whose candidates are weighed by the priors, too."""

    def __init__(self, space: Space, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._priors: dict[str, Prior] = {
            parameter.path: parameter.prior for parameter in space.parameters if parameter.prior is not None
        }
        self._distributions: dict[str, BaseDistribution] = {}
        self._exponent = 0.0

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._distributions, self._exponent = search_space, self._exponent_for(study)
        return super()._sample(study, trial, search_space)

    def _compute_acquisition_func(self, samples: dict[str, np.ndarray], *estimators: Any) -> np.ndarray:
        values = super()._compute_acquisition_func(samples, *estimators)
        if self._exponent == 0:
            return values
        for path, prior in self._priors.items():
            if path in samples:
                external = self._distributions[path].to_external_repr
                weights = [self._log_weight(prior, external(one)) for one in samples[path].tolist()]
                values = values + self._exponent * np.array(weights)
        return values

    def _exponent_for(self, study: optuna.Study) -> float:
        """How much the beliefs count after the trials of `study`."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        trials = study.get_trials(deepcopy=False, states=states)
        return (
            _STRENGTH
            / max(len(trials), 1)
            * max(0.0, agreement([self._belief(trial) for trial in trials], ranks(trials, study.direction)))
        )

    def _belief(self, trial: FrozenTrial) -> float:
        return sum(
            self._log_weight(prior, trial.params[path]) for path, prior in self._priors.items() if path in trial.params
        )

    @staticmethod
    def _log_weight(prior: Prior, stored: Any) -> float:
        return prior.log_weight(prior.distribution.from_optuna_value(stored))


def ranks(trials: list[FrozenTrial], direction: StudyDirection) -> list[float]:
    """The rank of each trial, 0 for the best: finished ones by their value, then stopped ones by how far they came."""
    sign = 1.0 if direction == StudyDirection.MINIMIZE else -1.0

    def key(trial: FrozenTrial) -> tuple[int, float, float]:
        if trial.state == TrialState.COMPLETE:
            return 0, 0.0, sign * float(trial.value)
        step, value = max(trial.intermediate_values.items(), default=(-1, math.inf))
        return 1, -float(step), sign * value if math.isfinite(value) else math.inf

    keys = [key(trial) for trial in trials]
    return _mean_ranks(keys)


def agreement(beliefs: list[float], ranked: list[float]) -> float:
    """Rank correlation between how far trials were believed in and how good they were: 1 when the beliefs are right."""
    if len(beliefs) < 2:
        return 0.0
    believed = np.array(_mean_ranks([-belief for belief in beliefs]))
    found = np.array(ranked)
    if believed.std() == 0 or found.std() == 0:
        return 0.0
    return float(np.corrcoef(believed, found)[0, 1])


def _mean_ranks(keys: list[Any]) -> list[float]:
    """The place of each key when sorted; equal ones share the mean of their places."""
    order = sorted(range(len(keys)), key=lambda index: keys[index])
    places = [0.0] * len(keys)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and keys[order[end + 1]] == keys[order[start]]:
            end += 1
        for index in order[start : end + 1]:
            places[index] = (start + end) / 2
        start = end + 1
    return places

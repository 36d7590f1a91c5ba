"""Proposers: what turns a sampler, a list of points or the grid into the next configuration. None is proposed twice.

Each draft has its own seed, made of the search's seed and the trial's turn: an interrupted search that goes on
suggests what it would have suggested. Knows no algorithm by name.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Protocol

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search.drafts import Draft, given_draft, key_of, sampled_draft
from spaces.errors import SpecError
from spaces.space import Assignment, Space

TURN = "tunesmith:turn"
"""Attribute of a trial in memory whose turn is not its number."""
_MODEL_ATTEMPTS = 200
_MODEL_REPEATS = 1
_NEIGHBOUR_ATTEMPTS = 50
_MOST_POINTS_LISTED = 100_000

BuildSampler = Callable[[int, int], BaseSampler]
"""(seed of the search, seed of this trial) -> sampler."""


class Proposer(Protocol):
    """Chooses configurations for one space."""

    learns: bool
    """Whether it looks at the study's trials at each proposal. Else it needs only those of earlier sessions."""
    ranks_stopped_trials: bool
    """Whether its sampler learns from trials that were stopped early, by how far they came."""

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft | None:
        """A configuration for `trial`, which is running and still empty; None when there is none left."""


class _Points:
    """Which points of a space were proposed, and whether there are others."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._taken: set[str] | None = None
        self._size: int | None = None
        if space.is_finite and space.grid_size(constrained=False) <= _MOST_POINTS_LISTED:
            self._size = space.grid_size()

    def taken(self, study: optuna.Study) -> set[str]:
        """The keys of what was proposed, in earlier sessions too."""
        if self._taken is None:
            trials = study.get_trials(deepcopy=False)
            self._taken = {key_of(self._space.from_optuna_params(trial.params)) for trial in trials if trial.params}
        return self._taken

    def are_exhausted(self, study: optuna.Study) -> bool:
        """Whether every point was proposed."""
        return self._size is not None and len(self.taken(study)) >= self._size


class GridProposer:
    """All points of the grid: in order, or shuffled by a seed."""

    learns = False
    ranks_stopped_trials = False

    def __init__(self, space: Space, *, shuffle_seed: int | None = None) -> None:
        self._space = space
        self._points_taken = _Points(space)
        self._points: Iterator[Assignment] = space.grid()
        if shuffle_seed is not None:
            points = list(self._points)
            Random(shuffle_seed).shuffle(points)
            self._points = iter(points)

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft | None:
        """The next point that no trial has."""
        taken = self._points_taken.taken(study)
        for assignment in self._points:
            if key_of(assignment) not in taken:
                draft = given_draft(self._space, assignment)
                taken.add(draft.key)
                return draft
        return None


class RandomProposer:
    """Independent draws."""

    learns = False
    ranks_stopped_trials = False

    def __init__(self, space: Space, *, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._points = _Points(space)

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft | None:
        """A draw that meets the constraints and was not drawn before."""
        if self._points.are_exhausted(study):
            return None
        draft = draw_new(self._space, Random(seed_of(self._seed, turn_of(trial))), self._points.taken(study))
        if draft is not None:
            self._points.taken(study).add(draft.key)
        return draft


class SamplerProposer:
    """Drafts by an Optuna sampler. What the constraints forbid, and what was proposed before, is drawn again."""

    learns = True

    def __init__(self, space: Space, *, seed: int, build: BuildSampler, ranks_stopped_trials: bool = False) -> None:
        self._space = space
        self._seed = seed
        self._build = build
        self._points = _Points(space)
        self.ranks_stopped_trials = ranks_stopped_trials

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft | None:
        """A new draft that meets the constraints.

        Raises:
            SpecError: none that meets them was found in 10,000 attempts.
        """
        if self._points.are_exhausted(study):
            return None
        taken = self._points.taken(study)
        draft = self._draft(study, trial, taken)
        if draft is not None:
            taken.add(draft.key)
        return draft

    def _draft(self, study: optuna.Study, trial: FrozenTrial, taken: set[str]) -> Draft | None:
        trial_seed = seed_of(self._seed, turn_of(trial))
        sampler = self._build(self._seed, trial_seed)
        repeats = 0
        for _ in range(_MODEL_ATTEMPTS):
            draft = sampled_draft(self._space, study, trial, sampler)
            if not self._space.is_allowed(draft.assignment):
                continue
            if draft.key not in taken:
                return draft
            repeats += 1
            if repeats == _MODEL_REPEATS:
                # The model insists on what was run: what it wants next is beside it.
                neighbour = _new_neighbour(self._space, draft.assignment, Random(trial_seed), taken)
                if neighbour is not None:
                    return neighbour
                break
        # It insists on a forbidden region, or on one where all was run: leave it.
        return draw_new(self._space, Random(trial_seed), taken)


class StartedProposer:
    """First the points of the user, each completed at random where it is partial; then another proposer's."""

    def __init__(self, space: Space, points: Sequence[Mapping[str, Any]], inner: Proposer, *, seed: int) -> None:
        self._space = space
        self._points = points
        self._taken = _Points(space)
        self._inner = inner
        self._seed = seed
        self.learns = True  # what the points were completed to is read from the study, also by `inner`
        self.ranks_stopped_trials = inner.ranks_stopped_trials

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft | None:
        """Point number n for turn number n, while there is one."""
        if turn_of(trial) >= len(self._points):
            return self._inner.propose(study, trial)
        turn, taken = turn_of(trial), self._taken.taken(study)
        generator = Random(seed_of(self._seed, turn))
        draft = self._completed(self._points[turn], generator, taken) or draw_new(self._space, generator, taken)
        if draft is not None:
            taken.add(draft.key)
        return draft

    def _completed(self, point: Mapping[str, Any], generator: Random, taken: set[str]) -> Draft | None:
        """`point` with its gaps filled; None when all that it can become was run."""
        for _ in range(_NEIGHBOUR_ATTEMPTS):
            assignment = self._space.complete(point, generator)
            if key_of(assignment) not in taken:
                return given_draft(self._space, assignment)
        return None


class PhasedProposer:
    """One proposer for the first trials, another for the rest."""

    def __init__(self, first: Proposer, rest: Proposer, *, num_first: int) -> None:
        self._first = first
        self._rest = rest
        self._num_first = num_first
        self.learns = first.learns or rest.learns
        self.ranks_stopped_trials = rest.ranks_stopped_trials

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft | None:
        """By the turn of the trial."""
        return (self._first if turn_of(trial) < self._num_first else self._rest).propose(study, trial)


def turn_of(trial: FrozenTrial) -> int:
    """How many trials were suggested before `trial`. Retries and evidence of other searches have a number in the study,
    too, but change nothing of what is suggested when."""
    return int(trial.system_attrs.get(TURN, trial.number))


def seed_of(seed: int, number: int) -> int:
    """The seed of trial `number` in the search of `seed`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")


def draw_new(space: Space, generator: Random, taken: set[str], *, believing: bool = False) -> Draft | None:
    """A random draft that is not taken, or one from the priors; None when none was found."""
    for _ in range(_MODEL_ATTEMPTS):
        assignment = space.sample(generator, believing=believing)
        if key_of(assignment) not in taken:
            return given_draft(space, assignment)
    if not space.is_finite or space.grid_size(constrained=False) > _MOST_POINTS_LISTED:
        return None
    rest = [assignment for assignment in space.grid() if key_of(assignment) not in taken]
    return given_draft(space, generator.choice(rest)) if rest else None


def _new_neighbour(space: Space, centre: Assignment, generator: Random, taken: set[str]) -> Draft | None:
    """A draft that differs from `centre` in one parameter, and in those that hang on it; None when none is new."""
    for _ in range(_NEIGHBOUR_ATTEMPTS):
        changed = generator.choice(list(centre))
        kept = {path: value for path, value in centre.items() if path != changed}
        try:
            assignment = space.complete(kept, generator, only_active=True)
        except SpecError:
            continue
        if key_of(assignment) not in taken:
            return given_draft(space, assignment)
    return None

"""The history as a sampler sees it: an Optuna study in memory, in which early-stopped and failed trials teach, too.

Optuna's samplers pass over failed trials, and most of them over early-stopped ones, so they would go on suggesting what
diverges. Here each trial that ended is told in the way its sampler learns from; the study database keeps what really
happened. Samplers read the whole history at each suggestion: in memory that costs nothing. Knows no database.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from typing import Any, Literal

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.drafts import Draft
from search.proposers import TURN, Proposer

EndState = Literal["COMPLETE", "PRUNED", "FAIL"]
Direction = Literal["minimize", "maximize"]


class Lessons:
    """Draft a trial, tell how it ended. Trials are numbered from 0 in the order of their drafts."""

    def __init__(
        self,
        proposer: Proposer,
        *,
        directions: Sequence[Direction],
        history: Iterable[FrozenTrial] = (),
        notes: Mapping[str, Any] | None = None,
        superseded: Collection[int] = (),
        shortened: Collection[int] = (),
        num_suggested: int | None = None,
    ) -> None:
        """
        Args:
            proposer: What chooses.
            directions: Of each objective.
            history: Trials that there were before, by number.
            notes: What the sampler wrote into the study then.
            superseded: Numbers of trials that teach nothing: a later one stands for them.
            shortened: Numbers of finished trials that had less training than trials have now.
            num_suggested: How many of them a sampler suggested. Default: all.
        """
        self._study = optuna.create_study(directions=list(directions), sampler=RandomSampler(seed=0))
        self._storage = self._study._storage
        self._proposer = proposer
        self._signs = [1.0 if direction == "minimize" else -1.0 for direction in directions]
        # With several objectives a sampler learns from what has all of them: the others are told the worst of each.
        self._ranks_stopped = proposer.ranks_stopped_trials and len(self._signs) == 1
        self._ids: list[int] = []
        self._waiting: list[int] = []
        self._paused: set[int] = set()
        self._best: float | None = None
        self._worst: list[float] | None = None
        for name, note in (notes or {}).items():
            self._storage.set_study_system_attr(self._study._study_id, name, note)
        self._study_again(list(history), superseded=superseded, shortened=shortened)
        self._num_drafted = len(self._ids) if num_suggested is None else num_suggested

    @property
    def notes(self) -> dict[str, Any]:
        """What the sampler has written into the study, such as its place in a sequence."""
        notes = self._storage.get_study_system_attrs(self._study._study_id)
        return {name: note for name, note in notes.items() if not name.startswith("study:")}

    def draft(self) -> Draft | None:
        """A configuration for the next trial, which is running from now on; None when the space has none left."""
        if not self._proposer.learns:
            return self._draft_unlearned()
        trial_id = self._study.ask()._trial_id
        if self._num_drafted != len(self._ids):
            self._storage.set_trial_system_attr(trial_id, TURN, self._num_drafted)
        self._num_drafted += 1
        draft = self._proposer.propose(self._study, self._storage.get_trial(trial_id))
        self._ids.append(trial_id)
        if draft is not None:
            for name, distribution in draft.distributions.items():
                stored = distribution.to_internal_repr(draft.params[name])
                self._storage.set_trial_param(trial_id, name, stored, distribution)
        return draft

    def _draft_unlearned(self) -> Draft | None:
        """The same for a proposer that looks at no trial: none is kept, which is most of the time of a draw."""
        trial = create_trial(state=TrialState.RUNNING)
        trial.number, self._num_drafted = self._num_drafted, self._num_drafted + 1
        return self._proposer.propose(self._study, trial)

    def marks(self, number: int) -> dict[str, Any]:
        """What the sampler has written onto a trial and needs again after an interruption."""
        if not self._proposer.learns:
            return {}
        attributes = self._storage.get_trial(self._ids[number]).system_attrs
        return {name: mark for name, mark in attributes.items() if not name.startswith(("tpe:", TURN))}

    def pause(self, number: int, *, last: tuple[int, float]) -> None:
        """Trial `number` waits, maybe for ever: until it is heard of again it counts as stopped, with its `last` step
        and objective. As long as it counted as running, samplers would keep away from it, however good it is."""
        self.finish(number, state="PRUNED", values=None, last=last)
        if self._proposer.learns:
            self._paused.add(self._ids[number])

    def finish(
        self,
        number: int,
        *,
        state: EndState,
        values: Sequence[float] | None,
        last: tuple[int, float] | None = None,
    ) -> None:
        """How trial `number` ended.

        Args:
            number: The trial.
            state: COMPLETE, PRUNED (stopped early) or FAIL.
            values: The objectives, for COMPLETE.
            last: Step and first objective of the last evaluation, where there was one.
        """
        if not self._proposer.learns:
            return
        trial_id = self._ids[number]
        if trial_id in self._paused:
            self._reopen(trial_id)
        if state == "COMPLETE" and values is not None:
            self._note(values)
            self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, list(values))
            self._tell_waiting()
        elif self._ranks_stopped:
            # A trial that was stopped without a value ranks behind all others, which is what a failure is to be.
            if state == "PRUNED" and last is not None:
                self._storage.set_trial_intermediate_value(trial_id, *last)
            self._storage.set_trial_state_values(trial_id, TrialState.PRUNED)
        elif state == "PRUNED" and last is not None and len(self._signs) == 1:
            self._note([last[1]], may_be_best=False)
            self._tell_stopped(trial_id, last[1])
        elif self._worst is not None:
            self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, self._worst)
        else:
            self._waiting.append(trial_id)

    def _reopen(self, trial_id: int) -> None:
        """Make a trial that had waited a running one again. Optuna has no such thing, but a study in memory can."""
        self._paused.remove(trial_id)
        trial = copy(self._storage._get_trial(trial_id))
        trial.state, trial.values, trial.datetime_complete = TrialState.RUNNING, None, None
        self._storage._set_trial(trial_id, trial)

    def _tell_stopped(self, trial_id: int, value: float) -> None:
        # It has seen less training than finished ones: its value may not look better than theirs.
        (sign,) = self._signs
        worse = value if self._best is None else sign * max(sign * value, sign * self._best)
        self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [worse])

    def _note(self, values: Sequence[float], *, may_be_best: bool = True) -> None:
        if may_be_best and (self._best is None or self._signs[0] * values[0] < self._signs[0] * self._best):
            self._best = values[0]
        before = self._worst or list(values)
        self._worst = [
            sign * max(sign * worst, sign * value)
            for sign, worst, value in zip(self._signs, before, values, strict=True)
        ]

    def _tell_waiting(self) -> None:
        """Failures that came before anything had a value count as running until now; that keeps others away, too."""
        for trial_id in self._waiting:
            self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, self._worst)
        self._waiting.clear()

    def _study_again(
        self, history: list[FrozenTrial], *, superseded: Collection[int], shortened: Collection[int]
    ) -> None:
        for trial in history:
            self._study.add_trial(
                create_trial(
                    state=TrialState.RUNNING,
                    params=trial.params,
                    distributions=trial.distributions,
                    system_attrs=trial.system_attrs,
                )
            )
        self._ids = [trial._trial_id for trial in self._study.get_trials(deepcopy=False)]
        ended = [trial for trial in history if trial.state.is_finished()]
        # In the order in which they ended: what a failure is told as depends on what was known then.
        for trial in sorted(ended, key=lambda trial: trial.datetime_complete):
            if trial.number in superseded:
                if self._proposer.learns:  # samplers pass over what has failed; here everything else is told as such
                    self._storage.set_trial_state_values(self._ids[trial.number], TrialState.FAIL)
                continue
            last = max(trial.intermediate_values.items(), default=None)
            if trial.number in shortened:
                self.finish(trial.number, state="PRUNED", values=None, last=last)
                continue
            values = trial.values if trial.state == TrialState.COMPLETE else None
            self.finish(trial.number, state=trial.state.name, values=values, last=last)

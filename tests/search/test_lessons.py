"""What a sampler is told of trials that did not finish."""

from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from search.drafts import Draft
from search.lessons import Lessons
from search.proposers import turn_of


class Watcher:
    """A proposer that keeps the study it is shown."""

    learns = True

    def __init__(self, *, ranks_stopped_trials: bool) -> None:
        self.ranks_stopped_trials = ranks_stopped_trials
        self.study: optuna.Study | None = None

    def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft:
        self.study = study
        x = trial.number / 10
        return Draft(assignment={"x": x}, params={"x": x}, distributions={"x": FloatDistribution(0, 1)})

    @property
    def told(self) -> list[tuple[str, float | None]]:
        """State and value of each trial, as a sampler sees it."""
        assert self.study is not None
        return [(trial.state.name, trial.values[0] if trial.values else None) for trial in self.study.trials]


def _lessons(*, ranks_stopped_trials: bool = False, direction: Any = "minimize", trials: int = 4) -> Any:
    watcher = Watcher(ranks_stopped_trials=ranks_stopped_trials)
    lessons = Lessons(watcher, directions=[direction])
    for _ in range(trials):
        lessons.draft()
    return lessons, watcher


@pytest.mark.parametrize(("direction", "worst"), [("minimize", 5.0), ("maximize", 1.0)])
def test_a_failure_is_told_as_the_worst_value_so_far(direction: str, worst: float) -> None:
    lessons, watcher = _lessons(direction=direction)
    lessons.finish(0, state="COMPLETE", values=[1.0])
    lessons.finish(1, state="COMPLETE", values=[5.0])
    lessons.finish(2, state="FAIL", values=None, last=(3, 0.1))
    assert watcher.told[2] == ("COMPLETE", worst)


def test_a_failure_before_any_value_counts_as_running_until_there_is_one() -> None:
    lessons, watcher = _lessons()
    lessons.finish(0, state="FAIL", values=None)
    assert watcher.told[0] == ("RUNNING", None)
    lessons.finish(1, state="COMPLETE", values=[2.0])
    assert watcher.told[0] == ("COMPLETE", 2.0)


def test_a_stopped_trial_never_looks_better_than_the_best_finished_one() -> None:
    lessons, watcher = _lessons()
    lessons.finish(0, state="COMPLETE", values=[1.0])
    lessons.finish(1, state="PRUNED", values=None, last=(1, 0.5))
    lessons.finish(2, state="PRUNED", values=None, last=(1, 3.0))
    assert watcher.told[1:3] == [("COMPLETE", 1.0), ("COMPLETE", 3.0)]


def test_a_model_that_ranks_stopped_trials_gets_them_with_their_value_and_failures_without() -> None:
    lessons, watcher = _lessons(ranks_stopped_trials=True)
    lessons.finish(0, state="PRUNED", values=None, last=(3, 0.5))
    lessons.finish(1, state="FAIL", values=None, last=(9, 0.1))
    assert watcher.study is not None
    stopped, failed = watcher.study.trials[:2]
    assert (stopped.state, stopped.intermediate_values) == (TrialState.PRUNED, {3: 0.5})
    assert (failed.state, failed.intermediate_values) == (TrialState.PRUNED, {})


@pytest.mark.parametrize("ranks_stopped_trials", [False, True])
def test_an_interrupted_search_learns_the_same_from_its_database(ranks_stopped_trials: bool) -> None:
    """The order in which trials ended decides what a failure was told as; it is not that of their numbers."""
    ends: list[tuple[int, Any, float | None, tuple[int, float] | None]] = [
        (2, "FAIL", None, None), (3, "COMPLETE", 1.0, (9, 1.0)), (0, "FAIL", None, (1, 7.0)),
        (1, "COMPLETE", 4.0, (9, 4.0)), (4, "PRUNED", None, (1, 0.2)), (5, "FAIL", None, None),
    ]  # fmt: skip
    lessons, straight = _lessons(ranks_stopped_trials=ranks_stopped_trials, trials=7)
    database = optuna.create_study()
    for _ in range(7):
        database.ask(fixed_distributions={"x": FloatDistribution(0, 1)})
    for number, state, value, last in ends:
        lessons.finish(number, state=state, values=None if value is None else [value], last=last)
        if last is not None:
            optuna.Trial(database, database.trials[number]._trial_id).report(last[1], last[0])
        database.tell(number, value, state=TrialState[state])
    resumed = Watcher(ranks_stopped_trials=ranks_stopped_trials)
    Lessons(resumed, directions=["minimize"], history=database.trials).draft()
    assert resumed.told[:7] == straight.told


def _history(*values: float) -> list[FrozenTrial]:
    """Trials that finished with these values, in order."""
    study = optuna.create_study()
    for value in values:
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE, value=value, params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)},
                intermediate_values={2: value},
            )
        )  # fmt: skip
    return study.get_trials()


def test_a_trial_for_which_a_later_one_stands_teaches_nothing() -> None:
    watcher = Watcher(ranks_stopped_trials=True)
    Lessons(watcher, directions=["minimize"], history=_history(1.0, 2.0), superseded={0: 5}).draft()
    assert watcher.told[:2] == [("FAIL", None), ("COMPLETE", 2.0)]


@pytest.mark.parametrize(("ranks", "told"), [(True, ("PRUNED", None)), (False, ("COMPLETE", 2.0))])
def test_a_trial_that_ended_where_others_go_on_is_told_as_stopped_early(
    ranks: bool, told: tuple[str, float | None]
) -> None:
    watcher = Watcher(ranks_stopped_trials=ranks)
    Lessons(watcher, directions=["minimize"], history=_history(1.0, 2.0), shortened={1}).draft()
    assert watcher.told[1] == told


def test_the_turn_of_a_trial_counts_what_was_suggested_and_nothing_else() -> None:
    turns = []

    class Turns(Watcher):
        def propose(self, study: optuna.Study, trial: FrozenTrial) -> Draft:
            turns.append(turn_of(trial))
            return super().propose(study, trial)

    lessons = Lessons(
        Turns(ranks_stopped_trials=True), directions=["minimize"], history=_history(1.0, 2.0, 3.0), num_suggested=1
    )
    lessons.draft()
    lessons.draft()
    assert turns == [1, 2]
    assert lessons.marks(3) == {}, "it is counted anew by each session"


@pytest.mark.parametrize("ranks_stopped_trials", [True, False])
def test_a_trial_that_waits_counts_as_stopped_until_it_is_heard_of_again(ranks_stopped_trials: bool) -> None:
    lessons, watcher = _lessons(ranks_stopped_trials=ranks_stopped_trials)
    lessons.finish(1, state="COMPLETE", values=[0.1])
    waits = ("PRUNED", 2.0) if ranks_stopped_trials else ("COMPLETE", 2.0)
    lessons.pause(0, last=(3, 2.0))
    state, value = watcher.told[0]
    assert (state, value if state == "COMPLETE" else watcher.study.trials[0].intermediate_values[3]) == waits
    lessons.pause(0, last=(9, 1.0))
    if ranks_stopped_trials:
        assert watcher.study.trials[0].intermediate_values == {3: 2.0, 9: 1.0}
    lessons.finish(0, state="COMPLETE", values=[0.5])
    assert watcher.told[:2] == [("COMPLETE", 0.5), ("COMPLETE", 0.1)]
    assert [trial.number for trial in watcher.study.trials] == list(range(4))

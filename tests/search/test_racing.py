"""The race between trials: who is stopped, and how often wrongly."""

import random

import pytest

from search.fold_sections import RacingConfig
from search.racing import Race
from spaces.reports import Progress, TrialReport
from trainables.fold_sections import FoldsConfig

GOOD = [0.50, 0.52, 0.48, 0.51, 0.49]


def race(*, mode: str = "min", trainings: int = 5, **config: object) -> Race:
    return Race(RacingConfig.model_validate(config), FoldsConfig(folds=trainings), metric="loss", mode=mode)


def test_a_much_worse_trial_is_out_after_two_folds() -> None:
    racing = race()
    racing.note(0, GOOD)
    racing.note(1, [0.80, 0.82])
    beaten = racing.judge(1)
    assert beaten is not None
    assert (beaten.by, beaten.folds) == (0, 2)
    assert beaten.difference == pytest.approx(0.3)


def test_a_larger_value_wins_where_larger_is_better() -> None:
    racing = race(mode="max")
    racing.note(0, GOOD)
    racing.note(1, [0.80, 0.82])
    assert racing.judge(1) is None


def test_nobody_is_out_before_a_trial_has_ended() -> None:
    racing = race()
    racing.note(0, GOOD[:4])
    racing.note(1, [0.80, 0.82])
    assert racing.judge(1) is None


def test_the_leader_is_never_judged() -> None:
    racing = race()
    racing.note(0, GOOD)
    racing.note(1, [value - 0.1 for value in GOOD])
    assert racing.leader == 1
    assert racing.judge(1) is None


def test_one_fold_is_enough_once_others_have_shown_how_much_folds_vary() -> None:
    racing = race()
    racing.note(0, GOOD)
    racing.note(1, [0.80])
    assert racing.judge(1) is None, "nothing is known of the spread"
    racing.note(2, [value + noise for value, noise in zip(GOOD, (0.01, 0.0, 0.02, 0.01, 0.0), strict=True)])
    assert racing.judge(1) is not None


def test_min_folds_is_kept() -> None:
    racing = race(min_folds=3)
    racing.note(0, GOOD)
    racing.note(1, [0.80, 0.82])
    assert racing.judge(1) is None
    racing.note(1, [0.80, 0.82, 0.81])
    assert racing.judge(1) is not None


def test_folds_that_are_noted_again_change_nothing() -> None:
    racing = race()
    racing.note(0, GOOD)
    racing.note(1, [0.80, 0.82])
    racing.note(1, [0.80])
    assert racing.judge(1) is not None


def test_signed_ranks_wait_for_five_folds() -> None:
    racing = race(trainings=10, test="wilcoxon")
    racing.note(0, GOOD * 2)
    worse = [value + 0.3 + index / 100 for index, value in enumerate(GOOD * 2)]
    stopped_at = next(n for n in range(1, 10) if (racing.note(1, worse[:n]), racing.judge(1))[1])
    assert stopped_at == 5


@pytest.mark.parametrize("level", [0.01, 0.05])
def test_a_trial_as_good_as_the_leader_is_seldom_stopped(level: float) -> None:
    """Each fold has its own difficulty, which all trials share; on top of it each value has its own noise."""
    generator = random.Random(3)
    stopped = 0
    for _ in range(300):
        racing = race(level=level)
        difficulty = [generator.gauss(0.5, 0.1) for _ in range(5)]
        for number in range(3):
            racing.note(number, [each + generator.gauss(0, 0.02) for each in difficulty])
        values = [each + generator.gauss(0, 0.02) for each in difficulty]
        for ended in range(1, 5):
            racing.note(3, values[:ended])
            if racing.judge(3):
                stopped += 1
                break
    # Four looks, each at the level: at most the sum of them, with room for chance. The leader was lucky, too.
    assert stopped / 300 <= 4 * level + 0.03


def test_a_worse_trial_costs_few_folds() -> None:
    generator = random.Random(4)
    trained = 0
    for _ in range(100):
        racing = race()
        difficulty = [generator.gauss(0.5, 0.1) for _ in range(5)]
        for number in range(3):
            racing.note(number, [each + generator.gauss(0, 0.02) for each in difficulty])
        values = [each + 0.15 + generator.gauss(0, 0.02) for each in difficulty]
        for ended in range(1, 6):
            racing.note(3, values[:ended])
            if ended == 5 or racing.judge(3):
                trained += ended
                break
    assert trained / 100 < 1.5


def report(*values: float, ended: int) -> TrialReport:
    metrics = {"loss": sum(values) / len(values)} | {f"fold/{index}/loss": each for index, each in enumerate(values)}
    return TrialReport(progress=Progress(step=1, epoch=1, tokens=1, evaluation=1), metrics=metrics, folds_ended=ended)


def test_a_trial_is_judged_between_its_folds_only() -> None:
    racing = race()
    assert racing.met_by(0, report(*GOOD, ended=5)) is None
    assert racing.met_by(1, report(0.80, 0.82, 0.9, ended=2)) is None, "its third fold runs"
    said = racing.met_by(1, report(0.80, 0.82, 0.81, ended=3))
    assert said is not None
    assert said.startswith("worse than trial 0 by 0.31 on 3 folds (p = ")


def test_more_seeds_do_not_pass_for_more_folds() -> None:
    """Two folds, five seeds: what seeds agree on says nothing of other divisions of the data."""
    racing = Race(RacingConfig(), FoldsConfig(folds=2, seeds=5), metric="loss", mode="min")
    racing.note(0, [0.50, 0.50] * 5)
    racing.note(1, [0.51, 0.60] * 4)
    assert racing.judge(1) is None

"""Do early ranks foretell final ones, and what follows for a search: curves that cross, and curves that do not."""

import statistics
from typing import Any

import pytest
from scipy.stats import spearmanr

from search.algorithms import AlgorithmConfig
from search.rank_prediction import RankPrediction, correlation_interval, spearman
from search.rehearse import Rehearsal, Script, rehearse
from search.schedulers import SCHEDULERS
from search.scouts import is_scout
from search.stopping import SchedulerConfig
from search.tables import Curve, Table
from spaces.space import Space

SPACE = Space.parse({"config.x": {"uniform": [0.0, 1.0], "num": 201}}, document={"config": {"x": 0.5}})
STEPS = tuple(float(step) for step in range(1, 10))


def _crossing(x: float) -> Curve:
    """The better the end, the slower the start."""
    return _curve([(1 - x) + (2 * x - 1) * (step - 1) / 8 for step in STEPS])


def _parallel(x: float) -> Curve:
    """Who is ahead stays ahead."""
    return _curve([x + 1 / step for step in STEPS])


def _curve(values: list[float]) -> Curve:
    return Curve(steps=STEPS, values=tuple(values), seconds=STEPS)


def _play(curve_of: Any, *, protect: bool, name: str = "asha", seed: int = 0, trials: int = 60) -> Rehearsal:
    points = list(SPACE.grid())
    table = Table(SPACE, points, [curve_of(float(point["config.x"])) for point in points], is_exact=True)
    scheduler = SchedulerConfig.model_validate({"name": name, "protect": protect})
    script = Script(
        space=SPACE, algorithm=AlgorithmConfig(name="random"), scheduler=scheduler, num_trials=trials, max_resource=9.0
    )
    return rehearse(script, table, repeat=0, seed=seed, num_parallel=2)


def _training(rehearsal: Rehearsal) -> float:
    return sum(trial.steps for trial in rehearsal.trials)


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_a_protected_scheduler_finds_the_slow_starter_and_a_plain_one_does_not(name: str) -> None:
    found = {
        protect: statistics.median(
            _play(_crossing, protect=protect, name=name, seed=seed).best[-1] for seed in range(7)
        )
        for protect in (True, False)
    }
    assert found[True] < 0.03
    assert found[False] > 4 * found[True]


def test_where_early_ranks_hold_protection_costs_little_and_loses_nothing() -> None:
    costs = []
    for seed in range(9):
        protected, plain = (_play(_parallel, protect=protect, seed=seed) for protect in (True, False))
        assert protected.best[-1] is not None
        assert plain.best[-1] is not None
        assert protected.best[-1] <= plain.best[-1]
        costs.append(_training(protected) / _training(plain))
    assert statistics.median(costs) < 1.35


def test_scouts_are_the_first_five_and_every_twentieth_trial() -> None:
    assert [number for number in range(61) if is_scout(number)] == [0, 1, 2, 3, 4, 20, 40, 60]


def _prediction(pairs: list[tuple[float, float]]) -> RankPrediction:
    """Scouts with these values at the rung and at the end; other trials are noted, too, and must not matter."""
    prediction = RankPrediction([1.0], max_resource=9.0, unit="epochs")
    numbers = [number for number in range(2000) if is_scout(number)]
    for number, (early, late) in zip(numbers, pairs, strict=False):
        prediction.note(number, resource=1.0, value=early)
        prediction.note(number + 5, resource=1.0, value=-early)
        prediction.note(number, resource=9.0, value=late)
        prediction.note(number + 5, resource=9.0, value=early)
    return prediction


def test_a_rung_keeps_its_trust_until_enough_scouts_have_finished() -> None:
    reversed_pairs = [(float(n), float(-n)) for n in range(5)]
    assert _prediction(reversed_pairs[:4]).at(1.0).trust == "full"
    assert _prediction(reversed_pairs).at(1.0).trust == "none"


@pytest.mark.parametrize(
    ("ends", "trust"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "full"),
        ([3, 0, 2, 1, 6, 5, 4, 11, 8, 7, 9, 10], "full"),
        ([5, 9, 1, 7, 3, 8, 0, 10, 4, 11, 2, 6], "half"),  # correlation 0.06, 80 % interval -0.38 to 0.43
        ([11, 3, 8, 1, 10, 0, 9, 2, 7, 4, 6, 5], "none"),  # correlation -0.18
    ],
)
def test_trust_goes_as_the_correlation_of_scouts_goes(ends: list[int], trust: str) -> None:
    foresight = _prediction([(float(start), float(end)) for start, end in enumerate(ends)]).at(1.0)
    assert (foresight.num_scouts, foresight.trust) == (12, trust)


@pytest.mark.parametrize(
    ("value", "plain", "protected"),  # others have 0, 1, ... 11 there
    [(3.5, "CONTINUE", "CONTINUE"), (4.5, "STOP", "CONTINUE"), (6.3, "STOP", "CONTINUE"), (6.5, "STOP", "STOP")],
)
def test_at_a_rung_of_half_trust_the_best_58_percent_go_on(value: float, plain: str, protected: str) -> None:
    ends = [5, 9, 1, 7, 3, 8, 0, 10, 4, 11, 2, 6]
    decisions = []
    for protect in (False, True):
        config = SchedulerConfig(name="asha", protect=protect)
        scheduler = SCHEDULERS["asha"](config, metric="loss", mode="min", max_resource=9)
        for number, start in zip([n for n in range(200) if is_scout(n)], range(12), strict=False):
            for resource in STEPS:
                scheduler.decide(number, resource=resource, value=start if resource < 9 else ends[start])
        decisions.append(scheduler.decide(1001, resource=1.0, value=value))
    assert decisions == [plain, protected]


def test_the_correlation_is_that_of_scipy_ties_included() -> None:
    first, second = [1.0, 2.0, 2.0, 5.0, 4.0, 9.0], [3.0, 1.0, 4.0, 4.0, 6.0, 7.0]
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


def test_the_interval_narrows_with_more_trials_and_holds_the_estimate() -> None:
    wide, narrow = correlation_interval(0.4, 5), correlation_interval(0.4, 50)
    assert wide[0] < narrow[0] < 0.4 < narrow[1] < wide[1]
    assert correlation_interval(1.0, 5)[1] <= 1.0


def test_each_change_of_trust_is_said_once_with_its_figures() -> None:
    scheduler = SCHEDULERS["hyperband"](
        SchedulerConfig(name="hyperband", protect=True), metric="loss", mode="min", max_resource=9
    )
    said: list[str] = []
    scheduler.on_news = said.append
    for number in range(5):
        for resource in STEPS:
            scheduler.decide(number, resource=resource, value=_crossing(number / 4).values[int(resource) - 1])
    assert len(said) == 2  # the rung at 1 and the rung at 3; at the fifth scout
    assert said[0].startswith("Early ranks do not foretell final ones: rank correlation -1.00 (")
    assert "between 1 epochs and the end, over 5 trials" in said[0]
    scheduler.decide(6, resource=1.0, value=0.0)
    assert len(said) == 2


@pytest.mark.parametrize(
    ("num_trials", "given", "protects"), [(19, None, False), (20, None, True), (9, True, True), (99, False, False)]
)
def test_small_searches_are_protected_only_when_asked_for(num_trials: int, given: bool | None, protects: bool) -> None:
    assert SchedulerConfig(name="asha", protect=given).settled(num_trials=num_trials).protect is protects

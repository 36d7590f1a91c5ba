"""Whether another trial may start, and when all must stop: decided without a clock."""

from typing import Any

import pytest

from cluster.resources import ResourcesConfig
from search.budget import Account, BudgetConfig, check_budget
from search.budget_text import affordable_text, affordable_trials, budget_text
from spaces.errors import SpecError

RATES = {"time": 1.0, "gpu_hours": 2 / 3600, "cost": 1.0 / 3600}  # two GPUs, one unit of money an hour


def account(*, stops_early: bool = False, **limits: Any) -> Account:
    budget = BudgetConfig.model_validate(limits)
    return Account(budget=budget, mode="min", rates=RATES, stops_early=stops_early)  # type: ignore[arg-type]  # names of limits


def ended(one: Account, number: int, seconds: float, *, value: float = 1.0, state: Any = "COMPLETE") -> None:
    one.ended(number, state=state, value=value, seconds=seconds)


def test_without_a_limit_trials_always_start() -> None:
    one = account()
    for number in range(50):
        ended(one, number, 1e6, value=1.0)
    assert one.verdict(now=1e9).action == "start"


def test_a_trial_that_cannot_finish_in_the_time_that_is_left_is_not_started() -> None:
    one = account(time="100s")
    ended(one, 0, 30.0)
    assert one.verdict(now=70.0).action == "start"
    late = one.verdict(now=71.0)
    assert late.action == "end"
    assert late.reason == "search.budget.time: a trial takes about 30 s, and 29 s of 1.67 min are left"


def test_time_runs_once_for_trials_side_by_side_and_gpu_hours_run_for_each() -> None:
    for limit, action in ({"time": 100.0}, "start"), ({"gpu_hours": 100 * 2 / 3600}, "wait"):
        one = account(**limit)
        ended(one, 0, 40.0)
        one.started(1, now=40.0)
        one.started(2, now=40.0)
        assert one.verdict(now=40.0).action == action


def test_what_runs_is_expected_to_take_its_whole_time() -> None:
    one = account(cost=100 / 3600)
    ended(one, 0, 40.0)
    one.started(1, now=40.0)
    one.progressed(1, now=50.0, seconds=10.0)
    assert one.verdict(now=50.0).action == "wait"  # 40 spent, 40 for the one that runs, 20 are left
    ended(one, 1, 15.0)  # it was quicker than that
    assert one.verdict(now=55.0).action == "start"


def test_before_the_first_trial_has_ended_the_longest_that_runs_is_the_measure() -> None:
    one = account(time=100.0)
    one.started(0, now=0.0)
    assert one.verdict(now=40.0).action == "start"
    assert one.verdict(now=60.0).action == "wait"


def test_with_a_scheduler_a_trial_is_expected_to_take_what_trials_take_on_average() -> None:
    for stops_early, action in (False, "end"), (True, "start"):
        one = account(time=200.0, stops_early=stops_early)
        ended(one, 0, 90.0)
        ended(one, 1, 10.0, state="PRUNED")
        assert one.verdict(now=130.0).action == action


def test_one_slow_trial_of_many_does_not_end_the_search() -> None:
    one = account(time=1000.0)
    for number in range(9):
        ended(one, number, 10.0)
    ended(one, 9, 500.0)
    assert one.verdict(now=600.0).action == "start"


def test_what_an_earlier_trial_spent_is_not_spent_again() -> None:
    one = account(cost=50 / 3600)
    one.ended(0, state="COMPLETE", value=1.0, seconds=100.0, own_share=0.25)
    assert one.used(now=0.0)["cost"] == pytest.approx(25 / 3600)
    assert one.exhausted(now=0.0) is None


def test_energy_counts_as_far_as_it_was_measured() -> None:
    one = account(energy="10Wh")
    one.ended(0, state="COMPLETE", value=1.0, seconds=1.0, energy=4.0)
    one.ended(1, state="COMPLETE", value=1.0, seconds=1.0)
    assert one.verdict(now=0.0).action == "start"
    one.ended(2, state="COMPLETE", value=1.0, seconds=1.0, energy=3.0)
    assert one.verdict(now=0.0).action == "end"


def test_a_spent_limit_stops_what_runs_too() -> None:
    one = account(time=100.0)
    one.started(0, now=0.0)
    assert one.exhausted(now=99.0) is None
    assert one.exhausted(now=100.0) == "search.budget.time: 1.67 min are used"


@pytest.mark.parametrize(("mode", "value", "reached"), [("min", 0.9, True), ("min", 1.1, False), ("max", 1.1, True)])
def test_a_finished_trial_that_reaches_the_target_ends_the_search(mode: Any, value: float, reached: bool) -> None:
    one = Account(budget=BudgetConfig(target=1.0), mode=mode, rates=RATES)  # type: ignore[arg-type]  # names of limits
    one.ended(0, state="PRUNED", value=None, seconds=1.0)
    assert one.exhausted(now=0.0) is None
    one.ended(1, state="COMPLETE", value=value, seconds=1.0)
    assert (one.exhausted(now=0.0) is not None) == reached


def test_a_plateau_ends_the_search_and_lets_what_runs_finish() -> None:
    one = account(plateau={"trials": 3, "min_change": 0.05})
    for number, value in enumerate([1.0, 0.5, 0.48, 0.47]):
        ended(one, number, 1.0, value=value)
        assert one.verdict(now=0.0).action == "start"
    one.started(5, now=0.0)
    ended(one, 4, 1.0, value=9.0)
    assert one.verdict(now=0.0).action == "wait"
    assert one.exhausted(now=0.0) is None
    ended(one, 5, 1.0, value=0.3)
    assert one.verdict(now=0.0).action == "start"


def test_limits_that_nothing_would_reach_are_refused_by_their_key() -> None:
    cases = (
        ({"cost": 5.0}, {"gpus_per_worker": 1}, "search.budget.cost"),
        ({"gpu_hours": 5.0}, {}, "search.budget.gpu_hours"),
    )
    for limits, resources, path in cases:
        with pytest.raises(SpecError) as refused:
            check_budget(BudgetConfig.model_validate(limits), ResourcesConfig.model_validate(resources))
        assert refused.value.path == path


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("1h 30min", 5400), ("90 s", 90), (30, 30), ("0.5d", 43200), ("1.5e2s", 150)]
)
def test_a_time_has_its_unit(text: Any, seconds: float) -> None:
    assert BudgetConfig(time=text).time == seconds


@pytest.mark.parametrize("text", ["2 hours ago", "h", "2x", "1.2.3h", "2h!", ""])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as `2h`"):
        BudgetConfig(time=text)  # type: ignore[arg-type]  # that is the point


def test_the_plan_says_what_ends_a_search_and_how_many_trials_that_affords() -> None:
    budget = BudgetConfig.model_validate({"time": "2h", "cost": 3.0, "target": 0.9})
    assert budget_text(budget, mode="max", currency="EUR") == "2 h, or 3 EUR, or at least 0.9 reached"
    resources = ResourcesConfig(price_per_hour=2.0)
    affordable = affordable_trials(budget, resources, trial_seconds=600.0, num_parallel=2)
    assert affordable == {"time": 24, "cost": 9}
    words = affordable_text(affordable, budget, num_trials=20, currency="EUR")
    assert words == "search.budget.cost: 3 EUR afford about 9 of the 20 trials."
    assert affordable_text(affordable, budget, num_trials=9, currency="EUR") == "The budget affords all 9 trials."

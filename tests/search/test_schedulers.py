"""One conformance suite for all schedulers: a new one in SCHEDULERS inherits it."""

import json
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from search.numbered_scheduler import NumberedScheduler, replay
from search.schedulers import SCHEDULERS, Members
from search.stopping import SchedulerConfig
from spaces.errors import SpecError
from spaces.space import Space
from trainables.trainable import TrialOrder

METRIC = "eval/loss"
PAUSING = ["pasha", "pbt", "pb2"]
EARLY = [name for name in SCHEDULERS if name not in ("none", *PAUSING)]
SPACE = Space.parse({"config.x": {"uniform": [0.0, 9.0]}}, document={"config": {"x": 0.5}})
CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


def _scheduler(name: str, *, unit: str = "epochs", **arguments: Any) -> NumberedScheduler:
    config = SchedulerConfig(name=name, unit=unit, **arguments)  # type: ignore[arg-type]  # names of SCHEDULERS
    members = Members(
        space=SPACE, mutate=("config.x",), seed=0, first_assignment=lambda number: {"config.x": number % 9 + 0.5}
    )
    return SCHEDULERS[name](config, metric=METRIC, mode="min", max_resource=9, members=members)


def _report(scheduler: TrialScheduler, trial: Any, resource: float, value: float, *, unit: str = "epochs") -> str:
    return str(scheduler.on_trial_result(None, trial, {unit: resource, METRIC: value}))


def _trial(scheduler: TrialScheduler, number: int, *, session: str = "a") -> SimpleNamespace:
    """A trial as Tune hands it over: its id is Tune's own, its number is in the order."""
    order = TrialOrder(number=number, document={}, directory="", num_threads=1, save_checkpoints=True)
    trial = SimpleNamespace(
        trial_id=f"{session}{number}", status="RUNNING", config=order.to_config(), pickled_error_file=None
    )
    scheduler.on_trial_add(None, trial)
    return trial


@pytest.mark.parametrize("name", ["none", *EARLY])
@pytest.mark.parametrize("unit", ["epochs", "steps", "tokens", "evaluations"])
def test_the_best_trial_so_far_always_goes_on(name: str, unit: str) -> None:
    scheduler = _scheduler(name, unit=unit)
    for number, value in enumerate([0.9, 0.8, 0.7, 0.6]):
        trial = _trial(scheduler, number)
        for resource in range(1, 9):
            assert _report(scheduler, trial, resource, value, unit=unit) == CONTINUE


@pytest.mark.parametrize("name", SCHEDULERS)
def test_no_trial_is_stopped_before_its_grace(name: str) -> None:
    first = {"none": {}, "pbt": {"interval": 4.1}, "pb2": {"interval": 4.1}}
    scheduler = _scheduler(name, **first.get(name, {"grace": 4.1 if name == "pasha" else 4}))
    for number in range(6):
        trial = _trial(scheduler, number)
        for resource in (1, 2, 3, 4):
            _report(scheduler, trial, resource, 0.1)
    bad = _trial(scheduler, 6)
    assert [_report(scheduler, bad, resource, 99.0) for resource in (1, 2, 3, 3.9)] == [CONTINUE] * 4


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_trial_that_fails_before_any_value_is_taken_and_later_ones_go_on(name: str) -> None:
    scheduler = _scheduler(name)
    failed = _trial(scheduler, 0)
    scheduler.on_trial_complete(None, failed, {"failure": "{}"})
    scheduler.on_trial_error(None, _trial(scheduler, 1))
    for number in range(2, 8):
        assert _report(scheduler, _trial(scheduler, number), 0.5, 0.5) == CONTINUE


@pytest.mark.parametrize("name", EARLY)
def test_a_hopeless_trial_is_stopped_before_its_end(name: str) -> None:
    scheduler = _scheduler(name)
    for number in range(6):
        trial = _trial(scheduler, number)
        for resource in range(1, 10):
            _report(scheduler, trial, resource, 0.1)
    bad = _trial(scheduler, 6)
    assert STOP in [_report(scheduler, bad, resource, 0.9) for resource in range(1, 9)]


class _Search:
    """Trials of a search, four at once, whose curves cross. Who reports next depends on nothing but chance."""

    def __init__(self, scheduler: NumberedScheduler, *, num_trials: int = 30) -> None:
        self.scheduler = scheduler
        self.events: list[dict[str, Any]] = []
        self.told: list[Any] = []
        self._generator = Random(1)
        self._done: dict[int, int] = {}
        self._running: list[int] = []
        self.num_trials = num_trials
        self._attach()

    def _attach(self) -> None:
        self.scheduler.on_event = lambda event: self.events.append(json.loads(json.dumps(event)))
        self.scheduler.on_hand_overs = lambda hand_overs: self.told.extend(hand_overs)

    def interrupt(self, scheduler: NumberedScheduler) -> None:
        """All ends here; `scheduler` knows nothing but the events, and running trials report their last again."""
        replay(scheduler, [], events=self.events)
        self.scheduler = scheduler
        self._attach()
        for number in self._running:
            if done := self._done.get(number, 0):
                assert self.scheduler.decide(number, resource=done, value=self._value(number, done)) == "CONTINUE"

    def run(self, num_reports: int) -> None:
        for _ in range(num_reports):
            while len(self._running) < 4 and (number := self._next()) is not None:
                self._running.append(number)
            if not self._running:
                return
            number = self._generator.choice(self._running)
            self._done[number] = done = self._done.get(number, 0) + 1
            decision = self.scheduler.decide(number, resource=done, value=self._value(number, done))
            self.told.append((number, done, decision))
            has_ended = decision == "STOP" or done == 9
            if has_ended or decision == "PAUSE":
                self._running.remove(number)
            if has_ended:
                self.scheduler.end(number)

    def _next(self) -> int | None:
        waited = self.scheduler.take_next()
        if waited is None and len(self._done | dict.fromkeys(self._running)) < self.num_trials:
            return len(self._done | dict.fromkeys(self._running))
        if waited is None:
            self.scheduler.no_more_trials()
            waited = self.scheduler.take_next(is_last_act=not self._running)
        return waited

    @staticmethod
    def _value(number: int, resource: int) -> float:
        start, slope = Random(number).random(), Random(-number - 1).random()
        return start + (slope - start) * resource / 9 + 0.03 * Random(100 * number + resource).random()


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("after", [3, 40, 71])
def test_an_interrupted_search_decides_as_it_would_have_without_the_interruption(name: str, after: int) -> None:
    is_slow = name == "pb2"  # a Gaussian process takes its time
    arguments: dict[str, Any] = {"pb2": {"interval": 3}, "asha": {"protect": True}, "hyperband": {"protect": True}}
    arguments, num_trials = arguments.get(name, {}), 6 if is_slow else 30
    straight, resumed = (_Search(_scheduler(name, **arguments), num_trials=num_trials) for _ in range(2))
    straight.run(400)
    resumed.run(after // 2 if is_slow else after)
    resumed.interrupt(_scheduler(name, **arguments))
    resumed.run(400)
    assert resumed.told == straight.told
    assert resumed.events == straight.events
    if name != "none":
        assert {"STOP", "PAUSE"} & {told[2] for told in straight.told if isinstance(told, tuple)}


@pytest.mark.parametrize("name", EARLY)
def test_a_search_without_a_journal_goes_on_from_what_the_study_holds(name: str) -> None:
    histories = {number: {1.0: 0.1 * number, 3.0: 0.05 * number, 5.0: 0.05 * number} for number in range(1, 9)}
    straight, resumed = _scheduler(name), _scheduler(name)
    for number, history in histories.items():
        trial = _trial(straight, number)
        for resource, value in history.items():
            _report(straight, trial, resource, value)
    replay(resumed, histories.items())
    for number in range(9, 18):
        for resource, slope in ((1, 0.1), (3, 0.05), (5, 0.05), (7, 0.05)):
            value = slope * (number - 8.5)
            first = _report(straight, _trial(straight, number), resource, value)
            assert first == _report(resumed, _trial(resumed, number, session="b"), resource, value)


@pytest.mark.parametrize("name", PAUSING)
def test_every_trial_that_waits_goes_on_or_the_search_can_end_without_it(name: str) -> None:
    search = _Search(_scheduler(name), num_trials=4 if name == "pb2" else 12)
    search.run(1000)
    assert search.scheduler.take_next(is_last_act=True) is None
    finished = {told[0] for told in search.told if isinstance(told, tuple) and told[2] == "STOP"}
    assert finished | set(search.scheduler.paused) == set(range(search.num_trials))
    assert finished  # somebody trained to the end
    if name != "pasha":
        assert finished == set(range(search.num_trials))


@pytest.mark.parametrize("name", EARLY)
def test_a_resumed_trial_that_reports_again_gets_the_decision_it_got(name: str) -> None:
    scheduler = _scheduler(name)
    histories = [(number, {1.0: 0.1, 2.0: 0.1, 3.0: 0.1, 4.0: 0.1}) for number in range(6)]
    replay(scheduler, [*histories, (6, {1.0: 0.9, 2.0: 0.9, 3.0: 0.9, 4.0: 0.9})])
    fresh = _scheduler(name)
    replay(fresh, histories)
    bad = _trial(fresh, 6)
    decisions = [_report(fresh, bad, resource, 0.9) for resource in (1, 2, 3, 4)]
    assert _report(scheduler, _trial(scheduler, 6, session="b"), 4, 0.9) == decisions[-1]


def test_asha_stops_a_bad_trial_at_the_first_rung() -> None:
    scheduler = _scheduler("asha", protect=False)
    for number in range(3):
        _report(scheduler, _trial(scheduler, number), 1, 0.1)
    assert _report(scheduler, _trial(scheduler, 3), 1, 0.9) == STOP


def test_hyperband_gives_each_bracket_its_share_and_its_own_first_rung() -> None:
    scheduler = _scheduler("hyperband", grace=1, reduction_factor=3, protect=False)  # first rungs at 1 and 3 of 9
    decisions = []
    for number in range(40):
        _report(scheduler, _trial(scheduler, number), 1, 0.1)
    for number in range(40, 80):
        decisions.append(_report(scheduler, _trial(scheduler, number), 1, 0.9))
    # shares 2 / 2 * 3 = 3 and 2 / 1 * 1 = 2
    assert decisions.count(STOP) == 24
    assert decisions.count(CONTINUE) == 16


def test_median_lets_all_go_on_until_enough_others_came_as_far() -> None:
    scheduler = _scheduler("median", min_trials=3)
    for number in range(2):
        _report(scheduler, _trial(scheduler, number), 1, 0.1)
    assert _report(scheduler, _trial(scheduler, 2), 1, 0.9) == CONTINUE
    assert _report(scheduler, _trial(scheduler, 3), 1, 0.9) == STOP


def test_patience_counts_from_the_best_value_and_small_changes_do_not_count() -> None:
    scheduler = _scheduler("patience", patience=2, min_change=0.01)
    best = _trial(scheduler, 0)
    _report(scheduler, best, 1, 0.1)
    trial = _trial(scheduler, 1)
    values = [0.9, 0.8, 0.795, 0.794, 0.7]
    assert [_report(scheduler, trial, resource, value) for resource, value in enumerate(values, 1)] == [
        CONTINUE, CONTINUE, CONTINUE, STOP, CONTINUE,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "argument", "owners"),
    [
        ("none", {"grace": 2}, "`asha`, `hyperband`, `pasha`, `median` and `patience` have"),
        ("median", {"reduction_factor": 2}, "`asha`, `hyperband` and `pasha` have"),
        ("asha", {"brackets": 2}, "`hyperband` has"),
        ("asha", {"min_trials": 5}, "`median` has"),
        ("median", {"patience": 5}, "`patience` has"),
        ("pasha", {"protect": False}, "`asha` and `hyperband` have"),
        ("asha", {"interval": 5}, "`pbt` and `pb2` have"),
    ],
)
def test_an_argument_of_another_scheduler_is_refused(name: str, argument: dict[str, Any], owners: str) -> None:
    with pytest.raises((SpecError, ValueError), match=owners):
        SchedulerConfig.model_validate({"name": name, **argument})

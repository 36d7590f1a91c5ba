"""PASHA: rankings that settle early save training, others make the top grow, and the best trial finishes."""

from typing import Any

import pytest

from search.algorithms import AlgorithmConfig
from search.pasha import Pasha, noise_of, ranks_agree
from search.rehearse import Rehearsal, Script, rehearse
from search.rules import CONTINUE, PAUSE, STOP
from search.stopping import SchedulerConfig
from search.tables import Curve, Table
from spaces.space import Space

SPACE = Space.parse({"config.x": {"uniform": [0.0, 1.0], "num": 201}}, document={"config": {"x": 0.5}})
STEPS = tuple(float(step) for step in range(1, 28))


def _pasha(max_resource: float = 27.0) -> Pasha:
    return Pasha(SchedulerConfig(name="pasha"), max_resource=max_resource, sign=1.0)


def _play(curve_of: Any, *, name: str = "pasha", trials: int = 60) -> Rehearsal:
    points = list(SPACE.grid())
    curves = []
    for point in points:
        values = tuple(curve_of(float(point["config.x"]), step) for step in STEPS)  # type: ignore[arg-type]  # a number
        curves.append(Curve(steps=STEPS, values=values, seconds=STEPS))
    script = Script(
        space=SPACE, algorithm=AlgorithmConfig(name="random"), scheduler=SchedulerConfig(name=name), num_trials=trials,  # type: ignore[arg-type]  # a name
        max_resource=27.0,
    )  # fmt: skip
    return rehearse(script, Table(SPACE, points, curves, is_exact=True), repeat=0, seed=0, num_parallel=3)


def _settled(x: float, step: float) -> float:
    return x + 1 / step


def _crossing(x: float, step: float) -> float:
    """The better the end, the slower the start; they cross after 2 steps."""
    return (1 - x) + (2 * x - 1) * min(step - 1, 2) / 2


def test_where_ranks_settle_early_only_the_best_trial_trains_to_the_end() -> None:
    played = _play(_settled)
    finished = [trial for trial in played.trials if trial.state == "COMPLETE"]
    assert len(finished) == 1
    assert finished[0].params["config.x"] == min(trial.params["config.x"] for trial in played.trials)
    assert sorted({trial.steps for trial in played.trials}) == [1.0, 3.0, 27.0]


def test_it_costs_less_than_asha_and_finds_as_good_a_trial() -> None:
    pasha, asha = _play(_settled), _play(_settled, name="asha")
    assert sum(trial.steps for trial in pasha.trials) < 0.5 * sum(trial.steps for trial in asha.trials)
    assert pasha.best[-1] is not None
    assert asha.best[-1] is not None
    assert pasha.best[-1] <= asha.best[-1]


def test_where_ranks_change_trials_get_more_training() -> None:
    settled, crossing = _play(_settled), _play(_crossing)
    beyond = [sum(trial.steps > 3 for trial in played.trials) for played in (settled, crossing)]
    assert beyond[0] == 1
    assert beyond[1] > 4


def test_a_trial_waits_at_a_rung_until_three_have_come_and_the_best_of_them_goes_on() -> None:
    pasha = _pasha()
    assert [pasha.decide(n, resource=1.0, value=v) for n, v in ((0, 0.5), (1, 0.3))] == [PAUSE, PAUSE]
    assert pasha.next_paused() is None
    assert pasha.decide(2, resource=1.0, value=0.4) == PAUSE
    assert pasha.next_paused() == 1
    pasha.go_on(1)
    assert [pasha.is_paused(number) for number in (0, 1, 2)] == [True, False, True]
    assert pasha.next_paused() is None


def test_the_top_grows_only_when_its_ranks_are_not_those_of_the_rung_below() -> None:
    for values, top in (((0.1, 0.2), 3.0), ((0.2, 0.1), 9.0)):
        pasha = _pasha()
        for number, value in enumerate((0.5, 0.6, 0.9, 0.9, 0.9, 0.9)):
            pasha.decide(number, resource=1.0, value=value)
        for number, value in enumerate(values):
            pasha.go_on(number)
            pasha.decide(number, resource=3.0, value=value)
        assert pasha.top == top
        assert len(pasha.news()) == (top > 3)


def test_the_planned_end_is_an_end() -> None:
    pasha = _pasha(max_resource=2.0)
    assert pasha.decide(0, resource=2.0, value=0.5) == STOP


def test_in_the_last_act_the_best_at_the_highest_rung_trains_to_its_end_and_the_next_one_if_it_fails() -> None:
    pasha = _pasha()
    for number, value in enumerate((0.5, 0.3, 0.4)):
        pasha.decide(number, resource=1.0, value=value)
    assert pasha.last_act() == 1
    pasha.go_on(1, to_the_end=True)
    assert [pasha.decide(1, resource=float(step), value=0.9) for step in (3, 9, 26)] == [CONTINUE] * 3
    pasha.end(1)  # it has failed
    assert pasha.last_act() == 2
    pasha.go_on(2, to_the_end=True)
    assert pasha.decide(2, resource=27.0, value=0.1) == STOP
    pasha.end(2)
    assert pasha.last_act() is None


@pytest.mark.parametrize(
    ("here", "below", "noise", "agrees"),
    [
        ({0: 1.0, 1: 2.0, 2: 3.0}, {0: 5.0, 1: 6.0, 2: 7.0}, 0.0, True),
        ({0: 1.0, 1: 2.0, 2: 3.0}, {0: 6.0, 1: 5.0, 2: 7.0}, 0.5, False),
        ({0: 1.0, 1: 2.0, 2: 3.0}, {0: 6.0, 1: 5.0, 2: 7.0}, 1.0, True),
        ({0: 1.0, 1: 1.1, 2: 3.0}, {0: 6.0, 1: 7.0, 2: 5.0}, 1.0, False),
        ({0: 1.0}, {0: 1.0, 1: 0.0}, 0.0, True),
    ],
)
def test_ranks_agree_up_to_noise(here: dict[int, float], below: dict[int, float], noise: float, agrees: bool) -> None:
    assert ranks_agree(here, below, noise=noise) == agrees


def test_noise_is_how_far_those_lie_apart_that_overtake_each_other_again_and_again() -> None:
    restless = {1.0: 1.0, 2.0: 0.5, 3.0: 0.9}
    steady = {1.0: 0.8, 2.0: 0.7, 3.0: 0.6}
    far = {1.0: 9.0, 2.0: 8.0, 3.0: 7.0}
    assert noise_of({0: restless, 1: steady, 2: far}) == pytest.approx(0.3)
    assert noise_of({1: steady, 2: far}) == 0.0

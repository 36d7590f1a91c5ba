"""Beliefs in where the best lies: right ones help, wrong ones wash out, and a search that goes on believes the same."""

import itertools
import math
import statistics
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.algorithms import AlgorithmConfig
from search.auto import Situation, chosen
from search.believing import agreement, ranks
from search.ledger import Ledger
from search.priors import BELIEVING, check_priors
from search.samplers import SAMPLERS, make_proposer
from spaces.errors import SpecError
from spaces.space import Space

DOCUMENT = {"a": {"lr": 0.1, "size": 8, "method": "full", "r": 4}}
ALGORITHMS = ("random", "tpe")
assert set(ALGORITHMS) == set(BELIEVING) - {"auto"}


def space_of(*, lr: float | None = None, confidence: str = "medium", **more: Any) -> Space:
    belief = {} if lr is None else {"prior": lr, "confidence": confidence}
    entries = {
        "a.lr": {"log_uniform": [1e-6, 1.0]} | belief,
        "a.size": {"int": [8, 64], "step": 8},
        "a.method": {"choice": ["full", "lora"]},
        "a.r": {"log_int": [1, 64], "when": {"a.method": "lora"}} | ({"prior": 16} if lr else {}),
    }
    return Space.parse(entries, document=DOCUMENT, **more)


def ledger_of(name: str, space: Space, study: optuna.Study | None = None, *, seed: int = 0, **more: Any) -> Ledger:
    arguments = {"startup_trials": 6} if name == "tpe" else {}
    config = AlgorithmConfig.model_validate({"name": name, **arguments})
    return Ledger(
        study or optuna.create_study(),
        proposer=make_proposer(space, config, seed=seed, **more),
        metric="loss",
        step_of=lambda progress: progress.step,
    )


def run(ledger: Ledger, number: int) -> list[dict[str, Any]]:
    found = []
    for proposal in itertools.islice(iter(ledger.ask, None), number):
        assert proposal is not None
        found.append(proposal.assignment)
        ledger.finish(proposal.number, state="COMPLETE", values=[distance(proposal.assignment)], result={})
    return found


def distance(assignment: dict[str, Any]) -> float:
    """Decades between the learning rate and its best, 1e-4, and something for the rest."""
    return abs(math.log10(assignment["a.lr"]) + 4) + assignment["a.size"] / 64


def best(name: str, *, lr: float | None, after: int, seeds: int = 15) -> float:
    """The median over seeds of the best distance."""
    return statistics.median(
        min(distance(one) for one in run(ledger_of(name, space_of(lr=lr), seed=seed), after)) for seed in range(seeds)
    )


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_first_trial_is_just_what_is_believed(name: str) -> None:
    first = run(ledger_of(name, space_of(lr=1e-4)), 1)[0]
    assert first["a.lr"] == pytest.approx(1e-4)
    assert first.get("a.r", 16) == 16


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_right_belief_finds_something_better_in_ten_trials(name: str) -> None:
    assert best(name, lr=1e-4, after=10) < 0.7 * best(name, lr=None, after=10)


def test_a_wrong_belief_of_tpe_is_forgotten_after_forty_trials() -> None:
    assert best("tpe", lr=1.0, after=40, seeds=7) < 1.5 * best("tpe", lr=None, after=40, seeds=7)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_suggestion_is_in_the_space_and_none_comes_twice(name: str) -> None:
    space = space_of(lr=1e-4, constraints=["a.lr * a.size <= 1.0"])
    found = run(ledger_of(name, space), 40)
    assert all(space.contains(assignment) for assignment in found)
    assert len({repr(assignment) for assignment in found}) == 40


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_belief_that_a_constraint_forbids_is_no_point(name: str) -> None:
    found = run(ledger_of(name, space_of(lr=1.0, constraints=["a.lr < 0.5"])), 8)
    assert all(one["a.lr"] < 0.5 for one in found)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_finite_space_is_searched_to_its_end(name: str) -> None:
    space = Space.parse({"a.size": {"int": [8, 64], "step": 8, "prior": 32}}, document=DOCUMENT)
    ledger = ledger_of(name, space)
    found = []
    while (proposal := ledger.ask()) is not None:
        found.append(proposal.assignment["a.size"])
        ledger.finish(proposal.number, state="COMPLETE", values=[1.0], result={})
    assert found[0] == 32
    assert sorted(found) == list(range(8, 65, 8))  # type: ignore[type-var]  # numbers


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_interrupted_search_suggests_what_it_would_have_suggested(name: str, tmp_path: Path) -> None:
    whole = run(ledger_of(name, space_of(lr=1e-3)), 16)
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    halves = run(ledger_of(name, space_of(lr=1e-3), study), 9)
    assert halves + run(ledger_of(name, space_of(lr=1e-3), study), 7) == whole


def test_points_of_the_user_come_before_beliefs() -> None:
    found = run(ledger_of("tpe", space_of(lr=1e-4), start_from=[{"a.lr": 0.5}]), 2)
    assert found[0]["a.lr"] == 0.5


@pytest.mark.parametrize("name", SAMPLERS)
def test_without_a_prior_nothing_believes(name: str) -> None:
    check_priors(AlgorithmConfig(name=name), space_of())  # type: ignore[arg-type]  # a name


@pytest.mark.parametrize("name", sorted({*SAMPLERS} - {*BELIEVING}))
def test_an_algorithm_that_would_pass_over_priors_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=rf"`space.a.lr` has a prior, .* but the algorithm is `{name}`") as caught:
        check_priors(AlgorithmConfig(name=name), space_of(lr=1e-4))  # type: ignore[arg-type]  # a name
    assert caught.value.path == "search.algorithm"


def test_a_startup_that_would_pass_over_priors_is_refused() -> None:
    with pytest.raises(SpecError, match="half of the first trials"):
        check_priors(AlgorithmConfig(name="tpe", startup="quasi_random"), space_of(lr=1e-4))


@pytest.mark.parametrize("num_parallel", [1, 20])
def test_auto_stands_for_what_can_believe(num_parallel: int) -> None:
    situation = Situation(num_trials=20, grid_size=None, num_parallel=num_parallel, has_priors=True)
    check_priors(chosen(AlgorithmConfig(name="auto"), situation)[0], space_of(lr=1e-4))


def test_agreement_is_one_where_better_trials_were_believed_in_and_minus_one_where_worse_ones_were() -> None:
    assert agreement([0.0, -1.0, -2.0], [0.0, 1.0, 2.0]) == pytest.approx(1)
    assert agreement([0.0, -1.0, -2.0], [2.0, 1.0, 0.0]) == pytest.approx(-1)
    assert agreement([0.0, 0.0, 0.0], [2.0, 1.0, 0.0]) == 0


def test_finished_trials_rank_before_stopped_ones_and_those_by_how_far_they_came() -> None:
    study = optuna.create_study(direction="maximize")
    for value, steps in ((0.5, None), (0.9, None), (None, 3), (None, 7), (None, None)):
        trial = study.ask()
        if steps is not None:
            trial.report(0.95, steps)
        study.tell(trial, value, state=optuna.trial.TrialState.COMPLETE if value else optuna.trial.TrialState.PRUNED)
    assert ranks(study.trials, study.direction) == [1, 0, 3, 2, 4]

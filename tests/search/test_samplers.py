"""One conformance suite for all samplers: a new one in SAMPLERS inherits it."""

import itertools
import math
import statistics
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.algorithms import AlgorithmConfig
from search.ledger import Ledger
from search.samplers import SAMPLERS, make_proposer
from spaces.errors import SpecError
from spaces.space import Space

DOCUMENT = {"a": {"lr": 0.1, "size": 8, "method": "full", "r": 4}}
SPACE = {
    "a.lr": {"log_uniform": [1e-4, 1e-1], "num": 4},
    "a.size": {"int": [8, 64], "step": 8},
    "a.method": {"choice": ["full", "lora", {"name": "other", "k": [1, 2]}]},
    "a.r": {"log_int": [1, 64], "num": 3, "when": {"a.method": "lora"}},
}
CONSTRAINT = "a.lr * a.size <= 1.0"
SMALL = {"a.lr": {"log_uniform": [1e-3, 1e-1], "num": 3}, "a.size": {"int": [8, 24], "step": 8}}
# A Gaussian process takes a good part of a second for each suggestion.
MANY = {"gp": 9}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "tpe": {"startup_trials": 4}, "gp": {"startup_trials": 4}, "cma_es": {"population": 4}, "nsga2": {"population": 4},
    "nsga3": {"population": 4},
}  # fmt: skip
LISTS = ("grid", "brute_force")


def _space(entries: dict[str, Any] | None = None, **more: Any) -> Space:
    return Space.parse(SPACE if entries is None else entries, document=DOCUMENT, **more)


def _ledger(
    name: str, space: Space, study: optuna.Study | None = None, *, seed: int = 0, start_from: Any = (), **arguments: Any
) -> Ledger:
    config = AlgorithmConfig.model_validate({"name": name, **ARGUMENTS.get(name, {}), **arguments})
    return Ledger(
        study or optuna.create_study(),
        proposer=make_proposer(space, config, seed=seed, start_from=start_from),
        metric="loss",
        step_of=lambda progress: progress.step,
    )


def _run(ledger: Ledger, number: int) -> list[dict[str, Any]]:
    found = []
    for proposal in itertools.islice(iter(ledger.ask, None), number):
        assert proposal is not None
        found.append(proposal.assignment)
        ledger.finish(proposal.number, state="COMPLETE", values=[abs(proposal.assignment["a.lr"] - 0.01)], result={})  # type: ignore[operator,arg-type]  # a number
    return found


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_suggestion_is_in_the_space_and_meets_the_constraints(name: str) -> None:
    space = _space(constraints=[CONSTRAINT])
    number = MANY.get(name, 30)
    found = _run(_ledger(name, space), number)
    assert len(found) == number
    assert all(space.contains(assignment) for assignment in found)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_study_holds_each_suggestion_whole_and_readable(name: str) -> None:
    space, study = _space(), optuna.create_study()
    found = _run(_ledger(name, space, study), 8)
    assert [trial.user_attrs["assignment"] for trial in study.trials] == found
    assert [space.from_optuna_params(trial.params) for trial in study.trials] == found


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_interrupted_search_suggests_what_it_would_have_suggested(name: str, tmp_path: Path) -> None:
    number = MANY.get(name, 14)
    whole = _run(_ledger(name, _space()), number)
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    halves = _run(_ledger(name, _space(), study), 6)
    halves += _run(_ledger(name, _space(), study), number - 6)
    assert halves == whole


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "grid"])
def test_another_seed_suggests_something_else(name: str) -> None:
    assert _run(_ledger(name, _space(), seed=0), 6) != _run(_ledger(name, _space(), seed=1), 6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_point_is_proposed_twice_and_the_search_ends_when_there_is_no_other(name: str) -> None:
    space = _space(SMALL, constraints=["a.lr * a.size < 2"])
    found = _run(_ledger(name, space), 1000)
    assert len(found) == space.grid_size() == 8
    assert len({repr(assignment) for assignment in found}) == len(found)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_goes_on_leaves_out_what_was_run(name: str) -> None:
    study = optuna.create_study()
    first = _run(_ledger(name, _space(), study), 5)
    rest = _run(_ledger(name, _space(), study), 1000)
    assert len(first) + len(rest) == _space().grid_size()
    assert not [assignment for assignment in rest if assignment in first]


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_points_of_the_user_come_first_and_are_completed(name: str) -> None:
    start_from = [{"a.lr": 0.01, "a.size": 16}, {"a.lr": 0.001}]
    found = _run(_ledger(name, _space(SMALL), start_from=start_from), 4)
    assert found[0] == start_from[0]
    assert found[1]["a.lr"] == pytest.approx(0.001)
    assert len({repr(assignment) for assignment in found}) == 4


@pytest.mark.parametrize("name", SAMPLERS)
def test_points_of_the_user_are_not_proposed_again_and_gaps_are_filled_with_what_is_new(name: str) -> None:
    space = _space({"a.lr": {"log_uniform": [1e-3, 1e-1], "num": 3}})
    found = _run(_ledger(name, space, start_from=[{"a.lr": 0.1}, {}, {"a.lr": 0.1}]), 1000)
    assert found[0] == {"a.lr": 0.1}
    assert sorted(round(float(one["a.lr"]), 6) for one in found) == [0.001, 0.01, 0.1]


def test_tpe_suggests_nearer_to_the_optimum_than_random() -> None:
    space = _space({"a.lr": {"log_uniform": [1e-6, 1.0]}})

    def mean_distance(name: str) -> float:
        """Decades between the last 20 suggestions and the optimum, over five seeds."""
        found: list[float] = []
        for seed in range(5):
            ledger = _ledger(name, space, seed=seed)
            for _ in range(40):
                proposal = ledger.ask()
                assert proposal is not None
                distance = abs(math.log10(proposal.assignment["a.lr"]) + 2)  # type: ignore[arg-type]  # a number
                ledger.finish(proposal.number, state="COMPLETE", values=[distance], result={})
                found.append(distance)
        return statistics.mean(found[20:40] + found[60:80] + found[100:120] + found[140:160] + found[180:])

    assert mean_distance("tpe") < 0.7 * mean_distance("random")


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_a_region_that_fails_is_left_alone(name: str) -> None:
    """The objective falls towards 1e-2, and beyond it everything diverges: a third of what is drawn at random."""
    ledger = _ledger(name, _space({"a.lr": {"log_uniform": [1e-5, 1e-0]}}))
    failed = []
    for _ in range(16):
        proposal = ledger.ask()
        assert proposal is not None
        rate = float(proposal.assignment["a.lr"])  # type: ignore[arg-type]  # a number
        failed.append(rate > 1e-2)
        if failed[-1]:
            ledger.finish(proposal.number, state="FAIL", values=None, result={})
        else:
            ledger.finish(proposal.number, state="COMPLETE", values=[-math.log10(rate)], result={})
    assert sum(failed[8:]) <= 4
    assert [trial.state.name == "FAIL" for trial in ledger._study.trials] == failed


@pytest.mark.parametrize("name", ["random", "tpe", "quasi_random"])
def test_constraints_that_nothing_meets_are_said(name: str) -> None:
    with pytest.raises(SpecError, match="meets all constraints"):
        _ledger(name, _space({"a.lr": {"log_uniform": [1e-4, 1e-1]}}, constraints=["a.lr > 1"])).ask()


def test_halton_and_sobol_are_different_sequences() -> None:
    space = _space({"a.lr": {"log_uniform": [1e-4, 1e-1]}, "a.size": {"int": [8, 64]}})
    assert _run(_ledger("quasi_random", space), 8) != _run(_ledger("quasi_random", space, sequence="halton"), 8)


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
def test_a_quasi_random_sequence_covers_each_eighth_of_a_range_with_eight_points(sequence: str) -> None:
    space = _space({"a.lr": {"uniform": [0.0, 8.0]}, "a.size": {"int": [1, 64]}})
    # The first point is drawn independently, before Optuna knows the space.
    found = _run(_ledger("quasi_random", space, sequence=sequence), 17)[1:]
    assert len({int(assignment["a.lr"]) for assignment in found}) >= 7


@pytest.mark.parametrize(
    ("name", "argument", "owners"),
    [
        ("random", {"startup_trials": 5}, "`tpe` and `gp` have"),
        ("gp", {"candidates": 5}, "`tpe` has"),
        ("grid", {"sequence": "halton"}, "`quasi_random`"),
        ("tpe", {"population": 5}, "`cma_es`, `nsga2` and `nsga3` have"),
        ("auto", {"startup": "quasi_random"}, "`tpe` and `gp` have"),
    ],
)
def test_an_argument_of_another_algorithm_is_refused(name: str, argument: dict[str, Any], owners: str) -> None:
    with pytest.raises(ValueError, match=owners):
        AlgorithmConfig.model_validate({"name": name, **argument})

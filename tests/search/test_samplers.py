"""One conformance suite for all samplers: a new one in SAMPLERS inherits it."""

import itertools
import math
import statistics
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.ledger import Ledger
from search.samplers import SAMPLERS
from search.spec import AlgorithmConfig
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


def _space(**more: Any) -> Space:
    return Space.parse(SPACE, document=DOCUMENT, **more)


def _ledger(name: str, space: Space, study: optuna.Study | None = None, *, seed: int = 0) -> Ledger:
    proposer = SAMPLERS[name](
        space, AlgorithmConfig(name=name, startup_trials=4) if name == "tpe" else AlgorithmConfig(name=name), seed=seed
    )  # type: ignore[arg-type]  # names of SAMPLERS
    return Ledger(
        study or optuna.create_study(), proposer=proposer, metric="loss", step_of=lambda progress: progress.step
    )


def _run(ledger: Ledger, number: int) -> list[dict[str, Any]]:
    found = []
    for proposal in itertools.islice(iter(ledger.ask, None), number):
        assert proposal is not None
        found.append(proposal.assignment)
        ledger.finish(proposal.number, state="COMPLETE", value=abs(proposal.assignment["a.lr"] - 0.01), result={})  # type: ignore[operator,arg-type]  # a number
    return found


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_suggestion_is_in_the_space_and_meets_the_constraints(name: str) -> None:
    space = _space(constraints=[CONSTRAINT])
    found = _run(_ledger(name, space), 30)
    assert len(found) == 30
    assert all(space.contains(assignment) for assignment in found)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_study_holds_each_suggestion_whole_and_readable(name: str) -> None:
    space, study = _space(), optuna.create_study()
    found = _run(_ledger(name, space, study), 8)
    assert [trial.user_attrs["assignment"] for trial in study.trials] == found
    assert [space.from_optuna_params(trial.params) for trial in study.trials] == found


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_interrupted_search_suggests_what_it_would_have_suggested(name: str, tmp_path: Path) -> None:
    whole = _run(_ledger(name, _space()), 14)
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    halves = _run(_ledger(name, _space(), study), 6)
    halves += _run(_ledger(name, _space(), study), 8)
    assert halves == whole


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "grid"])
def test_another_seed_suggests_something_else(name: str) -> None:
    assert _run(_ledger(name, _space(), seed=0), 6) != _run(_ledger(name, _space(), seed=1), 6)


def test_the_grid_runs_every_point_once_and_then_ends() -> None:
    space = _space(constraints=[CONSTRAINT])
    found = _run(_ledger("grid", space), 1000)
    assert len(found) == space.grid_size()
    assert len({repr(assignment) for assignment in found}) == len(found)


def test_a_grid_that_goes_on_leaves_out_what_was_run() -> None:
    study = optuna.create_study()
    first = _run(_ledger("grid", _space(), study), 5)
    rest = _run(_ledger("grid", _space(), study), 1000)
    assert len(first) + len(rest) == _space().grid_size()
    assert not [assignment for assignment in rest if assignment in first]


def test_tpe_suggests_nearer_to_the_optimum_than_random() -> None:
    space = Space.parse({"a.lr": {"log_uniform": [1e-6, 1.0]}}, document=DOCUMENT)

    def mean_distance(name: str) -> float:
        """Decades between the last 20 suggestions and the optimum, over five seeds."""
        found: list[float] = []
        for seed in range(5):
            ledger = _ledger(name, space, seed=seed)
            for _ in range(40):
                proposal = ledger.ask()
                assert proposal is not None
                distance = abs(math.log10(proposal.assignment["a.lr"]) + 2)  # type: ignore[arg-type]  # a number
                ledger.finish(proposal.number, state="COMPLETE", value=distance, result={})
                found.append(distance)
        return statistics.mean(found[20:40] + found[60:80] + found[100:120] + found[140:160] + found[180:])

    assert mean_distance("tpe") < 0.7 * mean_distance("random")


@pytest.mark.parametrize("name", ["random", "tpe", "quasi_random"])
def test_constraints_that_nothing_meets_are_said(name: str) -> None:
    with pytest.raises(SpecError, match="no configuration that meets all constraints"):
        _ledger(name, _space(constraints=["a.lr > 1"])).ask()

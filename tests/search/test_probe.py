"""The probe: which trials it takes, what it measures of them, what it does where memory ends."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from bad_specs import OWN
from tiny_trials import labelled
from typer.testing import CliRunner

from search.cli.main import app
from search.load import load_spec
from search.plan import Plan, make_plan
from search.probe import Probe, heaviest, probe_search, typical
from search.probe_text import duration
from spaces.errors import SpecError
from spaces.space import Space

BATCH = "training.per_device_train_batch_size"
LAYERS = "model.config.num_hidden_layers"


def space_of(space: dict[str, Any], **rules: Any) -> Space:
    document = {"model": {"architecture": "bert", "config": {}}, "training": {}, "data": {"max_length": 8}}
    return Space.parse(space, document=document, **rules)


def plan_of(text: str, folder: Path) -> Plan:
    (folder / "spec.yaml").write_text(text)
    return make_plan(load_spec(folder / "spec.yaml"))


def small(folder: Path) -> str:
    document = labelled(folder)
    spec = {
        "name": "probed",
        "task": document["task"],
        "model": document["model"],
        "data": document["data"],
        "training": {"num_train_epochs": 3},
        "resources": {"price_per_hour": 2.0},
        "search": {"trials": 7},
    }
    return (
        json.dumps(spec)[:-1] + f', "space": {{"{BATCH}": {{"choice": [4, 8]}}, "training.seed": {{"int": [1, 9]}}}}}}'
    )


# --- which trials ----------------------------------------------------------------------------------------


def test_the_heaviest_trial_has_the_largest_sizes_and_the_typical_one_does_not() -> None:
    space = space_of({LAYERS: {"int": [1, 9]}, BATCH: {"choice": [4, 64, 8]}})
    (point,) = heaviest(space)
    assert point == {LAYERS: 9, BATCH: 64}
    medium = typical(space)
    assert medium[LAYERS] * medium[BATCH] < 9 * 64 / 4


def test_each_kind_of_model_has_a_heaviest_trial() -> None:
    space = space_of({"model.architecture": {"choice": ["bert", "roberta"]}, LAYERS: {"int": [1, 3]}})
    assert {point["model.architecture"]: point[LAYERS] for point in heaviest(space)} == {"bert": 3, "roberta": 3}


def test_the_heaviest_trial_is_one_that_the_constraints_allow() -> None:
    space = space_of(
        {LAYERS: {"int": [1, 8]}, BATCH: {"choice": [1, 8]}},
        constraints=[f"{LAYERS} * {BATCH} <= 16"],
    )
    (point,) = heaviest(space)
    assert space.contains(point)
    assert point[LAYERS] * point[BATCH] in (14, 15, 16, 8)


def test_what_makes_no_trial_heavier_is_left_as_it_was_drawn() -> None:
    (point,) = heaviest(space_of({"model.config.hidden_dropout_prob": {"uniform": [0.0, 0.5]}}))
    assert point["model.config.hidden_dropout_prob"] < 0.5


# --- what is measured ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Told:
    """One measurement, and what the command said of it."""

    probe: Probe
    said: dict[str, Any]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("probed")
    (folder / "spec.yaml").write_text(small(folder))
    made: list[Probe] = []

    def probe_and_keep(*arguments: Any, **options: Any) -> Probe:
        made.append(probe_search(*arguments, **options))
        return made[-1]

    with pytest.MonkeyPatch.context() as watched:
        watched.setattr("search.probe.probe_search", probe_and_keep)
        ran = CliRunner().invoke(app, ["check", str(folder / "spec.yaml"), "--probe", "--json"])
    return Told(probe=made[0], said=json.loads(ran.stdout))


@pytest.fixture
def probed(told: Told) -> Probe:
    return told.probe


def test_the_largest_micro_batch_is_looked_for_up_to_the_whole_data(probed: Probe) -> None:
    typical, heavy = probed.trials
    assert (typical.kind, heavy.kind) == ("typical", "heaviest")
    assert typical.largest is None
    assert heavy.own is not None
    assert heavy.largest is not None
    assert heavy.own.micro_batch == 8
    assert heavy.own.train_examples is not None
    assert heavy.own.train_examples / 2 < heavy.largest.micro_batch <= heavy.own.train_examples


def test_time_and_cost_of_the_search_follow_from_what_was_measured(probed: Probe) -> None:
    own = probed.trials[0].own
    assert own is not None
    assert own.examples_per_second
    assert own.train_examples
    assert own.evaluation_seconds
    assert own.setup_seconds
    trial = own.setup_seconds + 3 * (own.train_examples / own.examples_per_second + own.evaluation_seconds)
    assert probed.trials[0].trial_seconds == pytest.approx(trial, rel=0.01)
    assert replace(probed.trials[0], trainings=5).trial_seconds == pytest.approx(5 * trial, rel=0.01)
    rounds = -(-7 // probed.concurrent_trials)
    assert probed.search_seconds == pytest.approx(rounds * trial, rel=0.01)
    assert probed.search_cost == pytest.approx(rounds * trial / 3600 * 2 * probed.concurrent_trials, rel=0.01)


def test_a_process_that_is_killed_for_its_memory_tells_what_it_had_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def limit(event, arguments):\n"
        "    if event == 'tunesmith.micro_batch' and arguments[0] > 8: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(limit)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    found = probe_search(plan_of(small(tmp_path), tmp_path), on_progress=lambda _: None)
    assert [trial.largest and trial.largest.micro_batch for trial in found.trials] == [None, 8]


def test_a_function_of_ones_own_cannot_be_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_module.py").write_text("def train(config, report): ...\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"trainable: `--probe` measures a `task`"):
        probe_search(plan_of(OWN, tmp_path), on_progress=lambda _: None)


def test_check_probe_says_it_in_json(told: Told) -> None:
    measured = json.loads(json.dumps(told.probe.to_json()))
    assert {name: told.said["probe"][name] for name in measured} == measured
    assert told.said["probe"]["trials"][1]["largest"]["fits"] is True
    assert told.said["probe"]["search_seconds"] > 0


@pytest.mark.parametrize(("seconds", "words"), [(12.3, "12 s"), (600, "10 min"), (7200, "2.0 h"), (None, "?")])
def test_times_are_in_a_persons_units(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words

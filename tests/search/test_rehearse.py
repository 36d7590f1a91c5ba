"""Rehearsals: the clock, the order of events, and that they are the search they stand for."""

import json
import subprocess
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import Run, command
from patience import HANG_SECONDS

from analysis.sources import read_records
from search import repeats
from search.algorithms import AlgorithmConfig
from search.budget import BudgetConfig
from search.ledger import Ledger
from search.rehearse import Rehearsal, Script, rehearse
from search.repeats import Repeats
from search.samplers import SAMPLERS, make_proposer
from search.stopping import SchedulerConfig
from search.tables import Curve, Table
from spaces.space import Space

SPACE = Space.parse({"config.x": {"uniform": [0.0, 1.0], "num": 11}}, document={"config": {"x": 0.5}})
ARGUMENTS = {"gp": {"startup_trials": 4}, "cma_es": {"population": 4}, "nsga2": {"population": 4}}


def _curve(x: float) -> Curve:
    return Curve(
        steps=(1.0, 2.0, 3.0, 4.0),
        values=tuple(abs(x - 0.3) + 1 / step for step in (1, 2, 3, 4)),
        seconds=tuple((1 + x) * step for step in (1, 2, 3, 4)),
    )


def _table(curves: dict[float, Curve] | None = None) -> Table:
    points = list(SPACE.grid())
    known = curves or {}
    return Table(SPACE, points, [known.get(_x(point)) or _curve(_x(point)) for point in points], is_exact=True)


def _x(point: dict[str, Any]) -> float:
    return float(point["config.x"])


def _play(
    name: str = "grid", *, scheduler: str = "none", parallel: int = 1, trials: int = 11, **more: Any
) -> Rehearsal:
    algorithm = AlgorithmConfig.model_validate({"name": name, **ARGUMENTS.get(name, {})})
    script = Script(
        space=SPACE,
        algorithm=algorithm,
        scheduler=SchedulerConfig(name=scheduler),  # type: ignore[arg-type]  # a name
        num_trials=trials,
        **{key: value for key, value in more.items() if key in ("max_resource", "start_from", "mode")},
    )
    return rehearse(script, more.get("table") or _table(), repeat=0, seed=more.get("seed", 0), num_parallel=parallel)


def test_with_one_worker_trials_follow_each_other_and_the_clock_adds_their_seconds() -> None:
    played = _play(trials=3)
    assert [trial.number for trial in played.trials] == [0, 1, 2]
    assert [trial.time for trial in played.trials] == pytest.approx([4.0, 8.4, 13.2])
    assert [trial.steps for trial in played.trials] == [4.0, 4.0, 4.0]


def test_with_two_workers_the_one_that_is_free_first_takes_the_next_trial() -> None:
    seconds = dict(zip((0.0, 0.1, 0.2, 0.3), (3.0, 1.0, 1.5, 5.0), strict=True))
    curves = {x: Curve(steps=(1.0,), values=(x,), seconds=(time,)) for x, time in seconds.items()}
    table = _table(curves)
    played = _play(parallel=2, trials=4, table=table)
    # 0: [0, 3] and 1: [0, 1]; 2 starts at 1 and ends at 2.5; 3 starts there and ends at 7.5
    assert [(trial.number, trial.time) for trial in played.trials] == [(1, 1.0), (2, 2.5), (0, 3.0), (3, 7.5)]
    assert played.best == [0.1, 0.1, 0.0, 0.0]


@pytest.mark.parametrize("name", SAMPLERS)
def test_equal_seeds_give_equal_trajectories(name: str) -> None:
    trials = 6 if name == "gp" else 11
    assert _play(name, parallel=3, trials=trials).to_json() == _play(name, parallel=3, trials=trials).to_json()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_rehearsal_proposes_what_the_ledger_of_a_search_proposes(name: str) -> None:
    trials = 6 if name == "gp" else 10
    algorithm = AlgorithmConfig.model_validate({"name": name, **ARGUMENTS.get(name, {})})
    ledger = Ledger(
        optuna.create_study(), proposer=make_proposer(SPACE, algorithm, seed=0), metric="loss", step_of=lambda p: p.step
    )
    proposed = []
    for _ in range(trials):
        proposal = ledger.ask()
        assert proposal is not None
        proposed.append(proposal.assignment)
        value = _curve(_x(proposal.assignment)).values[-1]
        ledger.finish(proposal.number, state="COMPLETE", values=None if value is None else [value], result={})
    assert [trial.params for trial in _play(name, trials=trials).trials] == proposed


def test_trials_that_asha_stops_are_pruned_and_give_their_time_back() -> None:
    whole, stopped = _play("random"), _play("random", scheduler="asha")
    states = [trial.state for trial in stopped.trials]
    assert states.count("PRUNED") >= 5
    assert all(trial.steps < 4 for trial in stopped.trials if trial.state == "PRUNED")
    assert stopped.trials[-1].time < 0.8 * whole.trials[-1].time


def test_a_stopped_trial_is_never_the_best() -> None:
    played = _play("random", scheduler="asha")
    finished = [trial.value for trial in played.trials if trial.state == "COMPLETE"]
    assert played.best[-1] == min(value for value in finished if value is not None)


def test_a_trial_that_diverges_fails_where_it_diverges() -> None:
    broken = Curve(steps=(1.0, 2.0), values=(5.0, float("nan")), seconds=(1.0, 2.0))
    played = _play(trials=2, table=_table({0.0: broken}))
    first = played.trials[0]
    assert (first.state, first.value, first.steps, first.time) == ("FAIL", 5.0, 2.0, 2.0)
    assert played.best[0] is None


def test_a_trial_gets_no_more_training_than_the_spec_allows() -> None:
    played = _play(trials=2, max_resource=2.0)
    assert [(trial.steps, trial.state) for trial in played.trials] == [(2.0, "COMPLETE")] * 2


def test_a_finite_space_ends_a_rehearsal_when_all_is_run() -> None:
    assert len(_play("random", trials=500, parallel=4).trials) == 11


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_repeats_on_several_cores_are_those_of_one_core(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(space=SPACE, algorithm=AlgorithmConfig.model_validate({"name": name}), num_trials=11)
    together = Repeats(script=script, table=_table(), first_seed=3, num_repeats=4, num_parallel=2)
    monkeypatch.setattr(repeats, "_TRIALS_WORTH_A_PROCESS", 1)
    monkeypatch.setattr(repeats, "_num_cores", lambda: 3)
    played = repeats.play_all(together)
    assert [one.repeat for one in played] == [0, 1, 2, 3]
    assert played == [together.play(repeat) for repeat in range(4)]
    assert played[0].trials != played[1].trials


# --- the command ---

FUNCTION = """
def train(config, report):
    for step in range(1, 5):
        report({"loss": abs(config["x"] - 0.3) + 1 / step}, step=step, is_final=step == 4)
"""
SPEC = """
name: walk
trainable: walking:train
config: {x: 0.5}
space: {config.x: {uniform: [0.0, 1.0], num: 11}}
search:
  algorithm: {name: tpe, startup_trials: 3}
  metric: loss
  mode: min
  trials: 9
  seed: 5
  scheduler: {name: asha, unit: steps, grace: 1, reduction_factor: 2, max: 4}
resources: {concurrent_trials: 1}
tracking: {wandb: {mode: disabled}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "walking.py").write_text(FUNCTION)
    rows = [f"{_x(point)},{step},{abs(_x(point) - 0.3) + 1 / step}" for point in SPACE.grid() for step in (1, 2, 3, 4)]
    (tmp_path / "table.csv").write_text("\n".join(["x,steps,loss", *rows]) + "\n")
    return tmp_path


def test_the_command_prints_a_table_for_people_and_the_documented_json_for_programs(
    folder: Path, tunesmith: Run
) -> None:
    both = ("--repeat", "3", "--algorithm", "random", "--algorithm", "tpe")
    shown = tunesmith("rehearse", "spec.yaml", "--table", "table.csv", *both)
    assert shown.returncode == 0, shown.stderr
    assert "Regret of loss" in shown.stdout
    assert shown.stderr == ""
    made = json.loads(tunesmith("rehearse", "spec.yaml", "--table", "table.csv", "--repeat", "2", "--json").stdout)
    assert [repeat["repeat"] for repeat in made] == [0, 1]
    for repeat in made:
        assert set(repeat) == {"repeat", "trials", "best"}
        assert len(repeat["best"]) == len(repeat["trials"]) == 9
        for trial in repeat["trials"]:
            assert set(trial) == {"number", "params", "value", "steps", "state", "time"}
            assert trial["state"] in ("COMPLETE", "PRUNED", "FAIL")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["spec.yaml"], "give either `--table FILE` or `--from DIR`"),
        (["spec.yaml", "--table", "tabel.csv"], "`table.csv`?"),
        (["spec.yaml", "--table", "table.csv", "--lookup", "exat"], "`exact`?"),
        (["spec.yaml", "--table", "table.csv", "--algorithm", "tpee"], "`tpe`?"),
        (
            [
                "spec.yaml",
                "--table",
                "table.csv",
                "--set",
                "search.scheduler=none",
                "--set",
                "search.metric=[loss, trial/seconds]",
            ],
            "answers for one metric",
        ),
        (
            ["spec.yaml", "--table", "table.csv", "--set", "search.seeds=3", "--set", "search.racing=true"],
            "no values of single folds",
        ),
        (["spec.yaml", "--table", "table.csv", "--set", "search.stop_trial_when=[loss > 9]"], "no other metrics"),
        (["--table", "table.csv"], "name the spec"),
        (["--from", "nowhere"], "is no search"),
    ],
)
def test_a_wrong_request_is_told_in_plain_words(
    arguments: list[str], says: str, folder: Path, tunesmith_here: Run
) -> None:
    done = tunesmith_here("rehearse", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.ray
def test_a_real_search_with_one_worker_runs_as_it_was_rehearsed_and_becomes_a_table(
    folder: Path, tunesmith: Run
) -> None:
    rehearsed = json.loads(tunesmith("rehearse", "spec.yaml", "--table", "table.csv", "--repeat", "1", "--json").stdout)
    done = subprocess.run(
        command("run", "spec.yaml"), cwd=folder, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    real = [
        (trial.number, trial.params, trial.state, trial.steps)
        for trial in read_records(folder / "searches/walk").trials
    ]
    assert [
        (trial["number"], trial["params"], trial["state"], trial["steps"]) for trial in rehearsed[0]["trials"]
    ] == real
    again = tunesmith("rehearse", "--from", "searches/walk", "--repeat", "2", "--algorithm", "random")
    assert again.returncode == 0, again.stderr
    assert "stopped early and are taken to stay as they were" in " ".join(again.stdout.split())


def _budgeted(budget: dict[str, Any], *, parallel: int = 1) -> Rehearsal:
    script = Script(
        space=SPACE, algorithm=AlgorithmConfig(name="grid"), num_trials=11, budget=BudgetConfig.model_validate(budget)
    )
    return rehearse(script, _table(), repeat=0, seed=0, num_parallel=parallel)


def test_a_rehearsal_starts_no_trial_that_cannot_finish_in_its_simulated_time() -> None:
    # Trials take 4, 4.4, 4.8, 5.2 seconds ...: 13.2 are gone after three, and five more are expected for a fourth.
    played = _budgeted({"time": 18})
    assert [round(trial.time, 1) for trial in played.trials] == [4.0, 8.4, 13.2]
    assert len(_budgeted({"time": 19}).trials) == 4
    assert len(_budgeted({"time": 18}, parallel=2).trials) > len(played.trials)


def test_a_rehearsal_ends_at_its_target_and_on_its_plateau() -> None:
    assert len(_budgeted({"target": 0.36}).trials) == 3  # 0.55, 0.45, 0.35
    assert len(_budgeted({"plateau": {"trials": 3}}).trials) == 4 + 3  # the fourth is the best


def test_a_time_that_is_over_leaves_what_runs_unfinished() -> None:
    played = _budgeted({"time": 5}, parallel=2)
    assert [trial.number for trial in played.trials] == [0, 1]
    assert _budgeted({"time": 4.2}, parallel=2).trials[-1].number == 0

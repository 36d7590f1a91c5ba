"""What it costs to go from one trial to the next: warm trials against the stock recipe, in one run.

Both train the same tiny model with the same loop, one trial at a time. The stock recipe is the one of Ray's guide: a
Tune function trial that calls `TorchTrainer.fit()` with one worker. The gap is the time from the last report of a trial
to the first training step of the next.

    python benchmarks/trial_overhead.py [--trials 30] [--stock-trials 4]
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.sources import read_records
from cluster.connect import connected, set_environment
from search.load import load_spec
from search.plan import make_plan
from search.run import start_search
from search.trial_documents import base_document

SPEC = """
name: overhead
task: sequence_classification
model:
  architecture: bert
  config: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}
data:
  source: {builtin: stdlib-docstrings}
  tokenizer: {train: bpe, vocab_size: 1000}
  max_length: 16
  max_documents: 200
training: {num_train_epochs: 2, per_device_train_batch_size: 32}
space: {training.learning_rate: {log_uniform: [1.0e-5, 1.0e-2]}}
search: {algorithm: tpe, metric: eval/loss}
resources: {concurrent_trials: 1}
tracking: {wandb: {mode: offline}}
"""


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30, help="warm trials")
    parser.add_argument("--stock-trials", type=int, default=4, help="trials of the stock recipe")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(SPEC)
        warm = warm_gaps(spec, Path(folder), arguments.trials)
        print(f"warm trials   {summary(warm)}", flush=True)
        stock = stock_gaps(spec, Path(folder), arguments.stock_trials)
    print(f"stock recipe  {summary(stock)}")
    print(f"the stock recipe's median gap is {statistics.median(stock) / statistics.median(warm):.0f} times longer")


def warm_gaps(spec: Path, folder: Path, trials: int) -> list[float]:
    """Seconds between trials of a tunesmith search, all in one process."""
    plan = make_plan(load_spec(spec, overrides=[f"storage={folder}/searches", f"search.trials={trials}"]))
    with Path(os.devnull).open("w") as silent:
        outcome = start_search(plan, console=Console(file=silent))
    clocks = [trial.clock for trial in read_records(outcome.files.path).trials]
    return [
        after["began_at"] - before["ended_at"]
        for before, after in pairwise(clocks)
        if before["process"] == after["process"]
    ]


def stock_gaps(spec: Path, folder: Path, trials: int, *, num_workers: int = 1) -> list[float]:
    """The same for a TorchTrainer in each Tune trial."""
    set_environment()
    from ray import train, tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    document = base_document(make_plan(load_spec(spec)).spec)
    log = folder / "stock.jsonl"

    def train_loop(config: dict[str, Any]) -> None:
        import ray.train

        from trainables.ranks import ALONE, TorchRanks
        from trainables.trial import parse_document, run_trial

        context = ray.train.get_context()
        ranks = TorchRanks(rank=context.get_world_rank(), world_size=num_workers) if num_workers > 1 else ALONE

        def report(evaluation: Any) -> None:
            ray.train.report(evaluation.metrics)
            line = {"began_at": evaluation.began_at, "ended_at": time.time(), "is_final": evaluation.progress.is_final}
            if ranks.is_first:
                with log.open("a") as file:
                    file.write(json.dumps(line) + "\n")

        changed = document | {"training": document["training"] | {"learning_rate": config["learning_rate"]}}
        outcome = run_trial(parse_document(changed), report, ranks=ranks)
        assert outcome.failure is None, outcome.failure

    room = {} if num_workers == 1 else {"resources_per_worker": {"CPU": 0.9}}
    scaling = train.ScalingConfig(num_workers=num_workers, **room)

    def trial(config: dict[str, Any]) -> None:
        TorchTrainer(
            train_loop,
            train_loop_config=config,
            scaling_config=scaling,
            run_config=train.RunConfig(
                storage_path=str(folder / "train"), name=f"trial-{time.time_ns()}", callbacks=[TuneReportCallback()]
            ),
        ).fit()

    # As Ray's guide says for several workers: leave room for them beside the driver, or both wait for ever.
    placed = trial if num_workers == 1 else tune.with_resources(trial, {"CPU": 0.2})
    with connected():
        tune.Tuner(
            placed,
            param_space={"learning_rate": tune.loguniform(1e-5, 1e-2)},
            tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=1, metric="eval/loss", mode="min"),
            run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
        ).fit()
    ends = [json.loads(line) for line in log.read_text().splitlines()]
    final = [end for end in ends if end["is_final"]]
    return [after["began_at"] - before["ended_at"] for before, after in pairwise(final)]


def summary(gaps: list[float]) -> str:
    """Gaps in words."""
    return f"{len(gaps)} gaps: median {statistics.median(gaps):.3f} s, min {min(gaps):.3f} s, max {max(gaps):.3f} s"


if __name__ == "__main__":
    main()

"""What W&B costs a search: the same search with runs offline and with W&B disabled, taking turns in one run.

    python benchmarks/wandb_cost.py [--trials 10] [--repeats 3]

The time is from the first training step of the first trial to the last report of the last one. Trials are the same
in all runs: same seed, same suggestions, no early stopping.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from rich.console import Console

from analysis.sources import read_records
from search.load import load_spec
from search.plan import make_plan
from search.run import start_search

SPEC = """
name: cost
task: sequence_classification
model:
  architecture: bert
  config: {hidden_size: 64, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 128}
data:
  source: {builtin: stdlib-docstrings}
  tokenizer: {train: bpe, vocab_size: 2000}
  max_length: 48
training: {num_train_epochs: 2, per_device_train_batch_size: 16}
space: {training.learning_rate: {log_uniform: [1.0e-4, 1.0e-2]}}
search: {algorithm: random, metric: eval/loss}
"""


def main() -> None:
    """Measure and print the share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10, help="trials a search")
    parser.add_argument("--repeats", type=int, default=3, help="searches of each kind")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {"disabled": [], "offline": []}
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as folder:
        (Path(folder) / "spec.yaml").write_text(SPEC)
        for repeat in range(arguments.repeats):
            # The order changes, so that a machine that slows down favours neither.
            for mode in sorted(seconds, reverse=bool(repeat % 2)):
                seconds[mode].append(search_seconds(Path(folder), mode, trials=arguments.trials, repeat=repeat))
                print(f"{mode:9} {seconds[mode][-1]:.1f} s", flush=True)
    without, with_runs = (statistics.median(seconds[mode]) for mode in ("disabled", "offline"))
    cost = 100 * (with_runs / without - 1)
    print(f"median: disabled {without:.2f} s, offline {with_runs:.2f} s; W&B costs {cost:.1f} %")


def search_seconds(folder: Path, mode: str, *, trials: int, repeat: int) -> float:
    """Seconds that the trials of one search take together."""
    overrides = [
        f"name=cost-{mode}-{repeat}",
        f"storage={folder}/searches",
        f"search.trials={trials}",
        f"tracking.wandb.mode={mode}",
    ]
    plan = make_plan(load_spec(folder / "spec.yaml", overrides=overrides))
    with Path(os.devnull).open("w") as silent:
        outcome = start_search(plan, console=Console(file=silent))
    clocks = [trial.clock for trial in read_records(outcome.files.path).trials]
    return max(clock["ended_at"] for clock in clocks) - min(clock["began_at"] for clock in clocks)


if __name__ == "__main__":
    main()

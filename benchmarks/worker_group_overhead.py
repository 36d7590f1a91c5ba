"""What it costs to go from one trial of two workers to the next: warm groups against the stock recipe, in one run.

Both train the same tiny model with the same loop on two gloo workers, one trial at a time. The stock recipe is the one
of Ray's guide: a Tune function trial that calls `TorchTrainer(num_workers=2).fit()`. The gap is the time from the last
report of a trial to the first training step of the next.

    python benchmarks/worker_group_overhead.py [--trials 20] [--stock-trials 4]
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from trial_overhead import SPEC, stock_gaps, summary, warm_gaps


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="warm trials")
    parser.add_argument("--stock-trials", type=int, default=4, help="trials of the stock recipe")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(SPEC.replace("resources: {", "resources: {workers: 2, "))
        warm = warm_gaps(spec, Path(folder), arguments.trials)
        print(f"warm group    {summary(warm)}", flush=True)
        stock = stock_gaps(spec, Path(folder), arguments.stock_trials, num_workers=2)
    print(f"stock recipe  {summary(stock)}")
    print(f"the stock recipe's median gap is {statistics.median(stock) / statistics.median(warm):.0f} times longer")


if __name__ == "__main__":
    main()

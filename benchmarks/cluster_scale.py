"""How a search of many short trials fares on a cluster of several nodes: rate, growth, memory of its driver.

    python benchmarks/cluster_scale.py --trials 1000 --nodes 4

The nodes are processes of this machine with one CPU each. A trial reports once and does nothing else, so what is
measured is what tunesmith, Optuna, Tune and Ray do around it. Time by fifths of the trials tells whether a trial costs
more when many were run before it.
"""

import argparse
import itertools
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from node_loss import simulated_cluster

from analysis.sources import read_records
from cluster.connect import set_environment

_SPEC = """
name: many
trainable: trivial:train
config: {x: 0.5}
space: {config.x: {uniform: [0.0, 1.0]}}
search: {algorithm: random, metric: distance, mode: min}
checkpoints: {save: false}
tracking: {wandb: {mode: disabled}}
"""
_FUNCTION = """
import ray

def train(config, report):
    with open(config["log"], "a") as log:
        log.write(ray.get_runtime_context().get_node_id() + "\\n")
    report({"distance": abs(config["x"] - 0.3)}, is_final=True)
"""
_SAMPLE_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the search, sample it, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=4)
    options = parser.parse_args(arguments)
    set_environment()
    with tempfile.TemporaryDirectory(prefix="tunesmith-scale-") as scratch:
        folder = Path(scratch)
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        (folder / "trivial.py").write_text(_FUNCTION)
        (folder / "spec.yaml").write_text(_SPEC + f"\nstorage: {folder}/storage\n")
        with simulated_cluster(options.nodes) as (cluster, _):
            settings = ["--set", f"search.trials={options.trials}", "--set", f"config.log={folder}/log"]
            driver = subprocess.Popen(
                [sys.executable, "-m", "search.cli.main", "run", "spec.yaml", *settings, "--address", cluster.address],
                cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            samples = _sample(driver, folder / "log")
            _, errors = driver.communicate()
        if driver.returncode:
            print(errors, file=sys.stderr)
            return 1
        record = read_records(folder / "storage" / "many")
        lines = (folder / "log").read_text().split()
        _report(samples, options.trials, nodes=len(set(lines)))
        whole = len(record.trials) == len(lines) == options.trials and record.count("COMPLETE") == options.trials
        study = (folder / "storage" / "many" / "study.db").stat().st_size
        print(f"{len(record.trials)} trials recorded, {len(lines)} trained; study.db {study / 1e6:.1f} MB")
        print("verdict: " + ("each trial trained and recorded once" if whole else "trials are missing or doubled"))
        return 0 if whole else 1


Sample = tuple[float, int, float]
"""Seconds since the first trial, trials begun, megabytes of the driver."""


def _sample(driver: "subprocess.Popen[str]", log: Path) -> list[Sample]:
    process, samples, first = psutil.Process(driver.pid), [], None
    while driver.poll() is None:
        begun = log.read_bytes().count(b"\n") if log.exists() else 0
        if begun and first is None:
            first = time.monotonic()
        if first is not None:
            try:
                megabytes = process.memory_info().rss / 1e6
            except psutil.NoSuchProcess:
                break
            samples.append((time.monotonic() - first, begun, megabytes))
        time.sleep(_SAMPLE_SECONDS)
    return samples


def _report(samples: Sequence[Sample], trials: int, *, nodes: int) -> None:
    reached = [next(each for each in samples if each[1] >= trials * fifth // 5) for fifth in range(1, 6)]
    total = reached[-1][0]
    print(f"{trials} trials on {nodes} nodes in {total:.0f} s: {trials / total:.1f} a second")
    times = [0.0, *(each[0] for each in reached)]
    seconds = [later - one for one, later in itertools.pairwise(times)]
    print("seconds by fifth:       ", "  ".join(f"{each:6.1f}" for each in seconds))
    print("MB of the driver after: ", "  ".join(f"{each[2]:6.0f}" for each in reached))


if __name__ == "__main__":
    sys.exit(main())

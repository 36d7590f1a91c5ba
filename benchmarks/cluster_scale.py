"""How a search of many short trials fares on a cluster of several nodes: rate, growth, memory of its driver.

    python benchmarks/cluster_scale.py [--trials 1000] [--nodes 4] [--plain-trials 200]

The nodes are processes of this machine with one CPU each. A trial reports once and does nothing else, so what is
measured is what tunesmith, Optuna, Tune and Ray do around it. Each trial notes when it begins: the times by fifths of
the trials tell whether one costs more when many were run before it. Then plain Ray Tune runs the same function on the
same nodes, with `reuse_actors` and as many trials at once. Ends with 1 when a trial is missing or doubled.
"""

import argparse
import itertools
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from node_loss import simulated_cluster

from analysis.records import SearchRecord
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
import time

import ray

def measure(config):
    with open(config["log"], "a") as log:
        log.write(f"{config['x']!r} {ray.get_runtime_context().get_node_id()} {time.time()}\\n")
    return {"distance": abs(config["x"] - 0.3)}

def train(config, report):
    report(measure(config), is_final=True)
"""
_PLAIN = """
import logging
import sys

import ray
from ray import tune

from trivial import measure

address, log, storage, num_trials, num_concurrent = sys.argv[1:]
ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
tune.Tuner(
    tune.with_resources(lambda config: tune.report(measure(config)), {"CPU": 1}),
    param_space={"x": tune.uniform(0.0, 1.0), "log": log},
    tune_config=tune.TuneConfig(
        num_samples=int(num_trials), max_concurrent_trials=int(num_concurrent), reuse_actors=True,
        metric="distance", mode="min",
    ),
    run_config=tune.RunConfig(storage_path=storage, verbose=0),
).fit()
"""
_SAMPLE_SECONDS, _SAY_SECONDS = 0.25, 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the search, then plain Tune, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--plain-trials", type=int, default=200, help="trials of plain Ray Tune; 0 for none")
    options = parser.parse_args(arguments)
    set_environment()
    with tempfile.TemporaryDirectory(prefix="tunesmith-scale-") as scratch:
        folder = Path(scratch)
        (token := folder / "token").write_text(secrets.token_hex(32))
        paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        os.environ.update(RAY_AUTH_TOKEN_PATH=str(token), PYTHONPATH=paths)
        (folder / "trivial.py").write_text(_FUNCTION)
        (folder / "plain.py").write_text(_PLAIN)
        (folder / "spec.yaml").write_text(_SPEC + f"\nstorage: {folder}/storage\n")
        print(f"load average {os.getloadavg()[0]:.1f}", flush=True)
        with simulated_cluster(options.nodes) as (cluster, _):
            settings = [f"search.trials={options.trials}", f"config.log={folder}/log"]
            overrides = [word for setting in settings for word in ("--set", setting)]
            run = ["-m", "search.cli.main", "run", "spec.yaml", *overrides, "--address", cluster.address]
            search = observe(run, folder / "log")
            search.print("tunesmith")
            wrong = _judge(read_records(folder / "storage" / "many"), search, options.trials)
            if options.plain_trials:
                numbers = [str(options.plain_trials), str(options.nodes)]
                tune = ["plain.py", cluster.address, f"{folder}/plain.log", f"{folder}/plain", *numbers]
                observe(tune, folder / "plain.log").print("plain Ray Tune")
        print(f"load average {os.getloadavg()[0]:.1f}", flush=True)
    print("\n".join(wrong) if wrong else "verdict: each trial trained and recorded once")
    return 1 if wrong else 0


@dataclass(frozen=True, kw_only=True)
class Course:
    """What was seen of many trials."""

    xs: list[str]
    """The value of each trial that began, in order."""
    nodes: list[str]
    """Where each ran."""
    begun: list[float]
    """When each began, in seconds."""
    launched: float
    """When the driver was launched."""
    looks: list[tuple[float, float, float]]
    """When the driver was looked at, its megabytes and its seconds of CPU so far."""

    def print(self, name: str) -> None:
        """A few lines."""
        marks = [round(fifth * (len(self.begun) - 1) / 5) for fifth in range(6)]
        seconds = [self.begun[later] - self.begun[one] for one, later in itertools.pairwise(marks)]
        looks = [min(self.looks, key=lambda look: abs(look[0] - self.begun[mark])) for mark in marks]
        counted = marks[-1] - marks[1]  # the first fifth has what comes once
        growth, cpu_seconds = ((looks[-1][which] - looks[1][which]) / counted for which in (1, 2))
        total = self.begun[-1] - self.begun[0]
        by_node = ", ".join(str(count) for count in Counter(self.nodes).values())
        print(f"{name}: {len(self.begun)} trials in {total:.1f} s, {(len(self.begun) - 1) / total:.1f} a second")
        print(f"  the first began after {self.begun[0] - self.launched:.1f} s; trials by node: {by_node}")
        print("  seconds by fifth: ", "  ".join(f"{each:.1f}" for each in seconds))
        print(f"  last fifth over second fifth: {seconds[-1] / seconds[1]:.2f}")
        memory = "  ".join(f"{look[1]:.0f}" for look in looks)
        print(f"  MB of the driver:  {memory}  ({1000 * growth:.1f} kB a trial after the first fifth)")
        print(f"  CPU of the driver: {1000 * cpu_seconds:.0f} ms a trial after the first fifth", flush=True)


def observe(command: Sequence[str], log: Path) -> Course:
    """Run a driver to its end and look at it meanwhile, saying every few seconds how far its trials are.

    Raises:
        RuntimeError: it failed.
    """
    launched = said = time.time()
    looks: list[tuple[float, float, float]] = []
    errors = log.with_suffix(".errors")
    with errors.open("w") as stderr:
        driver = subprocess.Popen(
            [sys.executable, *command], cwd=log.parent, stdout=subprocess.DEVNULL, stderr=stderr, text=True
        )
    process = psutil.Process(driver.pid)
    while driver.poll() is None:
        now = time.time()
        try:
            looks.append((now, process.memory_info().rss / 1e6, sum(process.cpu_times()[:2])))
        except psutil.NoSuchProcess:
            break
        if now - said >= _SAY_SECONDS:
            said = now
            begun = log.read_bytes().count(b"\n") if log.exists() else 0
            print(f"  {now - launched:6.1f} s  {begun} trials  {looks[-1][1]:.0f} MB", flush=True)
        time.sleep(_SAMPLE_SECONDS)
    if driver.wait():
        raise RuntimeError(f"{' '.join(command)} ended with {driver.returncode}:\n{errors.read_text()}")
    lines = sorted((line.split() for line in log.read_text().splitlines()), key=lambda line: float(line[2]))
    xs, nodes, moments = zip(*lines, strict=True)
    return Course(
        xs=list(xs), nodes=list(nodes), begun=[float(each) for each in moments], launched=launched, looks=looks,
    )  # fmt: skip


def _judge(record: SearchRecord, course: Course, trials: int) -> list[str]:
    """What is wrong, in words; nothing when all is well."""
    wrong = []
    if (complete := record.count("COMPLETE")) != trials or len(record.trials) != trials:
        wrong.append(f"{len(record.trials)} trials are recorded, {complete} of them complete, instead of {trials}")
    if doubled := [x for x, count in Counter(course.xs).items() if count > 1]:
        wrong.append(f"{len(doubled)} trials were trained more than once")
    recorded = {repr(float(trial.params["config.x"])) for trial in record.trials}
    if recorded != set(course.xs):
        wrong.append(f"{len(recorded ^ set(course.xs))} trials were trained or recorded only")
    return wrong


if __name__ == "__main__":
    sys.exit(main())

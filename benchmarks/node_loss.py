"""Submits a real search to a cluster of several nodes and kills one of them while it trains.

    python benchmarks/node_loss.py --nodes 3 --trials 9

The nodes are processes of this machine, each with one CPU, below a head that has none. The search is submitted over
HTTP with a token and runs as a job of the cluster; a node that trains is killed with `kill -9`. Then every trial must
be complete, with each of its evaluations recorded once, and those of the dead node must have gone on elsewhere from
their checkpoints: only what was in flight is trained twice.
"""

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.sources import read_records
from cluster.connect import quiet_ray, set_environment

_SPEC = """
name: lossy
trainable: walking:train
config: {x: 0.5, steps: 6, seconds: 0.8}
space: {config.x: {uniform: [0.0, 1.0]}}
search: {algorithm: random, metric: distance, mode: min}
resources: {max_restarts: 0}
tracking: {wandb: {mode: disabled}}
"""
# Each step is logged, with its node, before it is reported: the log tells what really ran, and where.
_FUNCTION = """
import pathlib, tempfile, time
import ray

def train(config, report):
    node = ray.get_runtime_context().get_node_id()
    done = int((report.checkpoint / "step").read_text()) if report.checkpoint else 0
    for step in range(done + 1, config["steps"] + 1):
        with open(config["log"], "a") as log:
            log.write(f"{config['x']} {step} {node}\\n")
        time.sleep(config["seconds"])
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "step").write_text(str(step))
        distance = abs(config["x"] - 0.3) + 1 / step
        report({"distance": distance}, step=step, checkpoint=folder, is_final=step == config["steps"])
"""
_OBJECT_STORE_BYTES = 80 * 1024**2
_TIMEOUT_SECONDS = 420.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a trial that was begun."""

    x: str
    """Which trial, by its value."""
    number: int
    """Of the step."""
    node: str
    """Where."""


@contextmanager
def simulated_cluster(num_nodes: int, *, cpus: int = 1, dashboard: int = 0) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A head without CPUs, and nodes, all as processes here. Gives the cluster, and its nodes by id."""
    from ray.cluster_utils import Cluster

    quiet_ray()
    options = {"object_store_memory": _OBJECT_STORE_BYTES}
    cluster = Cluster()
    try:
        head: dict[str, Any] = {"num_cpus": 0, "include_dashboard": bool(dashboard), **options}
        if dashboard:
            agent = free_port()
            head |= {"dashboard_port": dashboard, "dashboard_agent_listen_port": agent, "dashboard_host": "127.0.0.1"}
        cluster.add_node(**head)
        nodes = {}
        for _ in range(num_nodes):
            node = cluster.add_node(num_cpus=cpus, **options)
            nodes[node.node_id] = node
        cluster.wait_for_nodes()
        yield cluster, nodes
    finally:
        cluster.shutdown()


def free_port() -> int:
    """A port that nobody uses, outside of those that Ray gives to its workers (10002 to 19999)."""
    while True:
        candidate = 20000 + secrets.randbelow(10000)
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", candidate)) != 0:
                return candidate


class Course:
    """One submitted search and what becomes of it."""

    def __init__(self, folder: Path, address: str, *, trials: int) -> None:
        self._folder = folder
        self._address = address
        self._trials = trials
        (folder / "walking.py").write_text(_FUNCTION)
        (folder / "spec.yaml").write_text(_SPEC)

    def submit(self) -> None:
        """Send the search to the cluster."""
        log = json.dumps(str(self._folder / "steps.log"))
        settings = ["--set", f"search.trials={self._trials}", "--set", f"config.log={log}"]
        command = ["submit", "spec.yaml", "--storage", str(self._folder / "storage"), *settings]
        print(self._call(*command).splitlines()[0], flush=True)

    def steps(self) -> list[Step]:
        """All that were begun, in order."""
        log = self._folder / "steps.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [
            Step(x=x, number=int(number), node=node) for x, number, node in (line.split() for line in lines if line)
        ]

    def state(self) -> str:
        """How the job stands."""
        return str(json.loads(self._call("jobs", "status", "lossy", "--json"))["state"])

    def wait_for_the_end(self) -> None:
        """Until the job has ended."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while (state := self.state()) in ("waiting", "running"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the search is still {state}:\n{self.log()}")
            time.sleep(2)

    def log(self) -> str:
        """What the search wrote."""
        return self._call("jobs", "logs", "lossy")

    def judge(self, dead: str) -> list[str]:
        """What is wrong, in words; nothing when all is well."""
        record = read_records(self._folder / "storage" / "lossy")
        wrong = []
        if len(record.trials) != self._trials:
            wrong.append(f"{len(record.trials)} trials instead of {self._trials}")
        for trial in record.trials:
            rows = [row["evaluation"] for row in record.history_of(trial.number) if "evaluation" in row]
            if trial.state != "COMPLETE" or rows != list(range(1, 7)):
                wrong.append(f"trial {trial.number} is {trial.state} with the evaluations {rows}: {trial.error}")
        steps = self.steps()
        for x in {step.x for step in steps if step.node == dead}:
            reached = max(step.number for step in steps if step.x == x and step.node == dead)
            later = [step.number for step in steps if step.x == x and step.node != dead]
            if later and reached < 6 and min(later) < reached:
                wrong.append(f"trial with x={x} went back from step {reached} to {min(later)}")
        return wrong

    def _call(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "search.cli.main", *arguments, "--address", self._address],
            cwd=self._folder, text=True, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"`{' '.join(arguments)}` ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit, kill, wait, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--trials", type=int, default=9)
    options = parser.parse_args(arguments)
    set_environment()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tunesmith-node-loss-") as scratch:
        token = Path(scratch) / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        os.environ.update(RAY_AUTH_TOKEN_PATH=str(token), PATH=paths)
        began = time.monotonic()

        def say(words: str) -> None:
            print(f"{time.monotonic() - began:6.1f} s  {words}", flush=True)

        with simulated_cluster(options.nodes, dashboard=port) as (cluster, nodes):
            say(f"a cluster of {options.nodes} nodes, each with one CPU")
            course = Course(Path(scratch), f"http://127.0.0.1:{port}", trials=options.trials)
            course.submit()
            deadline = time.monotonic() + _TIMEOUT_SECONDS
            # A node whose trial is half way: something is lost, and something can be gone on from.
            while not (halfway := [step for step in course.steps() if step.number == 3]):
                if time.monotonic() > deadline:
                    raise TimeoutError(course.log())
                time.sleep(0.2)
            dead = halfway[0].node
            before = course.steps()
            cluster.remove_node(nodes[dead], allow_graceful=False)
            say(f"killed node {dead[:8]} at step 3 of its trial; {len(before)} steps were begun until then")
            course.wait_for_the_end()
            say(f"the job is {course.state()}")
            print(course.log())
            steps = course.steps()
            by_node = Counter(step.node for step in steps)
            repeated = sum(Counter((step.x, step.number) for step in steps).values()) - len(
                {(step.x, step.number) for step in steps}
            )
            wrong = course.judge(dead)
        print("steps by node:", ", ".join(f"{node[:8]} {count}" for node, count in by_node.items()))
        print(f"{options.trials} trials of 6 steps; {repeated} steps were trained twice, those in flight")
        print("\n".join(wrong) if wrong else "verdict: all trials complete, each evaluation recorded once")
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

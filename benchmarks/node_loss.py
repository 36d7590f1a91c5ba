"""Submits a real search to a cluster of several nodes and takes one of them away while it trains.

    python benchmarks/node_loss.py --nodes 3 --trials 9
    python benchmarks/node_loss.py --nodes 4 --trials 8 --search finetune --separate --loss cut

The nodes have one CPU each, below a head that has none. The search is submitted over HTTP with a token and runs as a
job of the cluster; a node that trains is ended as a machine that loses power (`--loss kill`) or taken off the network
while its processes go on, and put back later (`--loss cut`). Then every trial must be complete, with each of its
evaluations recorded once, and those of the lost node must have gone on elsewhere from their checkpoints: only what was
in flight is trained twice.

By default all nodes are processes of `ray.cluster_utils.Cluster`. With `--separate`, each is a real `ray start` in
namespaces of its own (Linux): they share no network, no processes and no temporary files, only the disk. The search is
a function that logs each step and so tells what ran twice, or, with `--search finetune`, a task of the YAML: a small
BERT on text that comes with Python.
"""

import argparse
import itertools
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from separate_nodes import NODE_NAME, SeparateNodes, can_separate, in_own_namespaces, is_inside, separate_nodes

from analysis.records import SearchRecord
from analysis.sources import read_records
from cluster.connect import quiet_ray, set_environment

_EVALUATIONS = 6
_WALK = """
name: lossy
trainable: walking:train
config: {x: 0.5, steps: 6, seconds: 0.8}
space: {config.x: {uniform: [0.0, 1.0]}}
search: {algorithm: random, metric: distance, mode: min}
resources: {max_restarts: 0}
tracking: {wandb: {mode: disabled}}
"""
_FINETUNE = """
name: lossy
task: sequence_classification
model:
  architecture: bert
  config: {hidden_size: 64, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 128}
data:
  source: {builtin: stdlib-docstrings}
  tokenizer: {train: bpe, vocab_size: 2000}
  max_length: 48
training: {num_train_epochs: 6, per_device_train_batch_size: 16}
space: {training.learning_rate: {log_uniform: [1.0e-4, 3.0e-2]}}
search: {algorithm: random, metric: eval/accuracy}
resources: {max_restarts: 0}
tracking: {wandb: {mode: offline}}
"""
# Each step is logged, with its node, before it is reported: the log tells what really ran, and where.
_FUNCTION = """
import os, pathlib, tempfile, time

def train(config, report):
    node = os.environ["NODE_NAME"]
    done = int((report.checkpoint / "step").read_text()) if report.checkpoint else 0
    for step in range(done + 1, config["steps"] + 1):
        with open(config["log"], "a") as log:
            log.write(f"{config['x']} {step} {node} {time.time()}\\n")
        time.sleep(config["seconds"])
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "step").write_text(str(step))
        distance = abs(config["x"] - 0.3) + 1 / step
        report({"distance": distance}, step=step, checkpoint=folder, is_final=step == config["steps"])
"""
_OBJECT_STORE_BYTES = 80 * 1024**2
_TIMEOUT_SECONDS = 420.0
_BEFORE_THE_LOSS = 3
"""Evaluations after which a trial's node is lost: so that some are lost, and some can be gone on from."""
_CUT_SECONDS = 60.0
"""How long a node is off the network: Ray has given it up by then, and its trials have gone on elsewhere."""


@contextmanager
def simulated_cluster(num_nodes: int, *, cpus: int = 1, dashboard: int = 0) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A head without CPUs, and nodes, all as processes here. Gives the cluster, and its nodes by name."""
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
        names = [f"node-{index}" for index in range(1, num_nodes + 1)]
        nodes = {name: cluster.add_node(num_cpus=cpus, env_vars={NODE_NAME: name}, **options) for name in names}
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


class Nodes(Protocol):
    """A cluster whose nodes can be lost."""

    address: str
    """Where jobs are sent to."""
    names: list[str]
    """Of the nodes that train."""

    def kill(self, name: str) -> None:
        """End all processes of a node at once."""


class _SimulatedNodes:
    def __init__(self, cluster: Any, nodes: dict[str, Any], address: str) -> None:
        self.address = address
        self.names = list(nodes)
        self._cluster, self._nodes = cluster, nodes

    def kill(self, name: str) -> None:
        self._cluster.remove_node(self._nodes[name], allow_graceful=False)


class Course(ABC):
    """One submitted search and what becomes of it."""

    def __init__(self, folder: Path, address: str, *, trials: int) -> None:
        self._folder = folder
        self._address = address
        self._trials = trials

    @abstractmethod
    def submit(self) -> None:
        """Send the search to the cluster."""

    @abstractmethod
    def node_half_way(self, names: Sequence[str]) -> str | None:
        """A node whose trial has come half way; None while there is none."""

    @abstractmethod
    def judge(self, lost: str) -> list[str]:
        """What is wrong, in words; nothing when all is well."""

    @abstractmethod
    def told(self) -> str:
        """What was done where, in a line or two."""

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

    def _send(self, spec: str, *settings: str) -> None:
        (self._folder / "spec.yaml").write_text(spec)
        command = ["submit", "spec.yaml", "--storage", str(self._folder / "storage"), *settings]
        print(self._call(*command, "--set", f"search.trials={self._trials}").splitlines()[0], flush=True)

    def _record(self) -> SearchRecord:
        return read_records(self._folder / "storage" / "lossy")

    def _judge_the_record(self) -> list[str]:
        record = self._record()
        wrong = []
        if len(record.trials) != self._trials:
            wrong.append(f"{len(record.trials)} trials instead of {self._trials}")
        for trial in record.trials:
            rows = [row["evaluation"] for row in record.history_of(trial.number) if "evaluation" in row]
            if trial.state != "COMPLETE" or rows != list(range(1, _EVALUATIONS + 1)):
                wrong.append(f"trial {trial.number} is {trial.state} with the evaluations {rows}: {trial.error}")
        return wrong

    def _call(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "search.cli.main", *arguments, "--address", self._address],
            cwd=self._folder, text=True, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"`{' '.join(arguments)}` ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a trial that was begun."""

    x: str
    """Which trial, by its value."""
    number: int
    """Of the step."""
    node: str
    """Where."""
    at: float
    """When, in Unix time."""


class Walk(Course):
    """A function that logs each step before it takes it."""

    def submit(self) -> None:
        """Send the search to the cluster."""
        (self._folder / "walking.py").write_text(_FUNCTION)
        self._send(_WALK, "--set", f"config.log={json.dumps(str(self._folder / 'steps.log'))}")

    def node_half_way(self, names: Sequence[str]) -> str | None:
        """A node whose trial has come half way; None while there is none."""
        return next((step.node for step in self._steps() if step.number == _BEFORE_THE_LOSS), None)

    def judge(self, lost: str) -> list[str]:
        """What is wrong, in words; nothing when all is well."""
        wrong, steps = self._judge_the_record(), self._steps()
        for x in {step.x for step in steps if step.node == lost}:
            reached = max(step.number for step in steps if step.x == x and step.node == lost)
            later = [step.number for step in steps if step.x == x and step.node != lost]
            if later and reached < _EVALUATIONS and min(later) < reached:
                wrong.append(f"trial with x={x} went back from step {reached} to {min(later)}")
        return wrong

    def told(self) -> str:
        """What was done where, in a line or two."""
        steps = self._steps()
        by_node = Counter(step.node for step in steps)
        repeated = len(steps) - len({(step.x, step.number) for step in steps})
        where = ", ".join(f"{node} {count}" for node, count in sorted(by_node.items()))
        return (
            f"steps by node: {where}\n"
            f"longest wait between two steps of a trial: {self._longest_wait(same_node=False):.1f} s; "
            f"of one that stayed where it was: {self._longest_wait(same_node=True):.1f} s\n"
            f"{self._trials} trials of {_EVALUATIONS} steps; {repeated} steps were trained twice, those in flight"
        )

    def _longest_wait(self, *, same_node: bool) -> float:
        waits = [0.0]
        for x in {step.x for step in self._steps()}:
            steps = [step for step in self._steps() if step.x == x]
            nodes = {step.node for step in steps}
            if len(nodes) == 1 or not same_node:
                waits += [later.at - earlier.at for earlier, later in itertools.pairwise(steps)]
        return max(waits)

    def _steps(self) -> list[Step]:
        log = self._folder / "steps.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [
            Step(x=x, number=int(number), node=node, at=float(at))
            for x, number, node, at in (line.split() for line in lines)
        ]


class Finetune(Course):
    """A task of the YAML. Its nodes are told apart by their host names, so it needs separate ones."""

    def submit(self) -> None:
        """Send the search to the cluster."""
        self._send(_FINETUNE)

    def node_half_way(self, names: Sequence[str]) -> str | None:
        """A node whose trial has come half way; None while there is none."""
        if not (self._folder / "storage" / "lossy" / "study.db").exists():
            return None
        running = [trial for trial in self._record().trials if trial.state == "RUNNING"]
        # One trial on each node, so that any of them is in the middle of something.
        if len(running) < len(names) or min(len(trial.intermediate) for trial in running) < _BEFORE_THE_LOSS - 1:
            return None
        return names[0]

    def judge(self, lost: str) -> list[str]:
        """What is wrong, in words; nothing when all is well."""
        wrong = self._judge_the_record()
        moved = [int(number) for number in re.findall(r"trial (\d+) starts again from its last checkpoint", self.log())]
        if not moved:
            wrong.append("no trial went on elsewhere")
        for trial in self._record().trials:
            if trial.number in moved and str(trial.clock["process"]).startswith(f"{lost}:"):
                wrong.append(f"trial {trial.number} ended on {lost}, which was lost")
        runs = [path.name.rpartition("-")[2] for path in (self._folder / "storage").rglob("run-*.wandb")]
        if len(set(runs)) != self._trials + 1:
            wrong.append(f"{len(set(runs))} W&B runs instead of {self._trials} trials and their search")
        return wrong

    def told(self) -> str:
        """What was done where, in a line or two."""
        ended = Counter(str(trial.clock["process"]).partition(":")[0] for trial in self._record().trials)
        return "trials ended by node: " + ", ".join(f"{node} {count}" for node, count in sorted(ended.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit, take a node away, wait, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--search", choices=("walk", "finetune"), default="walk")
    parser.add_argument("--loss", choices=("kill", "cut"), default="kill")
    parser.add_argument("--separate", action="store_true", help="nodes with namespaces of their own")
    options = parser.parse_args(arguments)
    if not options.separate and (options.search == "finetune" or options.loss == "cut"):
        parser.error("this needs --separate: nodes with names and a network of their own")
    if options.separate and not is_inside():
        if why_not := can_separate():
            parser.error(f"--separate does not work here: {why_not}")
        return in_own_namespaces([sys.executable, *sys.argv])
    set_environment()
    with tempfile.TemporaryDirectory(prefix="tunesmith-node-loss-") as scratch:
        token = Path(scratch) / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        os.environ.update(RAY_AUTH_TOKEN_PATH=str(token), PATH=paths)
        if options.separate:
            with separate_nodes(options.nodes, folder=Path(scratch), token_file=token) as nodes:
                return _run(nodes, Path(scratch), options)
        port = free_port()
        with simulated_cluster(options.nodes, dashboard=port) as (cluster, by_name):
            return _run(_SimulatedNodes(cluster, by_name, f"http://127.0.0.1:{port}"), Path(scratch), options)


def _run(nodes: Nodes, folder: Path, options: argparse.Namespace) -> int:
    began = time.monotonic()

    def say(words: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {words}", flush=True)

    say(f"a cluster of {options.nodes} nodes, each with one CPU")
    course = {"walk": Walk, "finetune": Finetune}[options.search](folder, nodes.address, trials=options.trials)
    course.submit()
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while (lost := course.node_half_way(nodes.names)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(course.log())
        time.sleep(0.2)
    if isinstance(nodes, SeparateNodes) and options.loss == "cut":
        nodes.cut_off(lost)
        say(f"took {lost} off the network in the middle of its trial; its processes go on")
        time.sleep(_CUT_SECONDS)
        nodes.join_again(lost)
        say(f"put {lost} back")
    else:
        nodes.kill(lost)
        say(f"killed {lost} in the middle of its trial")
    course.wait_for_the_end()
    say(f"the job is {course.state()}")
    print(course.log())
    print(course.told())
    wrong = course.judge(lost)
    print("\n".join(wrong) if wrong else "verdict: all trials complete, each evaluation recorded once")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Kills a real search with `kill -9` at random moments and compares what is left with one that nobody killed.

    python benchmarks/kill_and_go_on.py --kills 20

A search with ASHA and TPE for the learning rate of a small language model is run, some of its trials fail; then it is
retried, extended and forked. The same is done twice: once undisturbed, once with kills spread over all four commands:
at any moment from the start of the process to its end, of the driver and, every fourth time, of the process that
trains. With one trial at a time, all numbers must be the same: suggestions, states, every value at every rung, and who
stands for whom.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.records import SearchFiles, SearchRecord
from analysis.sources import read_records
from search.inheritance import is_whole
from search.ledger import open_study

_SPEC = """
name: walk
trainable: walking:train
config: {learning_rate: 0.01, length: 9}
space: {config.learning_rate: {log_uniform: [1.0e-4, 1.0]}}
search:
  algorithm: {name: tpe, startup_trials: 4}
  metric: loss
  mode: min
  trials: 10
  scheduler: {name: asha, unit: steps, grace: 1, reduction_factor: 3, max: 9}
resources: {concurrent_trials: 1}
checkpoints: {keep: 2}
tracking: {wandb: {mode: disabled}}
"""
# A character model of real text that goes on bit for bit: weights, optimizer, and batches that follow from the step.
_FUNCTION = """
import os, pathlib, tempfile
from pydoc_data.topics import topics
import torch
from torch import nn

HERE = pathlib.Path(__file__).parent
BYTES = "".join(topics[name] for name in sorted(topics)).encode()[:120_000]
TEXT = torch.frombuffer(bytearray(BYTES), dtype=torch.uint8)
LENGTH, BATCH, UPDATES = 32, 16, 12

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(256, 32), nn.Linear(64, 256)
        self.lstm = nn.LSTM(32, 64, batch_first=True)

    def forward(self, ids):
        return self.head(self.lstm(self.embedding(ids))[0])

def loss_of(model, seed):
    places = torch.randint(len(TEXT) - LENGTH - 1, (BATCH,), generator=torch.Generator().manual_seed(seed))
    rows = torch.stack([TEXT[place : place + LENGTH + 1] for place in places]).long()
    return nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())

def train(config, report):
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    done = 0
    if report.checkpoint:
        state = torch.load(report.checkpoint / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    for step in range(done + 1, config["length"] + 1):
        with (HERE / "steps.log").open("a") as log:
            log.write(f"{config['learning_rate']} {step} {os.getpid()}\\n")
        for update in range(UPDATES):
            optimizer.zero_grad()
            loss_of(model, step * UPDATES + update).backward()
            optimizer.step()
        if step == 2 and config["learning_rate"] > 0.03 and (HERE / "flaky").exists():
            raise OSError("the disk is full")
        folder = pathlib.Path(tempfile.mkdtemp())
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, folder / "state.pt")
        with torch.no_grad():
            loss = sum(loss_of(model, -seed).item() for seed in range(1, 9)) / 8
        report({"loss": loss}, step=step, checkpoint=folder, is_final=step == config["length"])
"""
_TIMEOUT_SECONDS = 300


@dataclass(kw_only=True)
class Course:
    """The four commands in one folder, disturbed or not."""

    folder: Path
    kills: int = 0
    """How many in all."""
    generator: random.Random = field(default_factory=random.Random)
    usual: dict[str, float] = field(default_factory=dict)
    """Seconds that each command takes when nobody disturbs it."""
    killed: Counter[str] = field(default_factory=Counter)
    """Kills so far, by command and by what was killed."""
    attempts: int = 0
    """Kills so far, also those that came too late."""
    started_at: float = 0.0
    """Unix time at which the command that runs was started."""

    @property
    def num_kills(self) -> int:
        """Sessions that were killed so far."""
        return sum(count for name, count in self.killed.items() if "trial" not in name)

    def run(self) -> None:
        """From the first command to the last."""
        (self.folder / "walking.py").write_text(_FUNCTION)
        (self.folder / "spec.yaml").write_text(_SPEC)
        (self.folder / "flaky").touch()
        # A command that was killed before it wrote what is asked for is given again; else `resume` does the rest.
        shares = [self.kills - 3 * (self.kills // 5), *[self.kills // 5] * 3]
        self._phase("run", ["run", "spec.yaml"], "searches/walk", shares[0])
        (self.folder / "flaky").unlink()
        self._phase("retry", ["retry", "searches/walk"], "searches/walk", shares[1])
        longer = ["--trials", "12", "--set", "config.length=18", "--set", "search.scheduler.max=18"]
        self._phase("extend", ["extend", "searches/walk", *longer], "searches/walk", shares[2])
        narrower = _SPEC.replace("[1.0e-4, 1.0]", "[1.0e-3, 1.0e-1]").replace("name: walk", "name: fork")
        narrower = narrower.replace("length: 9", "length: 18").replace("max: 9", "max: 18")
        (self.folder / "narrower.yaml").write_text(narrower.replace("trials: 10", "trials: 6"))
        self._phase("fork", ["fork", "searches/walk", "narrower.yaml"], "searches/fork", shares[3])

    def records(self) -> dict[str, SearchRecord]:
        """Both searches as they were left."""
        return {name: read_records(self.folder / "searches" / name) for name in ("walk", "fork")}

    def steps(self) -> list[str]:
        """Steps that were begun, `x step`, in order."""
        log = self.folder / "steps.log"
        return [line.rsplit(" ", 1)[0] for line in log.read_text().splitlines()]

    def _phase(self, name: str, command: list[str], directory: str, kills: int) -> None:
        wanted = self.num_kills + kills
        for _ in range(4 * kills):  # some come too late: what is done is resumed, and killed in that
            if self.num_kills >= wanted:
                break
            process = self._start(command)
            self.attempts += 1
            if self.attempts % 2:
                # Most of the time goes into starting Ray: every other kill waits until something trains.
                self._wait_for_a_step(process)
                after = self.generator.uniform(0.0, 4.0)
            else:
                after = self.generator.uniform(0.05, 0.9) * self.usual[name]
            self._kill(process, name, after=after)
            command = self._next(command, directory)
        began = time.monotonic()
        process = self._start(command)
        shown, errors = process.communicate(timeout=_TIMEOUT_SECONDS)
        if process.returncode != 0:
            raise RuntimeError(f"`{' '.join(command)}` ended with {process.returncode}:\n{shown}\n{errors}")
        self.usual.setdefault(name, time.monotonic() - began)

    def _wait_for_a_step(self, process: subprocess.Popen[str]) -> None:
        log = self.folder / "steps.log"
        before = log.stat().st_size if log.exists() else 0
        while process.poll() is None and (not log.exists() or log.stat().st_size == before):
            time.sleep(0.02)

    def _next(self, command: list[str], directory: str) -> list[str]:
        """What a person would do after a kill: resume, or the same again where nothing had begun."""
        files = SearchFiles(self.folder / directory)
        if command[0] in ("run", "fork"):
            if files.study.exists() and _is_whole(files.path):
                return ["resume", directory]
            subprocess.run(["rm", "-rf", str(files.path)], check=True)
            return command
        if command[0] in ("retry", "extend") and f"command: {command[0]}" in files.spec.read_text():
            return ["resume", directory]
        return command

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        self.started_at = time.time()
        return subprocess.Popen(
            [sys.executable, "-m", "search.cli.main", *command],
            cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def _kill(self, process: subprocess.Popen[str], name: str, *, after: float) -> None:
        """Kill the driver, or what trains for it and then the driver, if it still runs then."""
        try:
            process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            if self.attempts % 4 == 3 and self._kill_trial():
                self.killed[f"{name}, trial"] += 1
                time.sleep(self.generator.uniform(0.0, 2.0))
            process.kill()
            process.communicate()
            self.killed[name] += 1

    def _kill_trial(self) -> bool:
        """Kill the process that wrote the last step, if this session started it."""
        log = self.folder / "steps.log"
        if not log.exists() or log.stat().st_mtime < self.started_at:
            return False
        pid = int(log.read_text().splitlines()[-1].split()[2])
        try:
            os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True


def facts_of(record: SearchRecord) -> list[dict[str, Any]]:
    """What must not depend on kills: everything but times and places."""
    return [
        {
            "number": trial.number,
            "state": trial.state,
            "params": trial.params,
            "value": trial.value,
            "rungs": trial.intermediate,
            "error": trial.error,
            "superseded_by": trial.superseded_by,
            "origin": (trial.origin.kind, trial.origin.trial) if trial.origin else None,
            "kept": trial.checkpoint is not None,
        }
        for trial in record.trials
    ]


def judge(plain: Course, disturbed: Course) -> list[str]:
    """What differs, in words; nothing when all is well."""
    wrong = []
    for name, expected in plain.records().items():
        found = disturbed.records()[name]
        files = SearchFiles(disturbed.folder / "searches" / name)
        if len(found.trials) != len(expected.trials):
            wrong.append(f"{name}: {len(found.trials)} trials instead of {len(expected.trials)}")
        for one, other in zip(facts_of(found), facts_of(expected), strict=False):
            wrong += [
                f"{name}: trial {one['number']}: {key} is {one[key]}, not {other[key]}"
                for key in one
                if one[key] != other[key]
            ]
        for trial in found.trials:
            rows = files.trial(trial.number).read_history()
            evaluations = [row["evaluation"] for row in rows if "evaluation" in row]
            if evaluations != list(range(1, len(evaluations) + 1)):
                wrong.append(f"{name}: trial {trial.number} has the evaluations {evaluations}")
        left = {path.name for path in (files.path / "trials").iterdir()}
        if strange := left - {str(trial.number) for trial in found.trials}:
            wrong.append(f"{name}: folders of no trial: {sorted(strange)}")
    if missing := set(plain.steps()) ^ set(disturbed.steps()):
        wrong.append(f"steps that only one of them ran: {sorted(missing)[:5]}")
    return wrong


def _is_whole(path: Path) -> bool:
    try:
        return is_whole(open_study(path))
    except Exception:  # its tables were not all made
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Both courses and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="leave the folders here")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tunesmith-kills-") as scratch:
        root = options.keep or Path(scratch)
        courses: list[Course] = []
        for name, kills in (("undisturbed", 0), ("killed", options.kills)):
            folder = root / name
            folder.mkdir(parents=True)
            course = Course(folder=folder, kills=kills, generator=random.Random(options.seed))
            course.usual = dict(courses[0].usual) if courses else {}
            began = time.monotonic()
            course.run()
            print(f"{name}: {time.monotonic() - began:.0f} s, kills {json.dumps(course.killed)}", flush=True)
            courses.append(course)
        plain, disturbed = courses
        wrong = judge(plain, disturbed)
        repeated = sum((Counter(disturbed.steps()) - Counter(plain.steps())).values())
        trials = sum(len(record.trials) for record in plain.records().values())
        print(
            f"{trials} trials, {len(plain.steps())} training steps; {disturbed.num_kills} kills made "
            f"{repeated} steps run twice, those in flight"
        )
        print("\n".join(wrong) if wrong else "verdict: no trial lost, none run twice, all rungs identical")
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

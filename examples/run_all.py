"""Runs every example spec for a few steps and prints a table: `make examples`. Knows the command line only.

A new spec below this folder is picked up by itself. Those of a task are cut to a few steps and documents; anything
else that makes an example short stands in the spec, in a comment of its own:

    # short: config.epochs=1 config.num_texts=200

`{NAME}` in it is the folder of the best checkpoint of the example search NAME, which then runs first.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

EXAMPLES = Path(__file__).parent
_TIMEOUT_SECONDS = 600
_SHORT = re.compile(r"^# short: (.+)$", re.MULTILINE)
_OF_EVERY_SEARCH = ("search.trials=2", "search.scheduler=none", "tracking.wandb.mode=disabled")
# Two steps say as much as two hundred of whether a spec works.
_OF_EVERY_TASK = ("training.max_steps=2", "data.max_documents=150")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One spec."""

    path: Path
    spec: dict[str, Any]
    """As it stands in the file."""
    short: tuple[str, ...]
    """Its own overrides."""

    @property
    def name(self) -> str:
        """Its file below the folder of examples."""
        return str(self.path.relative_to(EXAMPLES))

    @property
    def overrides(self) -> tuple[str, ...]:
        """What makes it short, its own overrides last: the last one counts."""
        of_its_kind = _OF_EVERY_TASK if "task" in self.spec else ()
        return (*_OF_EVERY_SEARCH, *of_its_kind, *self.short)

    @property
    def needs_gpu(self) -> bool:
        """Whether it asks for a GPU."""
        return bool((self.spec.get("resources") or {}).get("gpus_per_worker"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """How an example went."""

    example: Example
    state: str
    """`ok`, `skipped: ...`, or what went wrong."""
    seconds: float = 0.0
    num_trials: int = 0
    best: str = ""
    checkpoint: str | None = None
    """Of the best trial."""

    @property
    def is_bad(self) -> bool:
        """Whether the example is broken."""
        return self.state != "ok" and not self.state.startswith("skipped")


def find_examples() -> list[Example]:
    """Every spec, those that need another's checkpoint last."""
    found = []
    for path in sorted(EXAMPLES.rglob("*.y*ml")):
        text = path.read_text("utf-8")
        short = tuple(word for line in _SHORT.findall(text) for word in line.split())
        found.append(Example(path=path, spec=yaml.safe_load(text), short=short))
    return sorted(found, key=lambda example: any("{" in word for word in example.short))


def run_example(example: Example, *, storage: Path, checkpoints: dict[str, str]) -> Ran:
    """Run one spec in `storage`. `checkpoints` has those of the examples before it, by name."""
    if example.needs_gpu and shutil.which("nvidia-smi") is None:
        return Ran(example=example, state="skipped: needs a GPU")
    try:
        overrides = [override.format_map(checkpoints) for override in example.overrides]
    except KeyError as error:
        return Ran(example=example, state=f"no checkpoint of {error}")
    command = [sys.executable, "-m", "search.cli.main", "run", str(example.path), "--json", "--storage", str(storage)]
    for override in overrides:
        command += ["--set", override]
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Ran(example=example, state=f"took more than {_TIMEOUT_SECONDS} s", seconds=_TIMEOUT_SECONDS)
    seconds = time.monotonic() - started
    if not done.stdout.startswith("{"):
        return Ran(example=example, state=_last_line(done.stderr) or f"exit {done.returncode}", seconds=seconds)
    return _read(example, json.loads(done.stdout), seconds=seconds)


def _read(example: Example, result: dict[str, Any], *, seconds: float) -> Ran:
    entries = result["leaderboard"]
    errors = [entry["error"] for entry in entries if entry["error"]]
    finished = [entry for entry in entries if entry["state"] == "COMPLETE"]
    return Ran(
        example=example,
        state=errors[0] if errors else "ok" if finished else "no trial finished",
        seconds=seconds,
        num_trials=len(entries),
        best=f"{result['metric']} {_shown(finished[0])}" if finished else "",
        checkpoint=finished[0]["checkpoint"] if finished else None,
    )


def _shown(entry: dict[str, Any]) -> str:
    values = entry["values"] or {"": entry["value"]}
    return ", ".join(f"{value:.4g}" for value in values.values())


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return next((line for line in lines if line.startswith("error: ")), lines[-1] if lines else "")


def main(names: Sequence[str]) -> int:
    """Run all examples, or those whose file has one of `names` in it. Gives 1 when one is broken."""
    wanted = [one for one in find_examples() if not names or any(name in one.name for name in names)]
    if not wanted:
        sys.stderr.write(f"no example has {' or '.join(names)} in its name\n")
        return 2
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, justify in (("example", "left"), ("task", "left"), ("trials", "right"), ("best", "left"),
                            ("seconds", "right"), ("state", "left")):  # fmt: skip
        table.add_column(column, justify=justify)  # type: ignore[arg-type]  # both are ways to justify
    checkpoints: dict[str, str] = {}
    ran = []
    with tempfile.TemporaryDirectory(prefix="tunesmith-examples-") as storage:
        for example in wanted:
            sys.stderr.write(f"{example.name} ... ")
            sys.stderr.flush()
            one = run_example(example, storage=Path(storage), checkpoints=checkpoints)
            sys.stderr.write(f"{one.state}, {one.seconds:.0f} s\n")
            ran.append(one)
            if one.checkpoint:
                checkpoints[str(example.spec["name"])] = one.checkpoint
            task = str(example.spec.get("task") or "own function")
            table.add_row(example.name, task, str(one.num_trials), one.best, f"{one.seconds:.0f}", one.state)
    Console(width=160).print(table, highlight=False, markup=False)
    return int(any(one.is_bad for one in ran))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

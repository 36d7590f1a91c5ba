"""What a person sees while a search runs: a live table in a terminal, plain lines elsewhere. Knows no ray."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis.wording import short_names, show_metric, show_value
from search.ledger import EndState
from spaces.reports import Progress, ResourceUnit
from trainables.metrics import Mode

_NOTES_SHOWN = 3
_END_WORDS = {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed"}


@dataclass
class _Running:
    started: float
    params: dict[str, Any]
    progress: Progress | None = None
    value: float | None = None


@dataclass
class SearchProgress:
    """The state of a search as far as it is shown."""

    metric: str
    mode: Mode
    num_trials: int
    """How many trials there will be."""
    console: Console
    unit: ResourceUnit = "epochs"
    """What training is counted in."""
    counts: dict[str, int] = field(default_factory=lambda: {"COMPLETE": 0, "PRUNED": 0, "FAIL": 0})
    best: tuple[float, int] | None = None
    """Value and number of the best finished trial."""
    running: dict[int, _Running] = field(default_factory=dict)
    message: str = ""
    """What happens when no trial runs yet."""
    started: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)
    """What a person should know of the search as a whole."""
    _paused: dict[int, _Running] = field(default_factory=dict)
    _ended_here: int = 0

    def trial_started(self, number: int, *, params: dict[str, Any]) -> None:
        """A trial starts, or goes on."""
        self._paused.pop(number, None)
        self.running[number] = _Running(started=time.monotonic(), params=params)

    def trial_reported(self, number: int, progress: Progress, value: float | None) -> None:
        """A trial has evaluated."""
        self.running[number].progress = progress
        self.running[number].value = value
        self.message = ""

    def trial_paused(self, number: int) -> None:
        """A trial waits for others."""
        self._paused[number] = self.running.pop(number)

    def trial_ended(self, number: int, state: EndState, value: float | None, reason: str | None) -> None:
        """A trial has ended. `reason` says why it failed or was stopped, where that is known."""
        trial = self.running.pop(number, None) or self._paused.pop(number)
        self.counts[state] += 1
        self._ended_here += 1
        is_best = state == "COMPLETE" and value is not None and self._is_better(value)
        if is_best and value is not None:
            self.best = (value, number)
        if not self.console.is_terminal:
            self.console.print(
                self._line(number, state, value, reason, trial, is_best=is_best),
                highlight=False,
                soft_wrap=True,
            )

    @property
    def num_ended(self) -> int:
        """Trials that have ended, in this session or an earlier one."""
        return sum(self.counts.values())

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the trials that ended in this session; None before the first has."""
        if not self._ended_here:
            return None
        pace = (time.monotonic() - self.started) / self._ended_here
        return pace * (self.num_trials - self.num_ended)

    def say(self, message: str) -> None:
        """Show what is going on between trials."""
        if self.message != message and not self.console.is_terminal:
            self.console.print(message, highlight=False, soft_wrap=True)
        self.message = message

    def note(self, sentence: str) -> None:
        """Show a sentence for the rest of the search."""
        self.notes.append(sentence)
        if not self.console.is_terminal:
            self.console.print(sentence, highlight=False, soft_wrap=True)

    def render(self) -> RenderableType:
        """The live view."""
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=max(self.num_trials, 1), completed=self.num_ended, width=30),
            Text(f"{self.num_ended}/{self.num_trials} trials", style="bold"),
            Text(f"{self.counts['COMPLETE']} finished", style="green"),
            Text(f"{self.counts['PRUNED']} stopped early", style="yellow"),
            Text(f"{self.counts['FAIL']} failed", style="red" if self.counts["FAIL"] else "dim"),
            *([Text(f"{len(self._paused)} waiting", style="dim")] if self._paused else []),
        )
        facts = [
            f"best {self.metric} {show_metric(self.best[0])} (trial {self.best[1]})"
            if self.best
            else f"no {self.metric} yet"
        ]
        if self._ended_here:
            elapsed = time.monotonic() - self.started
            facts.append(f"{60 * self._ended_here / elapsed:.1f} trials/min")
        facts.append(f"{clock(time.monotonic() - self.started)} elapsed")
        if (left := self.seconds_left) is not None:
            facts.append(f"about {clock(left)} left")
        parts: list[RenderableType] = [head, Text("  ·  ".join(facts))]
        if self.running:
            parts.append(self._running_table())
        parts += [Text(sentence, style="yellow") for sentence in self.notes[-_NOTES_SHOWN:]]
        if self.message:
            parts.append(Text(self.message, style="dim"))
        return Group(*parts)

    def _running_table(self) -> Table:
        paths = list(dict.fromkeys(path for trial in self.running.values() for path in trial.params))
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for name in ("running", self.unit, self.metric, *short_names(paths).values(), "seconds"):
            table.add_column(name, justify="right")
        for number, trial in sorted(self.running.items())[:12]:
            table.add_row(
                f"trial {number}",
                f"{trial.progress.resource(self.unit):g}" if trial.progress else "-",
                "-" if trial.value is None else show_metric(trial.value),
                *(show_value(trial.params.get(path, "")) for path in paths),
                f"{time.monotonic() - trial.started:.0f}",
            )
        return table

    def _line(
        self,
        number: int,
        state: EndState,
        value: float | None,
        reason: str | None,
        trial: _Running,
        *,
        is_best: bool,
    ) -> str:
        names = short_names(list(trial.params))
        params = " ".join(f"{names[path]}={show_value(item)}" for path, item in trial.params.items())
        outcome = f"{self.metric}={show_metric(value)}" if value is not None else str(reason)
        done = trial.progress.resource(self.unit) if trial.progress else 0.0
        at = f" after {done:g} {self.unit}" if state == "PRUNED" else ""
        at += f" ({reason})" if state == "PRUNED" and reason else ""
        mark = "  (best so far)" if is_best else ""
        return f"[{self.num_ended}/{self.num_trials}] trial {number} {_END_WORDS[state]}{at}: {outcome}  {params}{mark}"

    def _is_better(self, value: float) -> bool:
        return self.best is None or (value < self.best[0] if self.mode == "min" else value > self.best[0])


@contextlib.contextmanager
def shown(progress: SearchProgress) -> Iterator[None]:
    """Show `progress` live for the time of the block, where there is a terminal."""
    if not progress.console.is_terminal:
        yield
        return
    with Live(get_renderable=progress.render, console=progress.console, refresh_per_second=4, transient=True):
        yield


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` under an hour."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

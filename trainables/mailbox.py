"""What the trainable and the ranks of a warm worker group tell each other: orders, reports, verdicts, endings.

A plain object of coroutines; `worker_group.py` makes a Ray actor of it. Nothing here knows Ray or torch. Ranks wait
here and not in a collective: a group that waits for its next trial, or for the search, is under no time-out.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from spaces.reports import TrialReport
from trainables.memory import Batches
from trainables.trial import TrialOutcome

Verdict = Literal["go", "stop", "peer lost"]
Ending = TrialOutcome | None
"""How a trial ended on one rank; None when it was stopped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOrder:
    """One trial for every rank."""

    order: str
    """The trainable's order, as JSON."""
    attempt: int
    """Which attempt of the trial this is."""
    batches: Batches | None = None
    """Smaller ones than the trial's own, when an attempt before this one found those not to fit into memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialEnded:
    """All ranks have ended a trial, or some have and the others never will."""

    outcome: Ending
    """The result; None when the trial was stopped or lost."""
    is_lost: bool = False
    """Whether ranks were cut off although none had failed by itself: the trial has no result."""
    is_group_whole: bool = True
    """Whether all ranks are there for another trial."""


@dataclass
class _Page:
    """What the ranks said in one trial."""

    verdicts: list[Verdict] = field(default_factory=list)
    rounds: dict[int, dict[int, Any]] = field(default_factory=dict)
    endings: dict[int, Ending] = field(default_factory=dict)


class Mailbox:
    """One for each group. Ranks name the trial they speak of by its number in the group: 0 for the first."""

    def __init__(self, *, world_size: int, patience_seconds: float) -> None:
        self._world_size = world_size
        self._patience = patience_seconds
        self._workers: list[Any] = []
        self._orders: list[WorkerOrder | None] = []
        self._pages: dict[int, _Page] = {}
        self._events: asyncio.Queue[TrialReport | TrialEnded] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._timers: set[asyncio.Task[None]] = set()

    # --- the trainable's side ---

    async def post(self, order: WorkerOrder | None) -> None:
        """The next trial for all ranks; None sends them home."""
        async with self._changed:
            self._pages.pop(len(self._orders) - 2, None)  # nobody speaks of that trial any more
            self._orders.append(order)
            self._changed.notify_all()

    async def next_event(self) -> TrialReport | TrialEnded:
        """What comes next of the trial that runs. A report waits for its answer."""
        return await self._events.get()

    async def answer(self, *, stop: bool) -> None:
        """The verdict on the last report."""
        async with self._changed:
            self._page(len(self._orders) - 1).verdicts.append("stop" if stop else "go")
            self._changed.notify_all()

    async def workers(self) -> list[Any]:
        """The ranks that have enlisted."""
        return self._workers

    async def failure_so_far(self) -> Ending:
        """The failure that a rank has told of: for a trainable that finds its group dead."""
        outcome = merged(self._page(len(self._orders) - 1).endings).outcome
        return outcome if outcome is not None and outcome.failure is not None else None

    # --- the ranks' side ---

    async def enlist(self, worker: Any) -> None:
        """A handle by which this rank can be ended from outside."""
        self._workers.append(worker)

    async def next_order(self, trial: int) -> WorkerOrder | None:
        """The `trial`-th order of this group."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._orders) > trial)
            return self._orders[trial]

    async def report(self, trial: int, number: int, report: TrialReport | None) -> Verdict:
        """The verdict on the `number`-th report of the trial. The first rank brings the report itself."""
        page = self._page(trial)
        if report is not None:
            self._events.put_nowait(report)
        await self._until(lambda: len(page.verdicts) > number or bool(page.endings))
        return page.verdicts[number] if len(page.verdicts) > number else "peer lost"

    async def gather(self, trial: int, number: int, rank: int, value: Any) -> list[Any] | None:
        """What all ranks gave in the `number`-th round, or None when one of them ended the trial before it gave."""
        page = self._page(trial)
        values = page.rounds.setdefault(number, {})
        async with self._changed:
            values[rank] = value
            self._changed.notify_all()
        await self._until(lambda: len(values) == self._world_size or bool(page.endings.keys() - values.keys()))
        return [values[each] for each in range(self._world_size)] if len(values) == self._world_size else None

    async def end(self, trial: int, rank: int, ending: Ending) -> None:
        """`rank` has ended the trial. The trainable is told once all have, or once the patience with the rest ends."""
        page = self._page(trial)
        async with self._changed:
            page.endings[rank] = ending
            self._changed.notify_all()
        if len(page.endings) == self._world_size:
            self._events.put_nowait(merged(page.endings))
        elif len(page.endings) == 1:
            timer = asyncio.create_task(self._lose_patience(page))
            self._timers.add(timer)
            timer.add_done_callback(self._timers.discard)

    async def endings(self, trial: int, *, within_seconds: float | None) -> list[Ending] | None:
        """How the trial ended on each rank; None when not all have ended it in time."""
        page = self._page(trial)
        try:
            await asyncio.wait_for(self._until(lambda: len(page.endings) == self._world_size), within_seconds)
        except TimeoutError:
            return None
        return [page.endings[rank] for rank in range(self._world_size)]

    async def exchange(self, trial: int, rank: int, value: Any) -> list[Any]:
        """What all ranks gave after the trial had ended on all of them."""
        values = self._page(trial).rounds.setdefault(-1, {})
        async with self._changed:
            values[rank] = value
            self._changed.notify_all()
        await self._until(lambda: len(values) == self._world_size)
        return [values[each] for each in range(self._world_size)]

    def _page(self, trial: int) -> _Page:
        return self._pages.setdefault(trial, _Page())

    async def _until(self, is_so: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(is_so)

    async def _lose_patience(self, page: _Page) -> None:
        await asyncio.sleep(self._patience)
        if len(page.endings) < self._world_size:
            self._events.put_nowait(replace(merged(page.endings), is_group_whole=False))


def merged(endings: Mapping[int, Ending]) -> TrialEnded:
    """One end of a trial out of those of its ranks. A rank's own failure counts before those it caused in others."""
    ended = dict(sorted(endings.items()))
    rows = next((outcome.rows for outcome in ended.values() if outcome is not None and outcome.rows), [])
    failures = {rank: out.failure for rank, out in ended.items() if out is not None and out.failure is not None}
    own = {rank: failure for rank, failure in failures.items() if failure.kind != "lost"}
    if own:
        rank, failure = next(iter(own.items()))
        if len(own) < len(ended):
            failure = replace(failure, message=f"{failure.message} (on rank {rank})")
        retries = [out.retry_with for rank in own if (out := ended[rank]) is not None and out.retry_with is not None]
        # Where a rank failed for another reason, smaller batches help nobody.
        smallest = min(retries, key=lambda batches: batches.micro) if len(retries) == len(own) else None
        return TrialEnded(outcome=TrialOutcome(failure=failure, rows=rows, retry_with=smallest))
    if failures:
        return TrialEnded(outcome=None, is_lost=True)
    if any(outcome is None for outcome in ended.values()):
        return TrialEnded(outcome=None)
    return TrialEnded(outcome=TrialOutcome(rows=rows))

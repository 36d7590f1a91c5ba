"""A search's account over all its sessions: what earlier ones spent comes from the record, the time from a clock.

Knows no ray and no trial document.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from analysis.records import SearchRecord, TrialRecord
from search.budget import Account, BudgetConfig, Limit, State, Verdict, rates_of
from search.spec import SearchSpec
from spaces.reports import TrialReport
from trainables.metrics import Mode

SECONDS = "seconds"
"""Attribute of a study: wall time of all its sessions so far."""
_NOTE_EVERY_SECONDS = 5.0


class Spending:
    """Tells the account what happens, and when."""

    def __init__(
        self,
        account: Account,
        *,
        seconds_before: float = 0.0,
        record: SearchRecord | None = None,
        note: Callable[[float], object] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            account: Still empty.
            seconds_before: Wall time of earlier sessions.
            record: What they recorded.
            note: Keeps the wall time for the next session.
            clock: Seconds from any beginning.
        """
        self._account = account
        self._clock = clock
        self._began = clock() - seconds_before
        self._note = note
        self._noted = seconds_before
        self._taken_over = {} if record is None else {trial.number: _before(trial) for trial in record.trials}
        for trial in _in_order_of_end(record):
            _book(account, trial)

    @property
    def now(self) -> float:
        """Wall time of the search in seconds."""
        return self._clock() - self._began

    @property
    def budget(self) -> BudgetConfig:
        """What the account decides by."""
        return self._account.budget

    def used(self) -> dict[Limit, float]:
        """What was spent so far."""
        return self._account.used(now=self.now)

    def started(self, number: int) -> None:
        """Trial `number` starts, or goes on."""
        self._account.started(number, now=self.now)

    def reported(self, number: int, report: TrialReport) -> None:
        """Trial `number` has evaluated."""
        seconds, energy = self._taken_over.get(number, (0.0, 0.0))
        self._account.progressed(
            number,
            now=self.now,
            seconds=max(0.0, report.seconds - seconds),
            energy=max(0.0, ((report.usage and report.usage.energy_wh) or 0.0) - energy),
        )
        self._keep_time_now_and_then()

    def ended(self, number: int, state: State, *, value: float | None, result: Mapping[str, Any]) -> None:
        """Trial `number` has ended with `result`, as the study has it."""
        seconds = result.get("seconds")
        before, _ = self._taken_over.get(number, (0.0, 0.0))
        self._account.ended(
            number, state=state, value=value, seconds=seconds, energy=result.get("usage", {}).get("energy_wh"),
            own_share=max(0.0, 1 - before / seconds) if seconds else 1.0,
        )  # fmt: skip
        self._keep_time_now_and_then()

    def verdict(self) -> Verdict:
        """Whether another trial may start."""
        return self._account.verdict(now=self.now)

    def exhausted(self) -> str | None:
        """Why all must stop now."""
        return self._account.exhausted(now=self.now)

    def keep_time(self) -> None:
        """Note the wall time for the next session."""
        self._noted = self.now
        self._note(self._noted)

    def _keep_time_now_and_then(self) -> None:
        """A kill loses a few seconds of the account; a note at each report would cost more than a short trial."""
        if self.now - self._noted > _NOTE_EVERY_SECONDS:
            self.keep_time()


def make_spending(
    spec: SearchSpec, record: SearchRecord, *, seconds_before: float, note: Callable[[float], object]
) -> Spending:
    """The account of a search that starts or goes on."""
    return Spending(empty_account(spec), seconds_before=seconds_before, record=record, note=note)


def empty_account(spec: SearchSpec, *, mode: Mode | None = None) -> Account:
    """An account by the budget of `spec`."""
    return Account(
        budget=spec.search.budget,
        mode=mode or spec.mode,
        rates=rates_of(spec.resources),
        currency=spec.resources.currency,
        stops_early=spec.search.scheduler.name != "none",
    )


def _before(trial: TrialRecord) -> tuple[float, float]:
    return (trial.origin.seconds_before, trial.origin.energy_before_wh) if trial.origin else (0.0, 0.0)


def _in_order_of_end(record: SearchRecord | None) -> list[TrialRecord]:
    ended = [trial for trial in record.trials if trial.state != "RUNNING"] if record else []
    return sorted(ended, key=lambda trial: (trial.clock.get("ended_at", 0.0), trial.number))


def _book(account: Account, trial: TrialRecord) -> None:
    if trial.origin is not None and trial.origin.kind == "inherited":
        if trial.value is not None:
            account.inherited(trial.value)
        return
    assert trial.state != "RUNNING", "what runs is booked when it goes on"
    is_current = trial.superseded_by is None
    account.ended(
        trial.number,
        state=trial.state,
        value=trial.value if is_current else None,
        seconds=trial.seconds,
        energy=trial.usage.energy_wh,
        own_share=trial.own_share,
    )

"""How long workers trained and how long they waited, by the clocks of trials. Draws nothing."""

from dataclasses import dataclass

from analysis.records import SearchRecord, TrialRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerTime:
    """The time of all processes that ran trials, from the first step of the first trial to the last report."""

    span: float
    """Seconds from the first to the last moment."""
    num_workers: int
    """Processes that ran trials."""
    busy: float
    """Seconds in which they trained, all together."""
    idle: float
    """Seconds in which they did not, all together."""

    @property
    def idle_share(self) -> float:
        """Of all the time of workers."""
        return self.idle / (self.busy + self.idle) if self.busy + self.idle > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """A trial in a worker."""

    since: float
    """Its first step, in Unix time."""
    until: float
    """Its last report."""
    process: str
    """The worker: host and process id."""
    trial: TrialRecord
    """The trial."""


def shifts(record: SearchRecord) -> list[Shift]:
    """Those of trials that say when they ran, by their start."""
    found = [
        Shift(
            since=float(trial.clock["began_at"]),
            until=float(trial.clock["ended_at"]),
            process=str(trial.clock.get("process", "")),
            trial=trial,
        )
        for trial in record.trials
        if trial.clock.get("began_at") and trial.clock.get("ended_at") and trial.own_share > 0
    ]
    return sorted(found, key=lambda shift: shift.since)


def worker_time(record: SearchRecord) -> WorkerTime | None:
    """How long workers trained and waited; None where no trial says when it ran. Only the last attempt of a trial says
    so: of a search that was interrupted, or whose trials wait at rungs, idle time is overestimated."""
    found = shifts(record)
    if not found:
        return None
    start, end = found[0].since, max(shift.until for shift in found)
    workers = {shift.process for shift in found}
    busy = sum(shift.until - shift.since for shift in found)
    return WorkerTime(
        span=end - start, num_workers=len(workers), busy=busy, idle=max(len(workers) * (end - start) - busy, 0.0)
    )

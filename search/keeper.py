"""The keeper of a queue: look at what is there, decide, act; again and again. It may be killed between any two steps.

What was decided is written down before it is done, and what was done is looked up before it is done again. Knows no
ray: the cluster is handed in.
"""

import hashlib
import logging
import re
import time
from collections.abc import Mapping
from typing import Protocol

from cluster.errors import ClusterError
from cluster.job_records import SearchJob
from cluster.queue_records import ON_CLUSTER, QueuedSearch, QueueState, StartOrder
from cluster.queue_store import QueueStore, Term
from cluster.queueing import Claim, ClusterRoom, Decisions, decide
from search.control import FIRST_LANES, Lanes, ask_to_stop, ask_to_take, is_conducted, shown_lanes
from search.queue_places import conducted_in, has_begun
from spaces.errors import OutOfReach, SpecError

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 5.0
_SECONDS_A_DAY = 86400.0
_PAUSED = "paused: others have its lanes meanwhile"
_MOST_LOSSES = 3
"""How often the process of a search may be lost before something must be wrong with it."""


class QueueCluster(Protocol):
    """Where searches run."""

    def room(self) -> ClusterRoom:
        """What the queue may use, and how it lies on nodes."""

    def jobs(self) -> Mapping[str, SearchJob]:
        """All searches that were submitted, by their submission ids. Raises ClusterError when it does not answer."""

    def submit(self, ordered: StartOrder) -> None:
        """Submit a search. Raises SpecError when a job of this id exists already, ClusterError when it is refused."""

    def end_at_once(self, submission_id: str) -> None:
        """End the processes of a search."""


class Keeper:
    """Brings a queue forward."""

    def __init__(self, store: QueueStore, cluster: QueueCluster, *, patience_seconds: float = 600.0) -> None:
        """
        Args:
            store: The queue.
            cluster: Where searches run.
            patience_seconds: How long a search gets to stop in order, and a cluster to take a job.
        """
        self._store = store
        self._term: Term = store.begin_term()
        self._cluster = cluster
        self._patience_seconds = patience_seconds
        self._since: dict[tuple[str, int], float] = {}

    def round(self) -> Decisions:
        """One look at everything, and what follows from it.

        Raises:
            ClusterError: the cluster does not answer; nothing is lost, try again.
            NoLongerKeeperError: another keeper has taken over.
        """
        jobs = self._cluster.jobs()
        for each in self._store.searches(only_active=True):
            if each.state == "STARTING":
                self._go_on_starting(each, jobs)
            elif each.state == "RUNNING":
                self._follow(each, jobs.get(each.submission_id))
        claims = {each.number: (each, _claim(each)) for each in self._store.searches(only_active=True)}
        decisions = decide(
            [claim for _, claim in claims.values()], quotas=self._store.quotas(), room=self._cluster.room()
        )
        for number, lanes in decisions.scales.items():
            self._scale(claims[number][0], lanes)
        for number, lanes in decisions.starts.items():
            self._start(claims[number][0], lanes)
        for number, reason in decisions.reasons.items():
            self._term.explain(claims[number][0], reason)
        for each, claim in claims.values():
            if claim.is_paused and each.number not in decisions.scales:
                self._term.explain(each, _PAUSED)
            elif each.message == _PAUSED and each.number not in decisions.reasons:
                self._term.explain(each, "")
        return decisions

    # --- searches that wait ----------------------------------------------------------------------------------

    def _start(self, each: QueuedSearch, lanes: int) -> None:
        if self._term.start(each, lanes=lanes, submission_id=submission_id_of(each, attempt=each.attempt + 1)):
            self._submit(self._store.get(each.number))

    def _go_on_starting(self, each: QueuedSearch, jobs: Mapping[str, SearchJob]) -> None:
        """One that an earlier keeper, or an earlier round, began to start."""
        if each.submission_id in jobs:
            self._term.runs(each)
        elif each.stop_wanted_by:
            self._term.end(each, "CANCELLED", f"cancelled by {each.stop_wanted_by}")
        else:
            self._submit(each)

    def _submit(self, each: QueuedSearch) -> None:
        if each.attempt > 1 and is_conducted(conducted_in(each.search)):
            # What the cluster lost sight of may still run; in a shared database a lease outlives its holder a while.
            self._term.explain(each, "its last process is not gone yet")
            return
        try:
            self._cluster.submit(self._order_of(each))
        except SpecError:
            log.info("%s was submitted already, as job %s", each.search.name, each.submission_id)
        except (ClusterError, OutOfReach, OSError) as error:
            if self._has_waited_long("submit", each):
                self._term.end(each, "FAILED", str(error))
            else:
                self._term.explain(each, f"trying again: {error}")
            return
        self._term.runs(self._store.get(each.number))
        log.info("started %s of %s on %d lanes", each.search.name, each.search.user, each.lanes)

    def _order_of(self, each: QueuedSearch) -> StartOrder:
        return StartOrder(
            queued=each,
            package=self._store.package(each.package),
            command=_command(each),
            environment={**each.search.environment, FIRST_LANES: str(each.lanes)},
        )

    # --- searches that run -----------------------------------------------------------------------------------

    def _follow(self, each: QueuedSearch, job: SearchJob | None) -> None:
        if job is None:
            self._lose(each, "the cluster does not know its job any more")
        elif job.was_lost and not each.stop_wanted_by:
            self._lose(each, f"its process was lost ({job.reason or 'no reason given'})")
        elif not job.is_active:
            self._term.end(each, *_ending(each, job))
        elif each.stop_wanted_by:
            self._stop(each)

    def _lose(self, each: QueuedSearch, reason: str) -> None:
        if each.attempt >= _MOST_LOSSES:
            self._term.end(each, "FAILED", f"{reason}, {each.attempt} times")
        else:
            self._term.put_back(each, f"{reason}: it goes on")

    def _stop(self, each: QueuedSearch) -> None:
        try:
            ask_to_stop(conducted_in(each.search), trial=None, timeout_seconds=_ANSWER_SECONDS)
        except SpecError as error:
            log.info("%s does not stop yet: %s", each.search.name, error)
        if self._has_waited_long("stop", each):
            self._cluster.end_at_once(each.submission_id)

    def _scale(self, each: QueuedSearch, lanes: int) -> None:
        """Told first and noted then: what a search says it was told is what counts."""
        try:
            ask_to_take(conducted_in(each.search), lanes, timeout_seconds=_ANSWER_SECONDS)
        except SpecError as error:
            log.info("%s cannot be told its lanes now: %s", each.search.name, error)
            return
        self._term.scaled(each, lanes)
        log.info("%s of %s has %d lanes now", each.search.name, each.search.user, lanes)

    def _has_waited_long(self, what: str, each: QueuedSearch) -> bool:
        since = self._since.setdefault((what, each.number), time.monotonic())
        return time.monotonic() - since > self._patience_seconds


def submission_id_of(each: QueuedSearch, *, attempt: int) -> str:
    """The id of a search's job. Two keepers that start the same search at once give it the same one, and the cluster
    takes only the first. The time of handing in tells apart queues that count from one again."""
    key = f"{each.search.directory} {each.number} {each.submitted_at}"
    return f"tunesmith-{each.search.name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}-{attempt}"


def _claim(each: QueuedSearch) -> Claim:
    lanes = None if each.state == "QUEUED" else shown_lanes(conducted_in(each.search))
    most = lanes.asked if lanes is not None and lanes.asked is not None else each.search.most_lanes
    if lanes is not None and lanes.is_running_out:
        most = max(1, lanes.num_running)  # no trial will begin that could use more
    return Claim(
        number=each.number,
        user=each.search.user,
        priority=each.search.priority,
        waited_days=int((time.time() - each.submitted_at) // _SECONDS_A_DAY) if each.state == "QUEUED" else 0,
        lane=each.search.lane,
        workers=each.search.workers,
        most_lanes=most,
        granted=_granted(each, lanes),
        running=0 if each.state not in ON_CLUSTER else each.lanes if lanes is None else lanes.num_running,
        listens=lanes is not None and each.state == "RUNNING" and not each.stop_wanted_by,
        is_fixed=each.search.is_fixed,
        is_started=each.state in ON_CLUSTER,
        is_paused=lanes is not None and lanes.is_paused and not each.search.is_fixed,
    )


def _granted(each: QueuedSearch, lanes: Lanes | None) -> int:
    if each.state not in ON_CLUSTER:
        return 0
    # A keeper that was killed has told more than it wrote down.
    if lanes is None:
        return each.lanes
    return lanes.num_concurrent if lanes.granted is None else lanes.granted


def _command(each: QueuedSearch) -> tuple[str, ...]:
    """What it begins with, or, once it has begun, what goes on."""
    begins = each.search.command
    if each.attempt > 1 and begins[0] != "confirm" and has_begun(each.search):
        return ("resume", each.search.directory, "--address", "auto")
    return begins


def _ending(each: QueuedSearch, job: SearchJob) -> tuple[QueueState, str]:
    if job.state == "finished":
        return "ENDED", ""
    if job.state == "stopped" or each.stop_wanted_by:
        by = f" by {each.stop_wanted_by}" if each.stop_wanted_by else ""
        return "CANCELLED", f"stopped{by}; it can be resumed"
    return "FAILED", re.sub(r"\s+", " ", job.reason)[:300]

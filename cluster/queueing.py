"""Which searches of a queue start, and how many trials each may run at once: the rules of a cluster that people share.

Pure: knows no database, no ray and no clock. What each search should have follows from who is there, never from what
each has now; so the same question gets the same answer, after a restart too, and nothing swings to and fro.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.rooms import Rooms, Worker

_ROUNDING = 1e-6
EVERYBODY = "*"
"""Name of the quota of all users who have none of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """CPUs and GPUs."""

    cpus: float = 0.0
    """Logical CPUs."""
    gpus: float = 0.0
    """GPUs."""

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(cpus=self.cpus + other.cpus, gpus=self.gpus + other.gpus)

    def __sub__(self, other: "Amount") -> "Amount":
        """What is left; never below nothing."""
        return Amount(cpus=max(0.0, self.cpus - other.cpus), gpus=max(0.0, self.gpus - other.gpus))

    def __mul__(self, count: int) -> "Amount":
        return Amount(cpus=self.cpus * count, gpus=self.gpus * count)

    def holds(self, other: "Amount") -> bool:
        """Whether `other` fits in."""
        return other.cpus <= self.cpus + _ROUNDING and other.gpus <= self.gpus + _ROUNDING

    def __str__(self) -> str:
        cpus = f"{self.cpus:g} CPU{'' if self.cpus == 1 else 's'}"
        return cpus if not self.gpus else f"{cpus} and {self.gpus:g} GPU{'' if self.gpus == 1 else 's'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterRoom:
    """What a cluster has to give."""

    total: Amount
    """What the queue may use of it."""
    nodes: tuple[Amount, ...] = ()
    """What each node has, those included that an autoscaler may bring. Empty: all is on one node."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """What all searches of a user may take together."""

    cpus: float | None = None
    """Logical CPUs. None: no limit."""
    gpus: float | None = None
    """GPUs. None: no limit."""
    weight: float = 1.0
    """Someone with weight 2 gets twice the share of someone with weight 1, where both could use more."""

    @property
    def limit(self) -> Amount:
        """The same, infinite where there is no limit."""
        return Amount(
            cpus=float("inf") if self.cpus is None else self.cpus, gpus=float("inf") if self.gpus is None else self.gpus
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A search that waits or runs, as far as sharing goes. A lane is room for one trial."""

    number: int
    """Its place in the order of arrival."""
    user: str
    """Whose it is."""
    priority: int = 0
    """Higher ones come first."""
    waited_days: int = 0
    """How many days it has waited: each counts as one of priority, until it has its first lane."""
    lane: Amount
    """What one trial takes."""
    workers: int = 1
    """Processes of a trial, which share its lane evenly. Each has its part on one node."""
    most_lanes: int | None = None
    """Trials at once that it asked for. None: as many as fit."""
    granted: int = 0
    """Trials at once that it was told; 0 while it waits, and when it is paused."""
    running: int = 0
    """Trials that run: more than granted after it was told to run fewer, until some have ended."""
    listens: bool = True
    """Whether it can be told now. One that starts cannot yet."""
    is_fixed: bool = False
    """Whether it keeps the lanes that it started with."""
    is_started: bool = False
    """Whether it has a process: one without lanes was paused."""
    is_paused: bool = False
    """Whether it begins no trials until somebody lets it go on. Others get its lanes meanwhile."""

    @property
    def waits(self) -> bool:
        """Whether it wants to begin, and has no lane."""
        return self.granted == 0 and not self.is_paused

    @property
    def worker(self) -> Worker:
        """What each process of a trial takes."""
        return Worker(gpus=self.lane.gpus / self.workers, cpus=self.lane.cpus / self.workers)

    @property
    def held(self) -> int:
        """Lanes that nobody else can have now."""
        return max(self.granted, self.running)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decisions:
    """What is to be done now."""

    starts: Mapping[int, int]
    """Searches to start -> with how many lanes."""
    scales: Mapping[int, int]
    """Searches that run -> how many lanes they are to be told; 0 for one that is paused."""
    reasons: Mapping[int, str]
    """Searches that go on waiting -> why, for a person."""


def decide(claims: Sequence[Claim], *, quotas: Mapping[str, Quota], room: ClusterRoom) -> Decisions:
    """What to do so that all get what the rules give them. Never takes a lane away from a trial that runs, and never
    the last lane of a search that is not paused.

    1. A search that runs has at least one lane, unless it is paused.
    2. All other lanes are given one by one: to the highest priority, then to the user with the smallest share; of one
       user first to the search that has none, then to the one with the fewest. So one that waits gets room which
       those that run give up. One that waits for its first lane gains one of priority for each day.
    3. A quota keeps back only its user. A search that waits and finds no room keeps its place: no other one is started
       on what it needs. Those that run may use it meanwhile, as they give it back.
    4. A lane is room where a trial fits: each of its processes on one node.

    Args:
        claims: All searches that wait or run.
        quotas: By user.
        room: What the queue may use.
    """
    claims = sorted(claims, key=lambda claim: claim.number)
    goals, let_in, reasons = _goals(claims, quotas=quotas, room=room)
    account = _Account(room, quotas)
    for claim in claims:
        account.take(claim, claim.held)
    scales = {
        claim.number: goals[claim.number]
        for claim in claims
        if not claim.waits and claim.listens and goals[claim.number] < claim.granted
    }
    starts: dict[int, int] = {}
    for claim in let_in:
        can_be_told = claim.listens or not claim.is_started
        if can_be_told and (lanes := account.lanes_now(claim, goals[claim.number])):
            (scales if claim.is_started else starts)[claim.number] = lanes
            account.take(claim, max(0, lanes - claim.held))
        else:
            account.set_aside(claim)
            reasons[claim.number] = account.why_not_now(claim)
    for claim in claims:
        goal = goals.get(claim.number, 0)
        if not claim.waits and claim.listens and goal > claim.granted:
            lanes = account.lanes_now(claim, goal)
            if lanes > claim.granted:
                scales[claim.number] = lanes
                account.take(claim, max(0, lanes - claim.held))
    return Decisions(starts=starts, scales=scales, reasons=reasons)


def _goals(
    claims: Sequence[Claim], *, quotas: Mapping[str, Quota], room: ClusterRoom
) -> tuple[dict[int, int], list[Claim], dict[int, str]]:
    """The lanes that each search should have in the end, those to be let in, in order, and why others wait."""
    account = _Account(room, quotas)
    goals: dict[int, int] = {}
    reasons: dict[int, str] = {}
    let_in: list[Claim] = []
    for claim in claims:
        if not claim.waits:
            goals[claim.number] = claim.held if claim.is_fixed else 0 if claim.is_paused else 1
            account.take(claim, goals[claim.number])
    left = [claim for claim in claims if claim.waits or not (claim.is_fixed or claim.is_paused)]

    def turn(claim: Claim) -> tuple[int, float, int, int]:
        has = goals.get(claim.number, 0)
        gained = 0 if has else claim.waited_days
        return -claim.priority - gained, account.share(claim.user), has, claim.number

    while left:
        claim = min(left, key=turn)
        has = goals.get(claim.number, 0)
        if not has and (reason := account.refusal(claim)) is not None:
            reasons[claim.number] = reason
            if not account.is_its_own_limit(claim):
                account.set_aside(claim)
            left.remove(claim)
        elif has and (has == claim.most_lanes or not account.most(claim, 1, also_set_aside=True)):
            left.remove(claim)
        else:
            goals[claim.number] = has + 1
            account.take(claim, 1)
            if not has:
                let_in.append(claim)
    return goals, let_in, reasons


class _Account:
    """Who has taken what of a cluster."""

    def __init__(self, room: ClusterRoom, quotas: Mapping[str, Quota]) -> None:
        self._capacity = room.total
        self._quotas = quotas
        self._empty = Rooms(_on_node(each) for each in room.nodes or (room.total,))
        self._rooms, self._rooms_left = self._empty.copy(), self._empty.copy()
        self._taken = Amount()
        self._taken_by: dict[str, Amount] = {}
        self._aside = Amount()

    def take(self, claim: Claim, lanes: int) -> None:
        """Also more than there is: what runs, runs. Trials lie as tightly as they can: where each lies is not known."""
        self._taken += claim.lane * lanes
        self._taken_by[claim.user] = self._taken_by.get(claim.user, Amount()) + claim.lane * lanes
        for _ in range(lanes):
            for rooms in (self._rooms, self._rooms_left):
                rooms.take(claim.worker, count=claim.workers)

    def set_aside(self, claim: Claim) -> None:
        """Keep what is free of a lane for one that waits for more."""
        free = self._capacity - self._taken - self._aside
        self._aside += Amount(cpus=min(free.cpus, claim.lane.cpus), gpus=min(free.gpus, claim.lane.gpus))
        self._rooms_left.set_aside(claim.worker, count=claim.workers)

    def most(self, claim: Claim, lanes: int, *, also_set_aside: bool = False) -> int:
        """How many of these lanes fit into what is free and what the user may have."""
        free = self._capacity - self._taken - (Amount() if also_set_aside else self._aside)
        left = self._quota(claim.user).limit - self._taken_by.get(claim.user, Amount())
        fits = min(_times(room, one) for room, one in (
            (free.cpus, claim.lane.cpus), (free.gpus, claim.lane.gpus),
            (left.cpus, claim.lane.cpus), (left.gpus, claim.lane.gpus),
        ))  # fmt: skip
        rooms = self._rooms if also_set_aside else self._rooms_left
        return rooms.most(claim.worker, workers=claim.workers, lanes=int(max(0, min(lanes, fits))))

    def lanes_now(self, claim: Claim, goal: int) -> int:
        """How many lanes it can be told. Up to the trials that still run they cost nothing: those are not free yet."""
        return min(goal, claim.held + self.most(claim, goal - claim.held))

    def share(self, user: str) -> float:
        """The larger of the user's shares of all CPUs and of all GPUs, by weight (Ghodsi et al. 2011, dominant
        resource fairness)."""
        taken = self._taken_by.get(user, Amount())
        shares = (
            taken.cpus / self._capacity.cpus if self._capacity.cpus else 0.0,
            taken.gpus / self._capacity.gpus if self._capacity.gpus else 0.0,
        )
        return round(max(shares) / self._quota(user).weight, 9)

    def refusal(self, claim: Claim) -> str | None:
        """Why a lane of this search cannot be had, for a person; None when it can."""
        if not self._capacity.holds(claim.lane):
            return f"a trial needs {claim.lane}, and the cluster has {self._capacity}"
        if not self._fits_when_empty(claim):
            one = Amount(cpus=claim.worker.cpus, gpus=claim.worker.gpus)
            several = f"{claim.workers} times " if claim.workers > 1 else ""
            return f"a trial needs {several}{one} on one node, and no node has as much"
        quota, user = self._quota(claim.user), claim.user
        if not quota.limit.holds(claim.lane):
            return f"a trial needs {claim.lane}, and the quota of {user} is {_limits(quota)}"
        taken = self._taken_by.get(user, Amount())
        if not quota.limit.holds(taken + claim.lane):
            of_gpus = quota.gpus is not None and taken.gpus + claim.lane.gpus > quota.gpus + _ROUNDING
            used, limit, unit = (taken.gpus, quota.gpus, "GPUs") if of_gpus else (taken.cpus, quota.cpus, "CPUs")
            return f"quota of {user}: {used:g} of {limit:g} {unit} in use"
        if self.most(claim, 1):
            return None
        if (self._capacity - self._taken).holds(claim.lane):
            return "others that wait for room are before it"
        return f"no room for a trial ({claim.lane}) beside those that come first"

    def why_not_now(self, claim: Claim) -> str:
        """Why a search that is to be let in is not, for a person."""
        if (self._capacity - self._taken).holds(claim.lane) and not self._rooms.copy().take(
            claim.worker, count=claim.workers
        ):
            one = Amount(cpus=claim.worker.cpus, gpus=claim.worker.gpus)
            return f"a trial needs {one} on one node, and what is free lies on several"
        return "room comes when trials of other searches end"

    def is_its_own_limit(self, claim: Claim) -> bool:
        """Whether only the user's quota, or what the cluster is, keeps it back."""
        limit = self._quota(claim.user).limit
        return (
            not self._capacity.holds(claim.lane)
            or not self._fits_when_empty(claim)
            or not limit.holds(self._taken_by.get(claim.user, Amount()) + claim.lane)
        )

    def _fits_when_empty(self, claim: Claim) -> bool:
        return self._empty.copy().take(claim.worker, count=claim.workers)

    def _quota(self, user: str) -> Quota:
        return self._quotas.get(user) or self._quotas.get(EVERYBODY) or Quota()


def apply(claims: Sequence[Claim], decisions: Decisions) -> list[Claim]:
    """The claims once the decisions were carried out and heard."""
    told = {**decisions.starts, **decisions.scales}
    return [replace(claim, granted=told[claim.number]) if claim.number in told else claim for claim in claims]


def _on_node(amount: Amount) -> Worker:
    return Worker(gpus=amount.gpus, cpus=amount.cpus)


def _times(room: float, one: float) -> float:
    return float("inf") if one <= 0 or room == float("inf") else (room + _ROUNDING) // one


def _limits(quota: Quota) -> str:
    limits = ((quota.cpus, "CPUs"), (quota.gpus, "GPUs"))
    return " and ".join(f"{limit:g} {unit}" for limit, unit in limits if limit is not None)

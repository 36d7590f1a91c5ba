"""Sharing a cluster: the rules by example, and what must hold whatever searches there are."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.queueing import EVERYBODY, Amount, Claim, ClusterRoom, Decisions, Quota, apply, decide

GPU = Amount(cpus=1, gpus=1)
FOUR = Amount(cpus=16, gpus=4)
ONE_NODE = ClusterRoom(total=FOUR)


def _claim(number: int, user: str = "ann", **facts: object) -> Claim:
    return Claim(**{"number": number, "user": user, "lane": GPU, **facts})  # type: ignore[arg-type]


def _settled(claims: list[Claim], *, capacity: Amount = FOUR, quotas: dict[str, Quota] | None = None) -> dict[int, int]:
    """Lanes when all were told and trials have ended, until nothing is left to decide."""
    for _ in range(3 * len(claims) + 3):
        decisions = decide(claims, quotas=quotas or {}, room=ClusterRoom(total=capacity))
        is_quiet = all(claim.running == claim.granted for claim in claims)
        if is_quiet and not decisions.starts and not decisions.scales:
            return {claim.number: claim.granted for claim in claims}
        claims = [replace(claim, running=claim.granted) for claim in apply(claims, decisions)]
    raise AssertionError("the decisions do not come to rest")


def test_a_search_alone_gets_all_that_fits_or_what_it_asked_for() -> None:
    assert _settled([_claim(1)]) == {1: 4}
    assert _settled([_claim(1, most_lanes=2)]) == {1: 2}


def test_a_search_that_runs_gives_up_lanes_for_one_that_waits_when_its_trials_end() -> None:
    running, waiting = _claim(1, granted=4, running=4), _claim(2, "bob")
    told = decide([running, waiting], quotas={}, room=ONE_NODE)
    assert (told.scales, told.starts) == ({1: 2}, {})
    assert told.reasons[2] == "room comes when trials of other searches end"
    one_ended = replace(running, granted=2, running=3)
    assert decide([one_ended, waiting], quotas={}, room=ONE_NODE) == Decisions(starts={2: 1}, scales={}, reasons={})


def test_lanes_grow_back_when_a_search_has_ended() -> None:
    assert decide([_claim(1, granted=2, running=2)], quotas={}, room=ONE_NODE).scales == {1: 4}


def test_users_share_evenly_however_many_searches_each_has() -> None:
    lanes = _settled([_claim(1), _claim(2), _claim(3), _claim(4, "bob")], capacity=Amount(cpus=16, gpus=6))
    assert lanes == {1: 1, 2: 1, 3: 1, 4: 3}


def test_a_second_search_of_a_user_does_not_take_the_share_of_another() -> None:
    assert _settled([_claim(1), _claim(2), _claim(3), _claim(4, "bob")]) == {1: 1, 2: 1, 3: 0, 4: 2}


def test_weights_are_the_ratio_of_shares() -> None:
    weighted = {"ann": Quota(weight=2)}
    assert _settled([_claim(1), _claim(2, "bob")], capacity=Amount(cpus=16, gpus=6), quotas=weighted) == {1: 4, 2: 2}


def test_a_quota_holds_also_while_trials_still_run() -> None:
    claims = [_claim(1, granted=1, running=2), _claim(2)]
    decisions = decide(claims, quotas={"ann": Quota(gpus=2)}, room=ONE_NODE)
    assert decisions.starts == {}
    assert _settled(claims, quotas={"ann": Quota(gpus=2)}) == {1: 1, 2: 1}


def test_a_spent_quota_is_the_reason_and_keeps_nobody_else_back() -> None:
    claims = [_claim(1, granted=1, running=1), _claim(2, granted=1, running=1), _claim(3), _claim(4, "bob")]
    decisions = decide(claims, quotas={"ann": Quota(gpus=2)}, room=ONE_NODE)
    assert decisions.reasons == {3: "quota of ann: 2 of 2 GPUs in use"}
    assert decisions.starts == {4: 2}


def test_the_quota_of_everybody_holds_for_those_without_their_own() -> None:
    quotas = {EVERYBODY: Quota(gpus=1), "ann": Quota(gpus=3)}
    assert _settled([_claim(1), _claim(2, "bob")], quotas=quotas) == {1: 3, 2: 1}


def test_higher_priority_comes_first_and_leaves_one_lane_to_each_that_runs() -> None:
    claims = [_claim(1, granted=4, running=4), _claim(2, "bob", priority=5), _claim(3, "cem")]
    assert _settled(claims) == {1: 1, 2: 3, 3: 0}


def test_one_that_came_first_is_not_overtaken_by_smaller_ones() -> None:
    large = _claim(3, "bob", lane=Amount(cpus=1, gpus=3))
    claims = [_claim(1, granted=1, running=1), _claim(2, granted=1, running=1), large, _claim(4, "cem")]
    decisions = decide(claims, quotas={}, room=ONE_NODE)
    assert 4 not in decisions.starts
    assert decisions.reasons[4] == "others that wait for room are before it"
    assert decisions.reasons[3] == "no room for a trial (1 CPU and 3 GPUs) beside those that come first"


def test_one_that_needs_other_resources_may_overtake() -> None:
    large = _claim(2, "bob", lane=Amount(cpus=1, gpus=4))
    claims = [_claim(1, granted=1, running=1), large, _claim(3, "cem", lane=Amount(cpus=1), most_lanes=2)]
    assert decide(claims, quotas={}, room=ONE_NODE).starts == {3: 2}


def test_one_that_never_fits_keeps_nobody_back() -> None:
    claims = [_claim(1, lane=Amount(cpus=1, gpus=8)), _claim(2, "bob")]
    decisions = decide(claims, quotas={}, room=ONE_NODE)
    assert decisions.reasons == {1: "a trial needs 1 CPU and 8 GPUs, and the cluster has 16 CPUs and 4 GPUs"}
    assert decisions.starts == {2: 4}


def test_a_search_that_cannot_listen_yet_is_told_nothing() -> None:
    claims = [_claim(1, granted=4, running=4, listens=False), _claim(2, "bob")]
    assert decide(claims, quotas={}, room=ONE_NODE).scales == {}


def test_a_search_with_fixed_lanes_keeps_them_and_the_others_share_the_rest() -> None:
    assert _settled([_claim(1, granted=2, running=2, is_fixed=True), _claim(2, "bob")]) == {1: 2, 2: 2}


def test_when_nodes_are_lost_searches_shrink_to_one_lane_and_no_further() -> None:
    claims = [_claim(1, granted=2, running=2), _claim(2, "bob", granted=2, running=2)]
    assert decide(claims, quotas={}, room=ClusterRoom(total=GPU)).scales == {1: 1, 2: 1}


# --- waiting long, pausing ---------------------------------------------------------------------------------


def test_who_has_waited_long_gets_a_first_lane_before_a_higher_priority_and_no_second_one() -> None:
    old, urgent = _claim(1, waited_days=4), _claim(2, "bob", priority=3)
    assert decide([old, urgent], quotas={}, room=ONE_NODE).starts == {1: 1, 2: 3}
    assert decide([replace(old, waited_days=2), urgent], quotas={}, room=ONE_NODE).starts == {2: 4}


def test_nobody_waits_for_ever_behind_an_endless_row_of_higher_priorities() -> None:
    low, began = _claim(0, "low"), None
    for day in range(10):
        waiting = [_claim(1 + day, f"user-{day}", priority=5, most_lanes=4)]
        if 0 in decide([replace(low, waited_days=day), *waiting], quotas={}, room=ONE_NODE).starts:
            began = day
            break
    assert began == 5, "as many days as the others have of priority, and it came before them"


def test_a_paused_search_gives_up_all_lanes_and_waits_in_turn_when_it_goes_on() -> None:
    paused, other = _claim(1, granted=3, running=2, is_started=True, is_paused=True), _claim(2, "bob")
    told = decide([paused, other], quotas={}, room=ONE_NODE)
    assert (told.scales, told.starts) == ({1: 0}, {2: 1})
    later = [replace(paused, granted=0, running=0), replace(other, granted=1, running=1, is_started=True)]
    assert decide(later, quotas={}, room=ONE_NODE).scales == {2: 4}
    goes_on = [replace(later[0], is_paused=False), replace(later[1], granted=4, running=4)]
    told = decide(goes_on, quotas={}, room=ONE_NODE)
    assert (told.scales, set(told.reasons), told.starts) == ({2: 2}, {1}, {})
    assert decide([goes_on[0], replace(goes_on[1], granted=2, running=2)], quotas={}, room=ONE_NODE).scales == {1: 2}


def test_one_that_goes_on_before_its_trials_have_ended_keeps_the_room_they_have() -> None:
    goes_on, other = _claim(1, running=2, is_started=True), _claim(2, "bob", granted=2, running=2)
    assert decide([goes_on, other], quotas={}, room=ONE_NODE) == Decisions(starts={}, scales={1: 2}, reasons={})


def test_one_that_goes_on_and_cannot_be_told_yet_keeps_its_turn() -> None:
    goes_on = _claim(1, is_started=True, listens=False)
    told = decide([goes_on, _claim(2, "bob", lane=FOUR)], quotas={}, room=ONE_NODE)
    assert (dict(told.starts), dict(told.scales), set(told.reasons)) == ({}, {}, {1, 2})


# --- node by node ------------------------------------------------------------------------------------------

TWO_NODES = ClusterRoom(total=Amount(cpus=32, gpus=8), nodes=(FOUR, FOUR))


def test_a_trial_that_needs_a_whole_node_waits_until_the_others_leave_it_one() -> None:
    room = ClusterRoom(total=FOUR * 4, nodes=(FOUR,) * 4)
    small = [_claim(number, f"user-{number}", granted=3, running=3, most_lanes=3) for number in range(5)]
    large = _claim(9, "bob", lane=FOUR)
    told = decide([*small, large], quotas={}, room=room)
    assert 9 not in told.starts
    assert 9 in told.reasons
    assert decide([*small[:4], large], quotas={}, room=room).starts == {9: 1}


def test_a_trial_of_several_workers_may_lie_on_several_nodes() -> None:
    both = _claim(1, lane=TWO_NODES.total, workers=2)
    assert decide([both], quotas={}, room=TWO_NODES).starts == {1: 1}
    told = decide([replace(both, workers=1)], quotas={}, room=TWO_NODES)
    assert told.reasons == {1: "a trial needs 32 CPUs and 8 GPUs on one node, and no node has as much"}


def test_one_that_fits_on_no_node_keeps_nobody_back() -> None:
    never, other = _claim(1, lane=TWO_NODES.total), _claim(2, "bob")
    assert decide([never, other], quotas={}, room=TWO_NODES).starts == {2: 8}


# --- what must always hold ---------------------------------------------------------------------------------

USERS = ("ann", "bob", "cem")
lanes_st = st.builds(Amount, cpus=st.integers(1, 3).map(float), gpus=st.sampled_from([0.0, 0.5, 1.0, 2.0]))
quota_st = st.builds(
    Quota, cpus=st.none(), gpus=st.one_of(st.none(), st.integers(1, 4).map(float)), weight=st.sampled_from([1.0, 2.0])
)
new_st = st.lists(
    st.tuples(
        st.sampled_from(USERS), st.integers(-1, 1), lanes_st, st.one_of(st.none(), st.integers(1, 5)), st.booleans()
    ),
    min_size=1,
    max_size=9,
)
capacity_st = st.builds(Amount, cpus=st.integers(2, 12).map(float), gpus=st.integers(0, 6).map(float))
quotas_st = st.dictionaries(st.sampled_from((*USERS, EVERYBODY)), quota_st)


def _claims(drawn: list[tuple[str, int, Amount, int | None, bool]]) -> list[Claim]:
    return [
        Claim(number=number, user=user, priority=priority, lane=lane, most_lanes=most, is_fixed=fixed)
        for number, (user, priority, lane, most, fixed) in enumerate(drawn)
    ]


def _held(claims: list[Claim], user: str | None = None) -> Amount:
    total = Amount()
    for claim in claims:
        if user is None or claim.user == user:
            total += claim.lane * claim.held
    return total


def _quota_of(user: str, quotas: dict[str, Quota]) -> Quota:
    return quotas.get(user) or quotas.get(EVERYBODY) or Quota()


@settings(max_examples=80, deadline=None)
@given(new_st, capacity_st, quotas_st, st.integers(0, 10**6))
def test_nothing_is_overcommitted_quotas_hold_and_everyone_who_can_gets_a_turn(
    drawn: list[tuple[str, int, Amount, int | None, bool]], capacity: Amount, quotas: dict[str, Quota], seed: int
) -> None:
    """A whole life of a queue: trials and searches end in any order, told or not, until all is done."""
    chance, room = random.Random(seed), ClusterRoom(total=capacity)
    arriving, claims, done = _claims(drawn), [], set()
    starts: list[int] = []
    for _ in range(150):
        while arriving and chance.random() < 0.3:
            claims.append(arriving.pop(0))
        decisions = decide(claims, quotas=quotas, room=room)
        assert decisions == decide(list(claims), quotas=dict(quotas), room=room)
        starts += decisions.starts
        assert not set(decisions.starts) & set(decisions.reasons)
        assert set(decisions.starts) | set(decisions.reasons) == {claim.number for claim in claims if claim.waits}
        assert all(lanes >= 1 for lanes in (*decisions.starts.values(), *decisions.scales.values()))
        before = {claim.number: claim for claim in claims}
        claims = apply(claims, decisions)
        for claim in claims:
            assert claim.most_lanes is None or claim.granted <= claim.most_lanes
            assert claim.running <= max(before[claim.number].held, claim.granted)
            assert not (claim.is_fixed and before[claim.number].granted) or (
                claim.granted == before[claim.number].granted
            )
        assert capacity.holds(_held(claims))
        for user in USERS:
            assert _quota_of(user, quotas).limit.holds(_held(claims, user))
        claims, ended = _a_moment_later(claims, chance)
        done |= ended
    assert len(starts) == len(set(starts)), "a search was started twice"
    never = {claim.number for claim in (*claims, *arriving) if claim.waits}
    for claim in claims:
        fits = capacity.holds(claim.lane) and _quota_of(claim.user, quotas).limit.holds(claim.lane)
        assert (claim.number in never) == (not fits)


def _a_moment_later(claims: list[Claim], chance: random.Random) -> tuple[list[Claim], set[int]]:
    """Trials begin where there is a lane, some end, some searches end; one that has just started listens later."""
    left, ended = [], set()
    for claim in claims:
        running = claim.running
        if not claim.waits:
            running = max(running, chance.randint(0, claim.granted))
            if running > claim.granted or chance.random() < 0.5:
                running -= running > 0
            if chance.random() < 0.1:
                ended.add(claim.number)
                continue
        left.append(replace(claim, running=running, listens=chance.random() < 0.8))
    return left, ended


@settings(max_examples=80, deadline=None)
@given(new_st, capacity_st, quotas_st)
def test_without_news_the_decisions_come_to_rest_and_stay_there(
    drawn: list[tuple[str, int, Amount, int | None, bool]], capacity: Amount, quotas: dict[str, Quota]
) -> None:
    _settled(_claims(drawn), capacity=capacity, quotas=quotas)


@settings(max_examples=80, deadline=None)
@given(new_st, capacity_st, st.randoms(use_true_random=False))
def test_the_order_in_which_searches_are_listed_changes_nothing(
    drawn: list[tuple[str, int, Amount, int | None, bool]], capacity: Amount, chance: random.Random
) -> None:
    claims = _claims(drawn)
    shuffled = list(claims)
    chance.shuffle(shuffled)
    room = ClusterRoom(total=capacity)
    assert decide(claims, quotas={}, room=room) == decide(shuffled, quotas={}, room=room)


@pytest.mark.parametrize("queued", [10, 100])
def test_no_user_waits_while_another_with_as_much_gets_more(queued: int) -> None:
    claims = [_claim(number, most_lanes=1) for number in range(queued)] + [_claim(queued, "bob")]
    lanes = _settled(claims)
    assert sum(lanes[number] for number in range(queued)) == 2
    assert lanes[queued] == 2


node_st = st.builds(Amount, cpus=st.integers(1, 6).map(float), gpus=st.integers(0, 3).map(float))


@settings(max_examples=50, deadline=None)
@given(new_st, st.lists(node_st, min_size=1, max_size=5), st.integers(0, 10**6))
def test_no_search_is_given_more_lanes_than_fit_on_empty_nodes(
    drawn: list[tuple[str, int, Amount, int | None, bool]], nodes: list[Amount], seed: int
) -> None:
    """On its own each could place what it was given, whatever the others do, whoever is paused and goes on."""
    chance, total = random.Random(seed), sum(nodes, Amount())
    room = ClusterRoom(total=total, nodes=tuple(nodes))
    claims = [replace(claim, is_fixed=False) for claim in _claims(drawn)]
    for _ in range(30):
        after = []
        for claim, before in zip(apply(claims, decide(claims, quotas={}, room=room)), claims, strict=True):
            assert not (claim.is_paused and claim.granted > before.granted)
            assert _fit(claim.granted, claim.lane, nodes)
            running = max(claim.granted, before.running - chance.randrange(3))
            started = claim.is_started or claim.granted > 0
            after.append(
                replace(claim, running=running, is_started=started, is_paused=started and chance.random() < 0.2)
            )
        claims = after


def _fit(lanes: int, lane: Amount, nodes: list[Amount]) -> bool:
    free = list(nodes)
    for _ in range(lanes):
        fitting = [index for index, node in enumerate(free) if node.holds(lane)]
        if not fitting:
            return False
        free[fitting[0]] -= lane
    return True

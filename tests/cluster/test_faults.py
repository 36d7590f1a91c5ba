"""What a lost trial means, by what Ray was seen to say."""

import pytest

from cluster.faults import (
    MOST_NODES_LOST,
    Attempts,
    Fault,
    FaultKind,
    decide,
    fault_of,
    fault_of_failure,
    recorded_kind,
)  # fmt: skip
from spaces.reports import TrialFailure

ACTOR_DIED = ("ActorDiedError", "RayActorError", "RayError", "Exception")


@pytest.mark.parametrize(
    ("types", "text", "kind"),
    [
        (ACTOR_DIED, "The actor is dead because its node has died. Node Id: 1e96f", "node_lost"),
        (("ActorUnavailableError", "RayActorError"), "The actor 12 is unavailable: rpc error", "node_lost"),
        (("NodeDiedError", "RayError"), "Task failed due to the node dying.", "node_lost"),
        (ACTOR_DIED, "The actor died because its node was preempted.", "preempted"),
        (ACTOR_DIED, "The actor died unexpectedly: worker process died with SIGKILL", "process_died"),
        (("OutOfMemoryError", "RayError"), "Task was killed due to the node running low on memory.", "node_memory"),
        (ACTOR_DIED, "...killed: 1 worker was killed due to the node running low on memory.", "node_memory"),
        (("ObjectStoreFullError",), "Failed to put object", "object_store_full"),
        (("OutOfDiskError",), "the disk is over capacity", "disk_full"),
        (("RayTaskError(OSError)", "RayTaskError"), "OSError: [Errno 28] No space left on device", "disk_full"),
        (("RuntimeEnvSetupError",), "Failed to set up runtime environment.", "cannot_start"),
        (("RayTaskError(GroupBroken)",), "a worker is gone: ActorUnavailableError: rpc error", "node_lost"),
        (("RayTaskError(GroupBroken)",), "a worker is gone: ActorDiedError: SIGKILL", "process_died"),
        ((), "None", "process_died"),
    ],
)
def test_an_error_is_told_by_its_type_or_its_words(types: tuple[str, ...], text: str, kind: FaultKind) -> None:
    assert fault_of(types, text).kind == kind


def test_lost_nodes_do_not_count_as_restarts_of_the_trial() -> None:
    attempts = Attempts()
    for kind in ("node_lost", "preempted", "node_lost"):
        assert decide(Fault(kind=kind), attempts, max_restarts=0).action == "retry"
        attempts = attempts.with_one_more(Fault(kind=kind))
    assert attempts == Attempts(counted=0, nodes_lost=3)


def test_a_trial_that_loses_every_node_ends_at_last() -> None:
    attempts = Attempts(nodes_lost=MOST_NODES_LOST)
    decision = decide(Fault(kind="node_lost"), attempts, max_restarts=5)
    assert decision.action == "record"
    assert "perhaps it is what ends them" in decision.words


@pytest.mark.parametrize("kind", ["process_died", "node_memory", "object_store_full", "disk_full", "cannot_start"])
def test_other_faults_count_up_to_the_limit(kind: FaultKind) -> None:
    fault, attempts = Fault(kind=kind), Attempts(nodes_lost=4)
    actions = []
    for _ in range(3):
        actions.append(decide(fault, attempts, max_restarts=2).action)
        attempts = attempts.with_one_more(fault)
    assert actions == ["retry", "retry", "record"]
    assert "`resources.max_restarts` allows (2)" in decide(fault, attempts, max_restarts=2).words


def test_memory_of_a_node_is_told_from_memory_of_a_gpu() -> None:
    words = decide(Fault(kind="node_memory"), Attempts(), max_restarts=1).words
    assert "its node ran out of memory" in words
    assert fault_of_failure(TrialFailure(kind="out_of_memory", message="CUDA out of memory")) is None


def test_a_full_disk_is_no_result_and_a_diverged_trial_is_one() -> None:
    full = fault_of_failure(TrialFailure(kind="error", message="OSError: [Errno 28] No space left on device"))
    assert full is not None
    assert full.kind == "disk_full"
    assert fault_of_failure(TrialFailure(kind="diverged", message="No space left on device")) is None
    assert fault_of_failure(TrialFailure(kind="error", message="KeyError: 'text'")) is None


def test_where_every_disk_is_full_there_is_no_other_try() -> None:
    fault = Fault(kind="disk_full", node="a")
    assert decide(fault, Attempts(), max_restarts=5).action == "retry"
    decision = decide(fault, Attempts(), max_restarts=5, is_full_everywhere=True)
    assert decision.action == "record"
    assert "make room" in decision.words
    assert (recorded_kind(fault), recorded_kind(Fault(kind="node_lost"))) == ("disk_full", "lost")
    assert decide(Fault(kind="process_died"), Attempts(), max_restarts=5, is_full_everywhere=True).action == "retry"


def test_a_full_disk_is_told_with_its_node() -> None:
    failure = TrialFailure(kind="error", message="No space left on device", node="b")
    found = fault_of_failure(failure)
    assert found is not None
    assert found.node == "b"

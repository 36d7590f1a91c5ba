"""Errors that Tune does not know, told so that it does. The real thing: tests/cluster/test_faults_on_ray.py."""

import pickle
from inspect import signature

import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import (
    ActorDiedError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RayError,
)

from cluster.faults import FaultKind, fault_of
from search.system_errors import as_loss, losses_known_to_tune


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemoryError("1 worker(s) were killed due to the node running low on memory."), "node_memory"),
        (ObjectStoreFullError("Failed to put object"), "object_store_full"),
        (OutOfDiskError("over capacity"), "disk_full"),
        (NodeDiedError("the node dying"), "node_lost"),
        (LocalRayletDiedError(), "node_lost"),
    ],
)
def test_what_ray_says_is_still_known_of_an_error_told_as_a_loss(error: RayError, kind: FaultKind) -> None:
    told = as_loss(error)
    assert isinstance(told, RayActorError)
    kept = pickle.loads(pickle.dumps(told))  # Tune writes it down beside the trial
    assert fault_of([each.__name__ for each in type(kept).__mro__], str(kept)).kind == kind


def test_what_tune_knows_stays_as_it_is() -> None:
    for error in (ActorDiedError(), ValueError("ours")):
        assert as_loss(error) is error


@pytest.mark.parametrize("name", ["_actor_task_failed", "_actor_start_failed"])
def test_tune_is_as_it_was_when_a_search_has_ended(name: str) -> None:
    before = getattr(RayActorManager, name)
    with losses_known_to_tune():
        within = getattr(RayActorManager, name)
        assert within is not before
        # Tune calls it by the names of its parameters.
        assert list(signature(within).parameters)[1:] == list(signature(before).parameters)[1:]
    assert getattr(RayActorManager, name) is before


def test_a_gpu_that_ran_out_of_memory_is_not_taken_for_the_node() -> None:
    assert fault_of(("RayTaskError",), "torch.OutOfMemoryError: CUDA out of memory").kind == "process_died"

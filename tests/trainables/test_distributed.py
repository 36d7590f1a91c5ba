"""What makes several ranks exact, on one process; `test_worker_group.py` has the proof on two."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from spaces.reports import TrialFailed
from trainables.distributed import first_examples, is_filled_up, num_real_examples, parameters_hash, prove_equal
from trainables.process_group import is_collective_error
from trainables.ranks import ALONE, Ranks, launched_ranks
from trainables.trial import classify


class Agreed(Ranks):
    """Two ranks of which the second says what the test wants."""

    def __init__(self, other: Any) -> None:
        super().__init__(rank=0, world_size=2)
        self._other = other

    def gather(self, value: Any) -> list[Any]:
        return [value, self._other]


def test_equal_ranks_may_train() -> None:
    prove_equal(Agreed({"data": "a", "checkpoint": "none"}), {"data": "a", "checkpoint": "none"})


def test_what_differs_between_ranks_is_named() -> None:
    with pytest.raises(TrialFailed, match=r"do not have the same data and checkpoint \(rank 0 a, rank 1 b\)"):
        prove_equal(
            Agreed({"data": "b", "model": "m", "checkpoint": "y"}), {"data": "a", "model": "m", "checkpoint": "x"}
        )


def test_one_bit_of_one_parameter_changes_the_hash() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)).to(torch.bfloat16)
    before = parameters_hash(model)
    assert parameters_hash(model) == before
    model[1].num_batches_tracked += 1
    assert parameters_hash(model) != before


def accelerator(rank: int, *, at_end: bool = True) -> Any:
    return SimpleNamespace(
        num_processes=2, process_index=rank, gradient_state=SimpleNamespace(end_of_dataloader=at_end)
    )


@pytest.mark.parametrize(
    ("num_examples", "first", "second"), [(17, 1, 0), (20, 4, 0), (22, 4, 2), (23, 4, 3), (16, None, None)]
)
def test_real_examples_of_the_last_batch_add_up(num_examples: int, first: int | None, second: int | None) -> None:
    found = [num_real_examples(accelerator(rank), num_examples=num_examples, per_rank=4) for rank in (0, 1)]
    assert found == [first, second]


def test_only_the_last_batch_is_filled_up() -> None:
    assert num_real_examples(accelerator(1, at_end=False), num_examples=17, per_rank=4) is None


def test_a_rank_without_real_examples_takes_part_with_one_that_does_not_count() -> None:
    batch = {"input_ids": torch.arange(8).reshape(4, 2), "labels": torch.ones(4, 2)}
    assert first_examples(batch, 3)["input_ids"].shape == (3, 2)
    assert first_examples(batch, 3)["labels"].eq(1).all()
    empty = first_examples(batch, 0)
    assert empty["labels"].tolist() == [[-100, -100]]
    assert is_filled_up(empty, accelerator(1))
    assert not is_filled_up(batch, accelerator(1))


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1"), True),
        (RuntimeError("Timed out waiting 20000ms for recv operation to complete"), True),
        (torch.distributed.DistBackendError("anything"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("Connection closed by peer"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
    ],
)
def test_a_lost_peer_is_told_from_a_failure_of_ones_own(
    error: Exception, is_lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert is_collective_error(error) is is_lost
    assert (classify(error).kind == "lost") is is_lost
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not is_collective_error(error)


def test_without_a_launcher_a_process_is_alone() -> None:
    assert "MASTER_ADDR" not in os.environ
    with launched_ranks() as ranks:
        assert ranks is ALONE
    assert ALONE.gather("x") == ["x"]

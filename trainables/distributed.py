"""What makes several ranks train and measure exactly as one process would. Knows the Trainer's parts, not the trial."""

from collections.abc import Mapping
from typing import Any

import torch
import xxhash
from transformers import TrainingArguments

from spaces.reports import TrialFailed, TrialFailure
from trainables.ranks import Ranks

_IGNORED_LABEL = -100  # torch's and transformers' losses leave it out


def prove_equal(ranks: Ranks, facts: Mapping[str, str]) -> None:
    """Raise TrialFailed, on all ranks, unless all have the same `facts`: what differs would be averaged unnoticed."""
    gathered = ranks.gather(dict(facts))
    differing = [name for name in facts if len({each[name] for each in gathered}) > 1]
    if differing:
        shown = ", ".join(f"rank {rank} {each[differing[0]]}" for rank, each in enumerate(gathered))
        message = f"the workers of this trial do not have the same {' and '.join(differing)} ({shown})"
        raise TrialFailed(TrialFailure(kind="error", message=message))


def check_world(arguments: TrainingArguments, ranks: Ranks) -> None:
    """Raise unless the Trainer knows of all ranks: else each would train by itself, and nobody would notice."""
    if arguments.world_size != ranks.world_size:
        raise RuntimeError(
            f"the Trainer sees {arguments.world_size} processes, but the trial has {ranks.world_size} workers"
        )


def parameters_hash(model: torch.nn.Module) -> str:
    """Names every parameter and buffer with all its bits."""
    digest = xxhash.xxh3_128()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def summed_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """NaN or infinite on every rank when it is so on one."""
    summed = value.clone()
    torch.distributed.all_reduce(summed)
    return summed


def num_real_examples(accelerator: Any, *, num_examples: int, per_rank: int) -> int | None:
    """How many examples of this rank's batch are real; None where all are.

    All ranks get batches of `per_rank` examples, so the last ones of an epoch are filled up with examples of its first.
    accelerate's own `remainder` is wrong in an epoch that a resumed trial enters in its middle.
    """
    remainder = num_examples % (per_rank * accelerator.num_processes)
    if not accelerator.gradient_state.end_of_dataloader or remainder == 0:
        return None
    return min(max(remainder - accelerator.process_index * per_rank, 0), per_rank)


def first_examples(inputs: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The first `number` examples of a batch. Without any, one whose labels do not count: every rank has to take part
    in every step."""
    kept = max(number, 1)
    first = {name: value[:kept] if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
    if number == 0 and "labels" in first:
        first["labels"] = torch.full_like(first["labels"], _IGNORED_LABEL)
    return first


def is_filled_up(inputs: Mapping[str, Any], accelerator: Any) -> bool:
    """Whether this is a batch of a rank that had no real examples left."""
    is_last = accelerator.gradient_state.end_of_dataloader
    return is_last and "labels" in inputs and bool((inputs["labels"] == _IGNORED_LABEL).all())

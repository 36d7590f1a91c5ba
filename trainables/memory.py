"""Out of memory: the same effective batch in smaller pieces. Decides only; knows no torch, no Trainer and no folder."""

import errno
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spaces.reports import Progress, Row
from spaces.usage import TrialUsage

# As PyTorch says it on a GPU, on the CPU (Linux, Windows, C++), and when cuBLAS finds no room for its workspace.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "std::bad_alloc", "ALLOC_FAILED")

MICRO_BATCH, ACCUMULATION, EVAL_BATCH = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size",
)  # fmt: skip
_DEFAULT_BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Batches:
    """How many examples pass through the model at once. `micro` times `accumulation` make one optimizer step."""

    micro: int
    """Examples of one forward and backward pass on a device."""
    accumulation: int
    """Such passes before each optimizer step."""
    evaluation: int
    """Examples of one forward pass in an evaluation."""

    @staticmethod
    def of(training: Mapping[str, Any]) -> "Batches":
        """What a `training` section asks for. Evaluation takes as many as training unless it says otherwise."""
        micro = int(training.get(MICRO_BATCH, _DEFAULT_BATCH))
        return Batches(
            micro=micro,
            accumulation=int(training.get(ACCUMULATION, 1)),
            evaluation=int(training.get(EVAL_BATCH, micro)),
        )

    @staticmethod
    def used(usage: TrialUsage) -> "Batches | None":
        """What a trial used in the end, where that is known."""
        micro, accumulation, evaluation = (
            usage.micro_batch_size, usage.gradient_accumulation_steps, usage.eval_batch_size,
        )  # fmt: skip
        if micro is None or accumulation is None or evaluation is None:
            return None
        return Batches(micro=micro, accumulation=accumulation, evaluation=evaluation)

    def noted_in(self, usage: TrialUsage) -> TrialUsage:
        """`usage` with these batches."""
        return replace(
            usage, micro_batch_size=self.micro, gradient_accumulation_steps=self.accumulation,
            eval_batch_size=self.evaluation,
        )  # fmt: skip

    def in_training(self, training: Mapping[str, Any]) -> dict[str, Any]:
        """`training` with these batches."""
        return {**training, MICRO_BATCH: self.micro, ACCUMULATION: self.accumulation, EVAL_BATCH: self.evaluation}

    def row(self, progress: Progress | None) -> Row:
        """The history row that says so, where the trial goes on from."""
        return {
            "step": progress.step if progress else 0,
            "epoch": progress.epoch if progress else 0.0,
            "tokens": progress.tokens if progress else 0,
            "train/micro_batch_size": self.micro,
            "train/gradient_accumulation_steps": self.accumulation,
        }


def smaller_micro_batch(batches: Batches, *, num_examples: int, drop_last: bool) -> Batches | None:
    """The next smaller micro-batch with exactly the same effective batch, or None when there is none.

    An even micro-batch is halved. An odd one is divided by its smallest factor (9 -> 3 x 3, 7 -> 1 x 7): any other
    piece would change how many examples an optimizer step has. With `drop_last`, smaller pieces of the examples may
    also drop fewer of them, and so train on other steps: such pieces are passed over.
    """
    for pieces in range(2, batches.micro + 1):
        if batches.micro % pieces:
            continue
        micro = batches.micro // pieces
        if drop_last and num_examples % batches.micro != num_examples % micro:
            continue
        return replace(batches, micro=micro, accumulation=batches.accumulation * pieces)
    return None


def smaller_evaluation(batches: Batches) -> Batches | None:
    """Half the evaluation batch, or None when it is one example. Its size changes no metric, so any will do."""
    return replace(batches, evaluation=batches.evaluation // 2) if batches.evaluation > 1 else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device or the machine has no memory left."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(sign in f"{type(error).__name__}: {error}" for sign in _SIGNS)


def release_frames(error: BaseException) -> None:
    """Empty the frames that `error` and what it was raised from went through: they hold model and optimizer for as
    long as the exception lives."""
    for one in _chain(error):
        traceback.clear_frames(one.__traceback__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__

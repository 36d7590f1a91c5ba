"""A few real steps of a trial: what fits into memory, how fast it trains. Runs in a process of its own.

    python -m trainables.probe < orders.json

Says what it finds line by line as JSON, so that what was found before a process is killed for its memory is known.
"""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from trainables.memory import Batches, is_out_of_memory
from trainables.monitor import Monitor, accelerators, cpu_name

_WARM_UP_STEPS = 1
_VALIDATION_BATCHES = 4
# The next size is not tried where this share of the memory would be passed, going by the sizes before.
_SAFE_SHARE = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeOrder:
    """What to measure."""

    document: dict[str, Any]
    """A trial document."""
    finds_largest: bool
    """Whether to look for the largest micro-batch that fits; else only the document's own is measured."""
    seconds: float = 20.0
    """Stop growing after so long."""
    steps: int = 4
    """Optimizer steps of each size, the first one not counted."""
    num_threads: int = 1
    """CPU threads of a trial."""
    gpu_share: float = 1.0
    """The part of a GPU that a trial has."""
    memory_budget: int | None = None
    """Bytes that a trial may take on a CPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One size of micro-batch."""

    micro_batch: int
    """Examples at once."""
    accumulation: int
    """Micro-batches of a step."""
    fits: bool
    """Whether it trained. What follows is None where it did not."""
    examples_per_second: float | None = None
    """Speed of training."""
    tokens_per_second: float | None = None
    """The same in tokens, padding not counted."""
    peak_memory_bytes: int | None = None
    """Most memory held at once."""
    watts: float | None = None
    """Mean power while it trained."""
    setup_seconds: float | None = None
    """From nothing to the first step: model, optimizer, dataloader, compiling."""
    evaluation_seconds: float | None = None
    """One evaluation of all validation examples, from a few batches."""
    train_examples: int | None = None
    """Examples of one epoch."""
    num_parameters: int | None = None
    """Weights of the model."""


def probe(order: ProbeOrder) -> Iterator[Measured]:
    """Measure `order`: first the document's own batches (halved until they fit), then larger ones while they do."""
    trial = TrialConfig.model_validate(order.document)
    own = Batches.of(trial.training)
    deadline = time.monotonic() + order.seconds
    sizes = [own.micro]
    seen: list[Measured] = []
    while sizes:
        micro = sizes.pop()
        found = _measure(trial, _of_size(own, micro), order)
        seen.append(found)
        yield found
        if not found.fits and micro <= own.micro and micro > 1:
            sizes.append(micro // 2)
        elif found.fits and order.finds_largest and time.monotonic() < deadline and _may_grow(seen, order):
            sizes.append(micro * 2)


def _of_size(own: Batches, micro: int) -> Batches:
    """About the same effective batch where `micro` is smaller; one micro-batch a step where it is larger."""
    accumulation = max(1, own.micro * own.accumulation // micro)
    return Batches(micro=micro, accumulation=accumulation, evaluation=own.evaluation)


def _may_grow(seen: list[Measured], order: ProbeOrder) -> bool:
    """Whether twice the last size may fit: it was not smaller than one that failed, and memory seems to suffice."""
    last = seen[-1]
    if last.train_examples is not None and 2 * last.micro_batch > last.train_examples:
        return False
    if any(not each.fits and each.micro_batch <= 2 * last.micro_batch for each in seen):
        return False
    if order.memory_budget is None or last.peak_memory_bytes is None:
        return True
    earlier = [each for each in seen[:-1] if each.peak_memory_bytes is not None]
    # Until two sizes are known, all memory is taken for the batch's: too careful rather than killed.
    base = 0.0
    if earlier:
        before = earlier[-1]
        assert before.peak_memory_bytes is not None
        grown = max(0, last.peak_memory_bytes - before.peak_memory_bytes)
        base = last.peak_memory_bytes - grown * last.micro_batch / (last.micro_batch - before.micro_batch)
    predicted = base + 2 * (last.peak_memory_bytes - base)
    return predicted < _SAFE_SHARE * order.memory_budget


def _measure(trial: TrialConfig, batches: Batches, order: ProbeOrder) -> Measured:
    from trainables.fresh_process import fresh_process_state

    sys.audit("tunesmith.micro_batch", batches.micro)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="tunesmith-probe-") as folder,
            fresh_process_state(seed=int(trial.training.get("seed", 42)), num_threads=order.num_threads),
            Monitor(gpu_share=order.gpu_share) as monitor,
        ):
            return _train_a_little(trial, batches, order, monitor=monitor, folder=Path(folder))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return Measured(micro_batch=batches.micro, accumulation=batches.accumulation, fits=False)


class _EnoughSteps(Exception):
    """Ends a training that has been measured."""


def _train_a_little(
    trial: TrialConfig, batches: Batches, order: ProbeOrder, *, monitor: Monitor, folder: Path
) -> Measured:
    import torch
    from transformers import TrainerCallback

    from trainables.folds import data_of_folds
    from trainables.preparation import prepare
    from trainables.training import build_trainer
    from trainables.trial_log import TrialLog

    started = time.monotonic()
    data = prepare(trial.task, trial.model, data_of_folds(trial.data, trial.folds)[0])
    log = TrialLog(batches=batches, monitor=monitor)
    trainer = build_trainer(
        trial, data, lambda report: None, log=log, directory=None, output=folder, resume_from=None
    )  # fmt: skip
    marks: list[tuple[float, int]] = []

    class Timer(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            marks.append((time.monotonic(), int(state.num_input_tokens_seen)))
            if len(marks) >= _WARM_UP_STEPS + order.steps:
                raise _EnoughSteps

    trainer.add_callback(Timer())
    trainer.args.eval_on_start = False
    with contextlib.suppress(_EnoughSteps):
        trainer.train()
    usage = monitor.usage()
    seconds_so_far = time.monotonic() - started
    first, last = marks[min(_WARM_UP_STEPS, len(marks)) - 1], marks[-1]
    steps, seconds = len(marks) - _WARM_UP_STEPS, max(last[0] - first[0], 1e-9)
    if steps < 1:  # the whole training is one step
        steps, seconds, first = 1, max(last[0] - started, 1e-9), (started, 0)
    examples = min(batches.micro * batches.accumulation, len(data.train)) * steps
    return Measured(
        micro_batch=batches.micro,
        accumulation=batches.accumulation,
        fits=True,
        examples_per_second=examples / seconds,
        tokens_per_second=(last[1] - first[1]) / seconds,
        evaluation_seconds=_evaluation_seconds(trainer, batches),
        peak_memory_bytes=monitor.usage().peak_memory_bytes,
        watts=None if usage.energy_wh is None else usage.energy_wh * 3600 / seconds_so_far,
        setup_seconds=max(0.0, first[0] - started - seconds / steps),
        train_examples=len(data.train),
        num_parameters=sum(weight.numel() for weight in trainer.model.parameters()),
    )


def _evaluation_seconds(trainer: Any, batches: Batches) -> float:
    whole = len(trainer.eval_dataset)
    some = min(whole, _VALIDATION_BATCHES * batches.evaluation)
    loader = trainer.get_eval_dataloader(trainer.eval_dataset.select(range(some)))
    trainer.model.eval()
    trainer.evaluation_loop(loader, "warm-up") if some < whole else None
    began = time.monotonic()
    trainer.evaluation_loop(loader, "probe")
    return (time.monotonic() - began) * whole / some


def main(say: Callable[[str], object] = print) -> None:
    """Read a list of orders, measure each, say each finding in a line: the number of its order, then what was found."""
    import torch

    orders = [ProbeOrder(**order) for order in json.load(sys.stdin)]
    for index, order in enumerate(orders):
        if order.gpu_share < 1 and torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(order.gpu_share)
        for found in probe(order):
            names, _ = accelerators()
            facts = {"device": ", ".join(dict.fromkeys(names)) or cpu_name(), "num_gpus": len(names)}
            say(json.dumps({"order": index, **facts, **asdict(found)}), flush=True)  # type: ignore[call-arg]  # as print


if __name__ == "__main__":
    main()

"""Training speed of a tunesmith trial against a bare PyTorch loop: same model, data, batches, optimizer, precision.

    python benchmarks/training_throughput.py [--steps 40] [--repeats 5]     # CPU: a GPT-2 of 6M parameters
    python benchmarks/training_throughput.py --gpu                          # GPT-2 124M: fp32, bf16, compiled; MFU

Both are timed by the same clock, from the end of one optimizer step to that of the tenth after it, in one process,
taking turns. That they do the same work is checked, not assumed: their last losses must agree.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader, RandomSampler

from cluster.connect import local_cpus
from spaces.reports import TrialReport
from trainables.config import TrialConfig
from trainables.data.card import DataCard
from trainables.devices import peak_flops
from trainables.flops import flops_per_token
from trainables.models import build_model
from trainables.preparation import PreparedData, prepare
from trainables.tasks.registry import TASKS
from trainables.trial import run_trial

SMALL = {"n_embd": 320, "n_layer": 4, "n_head": 5}
GPT2_124M = {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50304, "n_positions": 1024}
RATE, DECAY, CLIP, SEED = 1e-4, 0.01, 1.0, 7
LOGGING_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """What both loops train."""

    name: str
    config: dict[str, int]
    length: int
    batch: int
    warm_up: int
    steps: int
    bf16: bool = False
    compiled: bool = False

    def document(self) -> dict[str, Any]:
        """As a trial."""
        return {
            "task": "causal_lm",
            "model": {"architecture": "gpt2", "config": self.config | {"n_positions": max(self.length, 1024)}},
            "data": {
                "source": {"builtin": "stdlib-docs"},
                "tokenizer": {"train": "bpe", "vocab_size": 4096},
                "max_length": self.length,
            },
            "training": {
                "max_steps": self.warm_up + self.steps, "eval_strategy": "no", "logging_steps": LOGGING_STEPS,
                "seed": SEED, "learning_rate": RATE, "weight_decay": DECAY, "max_grad_norm": CLIP,
                "lr_scheduler_type": "constant",
                "per_device_train_batch_size": self.batch, "bf16": self.bf16, "torch_compile": self.compiled,
            },
        }  # fmt: skip


def main() -> None:
    """Measure and print the table; exit with 1 when a trial is slower than 0.97 of the bare loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40, help="steps that are timed, a multiple of 10")
    parser.add_argument("--repeats", type=int, default=5, help="trainings of each kind")
    parser.add_argument("--gpu", action="store_true", help="GPT-2 124M on the GPU instead")
    arguments = parser.parse_args()
    if arguments.gpu and not torch.cuda.is_available():
        sys.exit("there is no GPU here")
    slowest = 1.0
    print(f"{'case':<22}{'parameters':>11}{'bare tokens/s':>15}{'trial tokens/s':>16}{'ratio':>8}{'MFU':>8}")
    for case in gpu_cases(arguments.steps) if arguments.gpu else [cpu_case(arguments.steps)]:
        slowest = min(slowest, compare(case, repeats=arguments.repeats))
    sys.exit(0 if slowest >= 0.97 else 1)


def cpu_case(steps: int) -> Case:
    """More than five million parameters, on all cores."""
    return Case(name="GPT-2 6M, fp32, CPU", config=SMALL, length=128, batch=8, warm_up=5, steps=steps)


def gpu_cases(steps: int) -> Iterator[Case]:
    """GPT-2 as published, from plain to compiled."""
    for name, bf16, compiled in (("fp32", False, False), ("bf16", True, False), ("bf16, compiled", True, True)):
        yield Case(
            name=f"GPT-2 124M, {name}", config=GPT2_124M, length=1024, batch=16, warm_up=10, steps=steps, bf16=bf16,
            compiled=compiled,
        )  # fmt: skip


def compare(case: Case, *, repeats: int) -> float:
    """The trial's speed over the bare loop's, in the median of pairs that ran one after the other."""
    trial = TrialConfig.model_validate(case.document())
    data = prepare(trial.task, trial.model, trial.data)
    ratios, bare_speeds, trial_speeds = [], [], []
    for repeat in range(repeats):
        found = {}
        # The order changes, so that a machine that slows down favours neither.
        for kind in ("bare", "trial") if repeat % 2 else ("trial", "bare"):
            found[kind] = bare_loop(case, trial, data) if kind == "bare" else our_trial(case, trial)
        (bare, bare_loss), (ours, our_loss) = found["bare"], found["trial"]
        if abs(bare_loss - our_loss) > 0.02 * bare_loss:
            raise SystemExit(f"the loops do not do the same work: losses {bare_loss:.4f} and {our_loss:.4f}")
        ratios.append(ours / bare)
        bare_speeds.append(bare)
        trial_speeds.append(ours)
    model = built(trial, data.card, data)
    speed = statistics.median(trial_speeds)
    ratio = statistics.median(ratios)
    print(
        f"{case.name:<22}{model.num_parameters() / 1e6:>10.1f}M{statistics.median(bare_speeds):>15,.0f}{speed:>16,.0f}"
        f"{ratio:>8.3f}{mfu(case, model, speed):>8}   (ratios {min(ratios):.3f} to {max(ratios):.3f})",
        flush=True,
    )
    return ratio


def our_trial(case: Case, trial: TrialConfig) -> tuple[float, float]:
    """Tokens a second and last training loss."""
    reports: list[TrialReport] = []
    with timed(case) as clock:
        outcome = run_trial(trial, reports.append, save_checkpoints=False, num_threads=local_cpus())
    if outcome.failure is not None:
        raise SystemExit(f"the trial failed: {outcome.failure.message}")
    losses: list[Any] = [row["train/loss"] for report in reports for row in report.rows if "train/loss" in row]
    return clock.tokens_per_second(case), losses[-1]


def bare_loop(case: Case, trial: TrialConfig, data: PreparedData) -> tuple[float, float]:
    """The same with nothing but PyTorch and the model."""
    transformers.set_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = built(trial, data.card, data).to(device).train()
    plain = [weight for name, weight in model.named_parameters() if weight.ndim < 2 or name.endswith("bias")]
    decayed = [weight for weight in model.parameters() if not any(weight is each for each in plain)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}], lr=RATE, fused=True
    )
    step_model = torch.compile(model) if case.compiled else model
    examples = data.train.with_format("torch", columns=["input_ids"])
    sampler = RandomSampler(examples, generator=torch.Generator().manual_seed(SEED))
    loader: Any = DataLoader(
        examples, batch_size=case.batch, sampler=sampler, drop_last=True, pin_memory=device.type == "cuda"
    )
    losses: list[torch.Tensor] = []
    with timed(case) as clock:
        for batch in itertools.islice(
            itertools.chain.from_iterable(itertools.repeat(loader)), case.warm_up + case.steps
        ):
            ids = batch["input_ids"].to(device, non_blocking=True)
            with torch.autocast(device.type, torch.bfloat16) if case.bf16 else nullcontext():
                loss = step_model(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
    return clock.tokens_per_second(case), float(torch.stack(losses[-LOGGING_STEPS:]).mean())


def built(trial: TrialConfig, card: DataCard, data: PreparedData) -> Any:
    """The model of the trial, untrained."""
    return build_model(TASKS[trial.task], trial.model, data=trial.data, card=card, tokenizer=data.tokenizer)


def mfu(case: Case, model: Any, tokens_per_second: float) -> str:
    """Model FLOPs utilisation, where the device's peak is known."""
    if not torch.cuda.is_available():
        return ""
    peak = peak_flops(torch.cuda.get_device_name(), "bf16" if case.bf16 else "fp32")
    flops = flops_per_token(model, length=case.length)
    return f"{flops * tokens_per_second / peak:.1%}" if peak and flops else ""


class Clock:
    """When each optimizer step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def tokens_per_second(self, case: Case) -> float:
        """Of the median block of steps, each with one row of the history: a busy moment of the machine spoils few."""
        marks = self.ends[case.warm_up - 1 : case.warm_up + case.steps : LOGGING_STEPS]
        blocks = [later - earlier for earlier, later in itertools.pairwise(marks)]
        return LOGGING_STEPS * case.batch * case.length / statistics.median(blocks)


@contextmanager
def timed(case: Case) -> Iterator[Clock]:
    """Notes the end of every optimizer step of this process. The GPU is waited for at two of them only."""
    clock = Clock()

    def note(*_: Any) -> None:
        if torch.cuda.is_available() and len(clock.ends) + 1 in (case.warm_up, case.warm_up + case.steps):
            torch.cuda.synchronize()
        clock.ends.append(time.perf_counter())

    hook = register_optimizer_step_post_hook(note)
    try:
        yield clock
    finally:
        hook.remove()


if __name__ == "__main__":
    torch.set_num_threads(local_cpus())
    main()

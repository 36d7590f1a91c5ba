"""Turns the Trainer's events into history rows, checkpoints and reports. Decides nothing about training but its end."""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spaces.reports import Progress, ReportFunction, Row, TrialCalledAway, TrialFailed, TrialFailure, TrialReport
from spaces.usage import TrialUsage, together
from trainables.checkpoints import TrialDirectory
from trainables.data.card import DataCard
from trainables.devices import Precision, peak_flops
from trainables.divergence import DivergenceGuard
from trainables.extra_checkpoints import commit_extra
from trainables.flops import flops_per_token
from trainables.metrics import EVAL_LOSS, TRAIN_LOSS
from trainables.pace import Pace
from trainables.position import DataPosition
from trainables.ranks import ALONE, Ranks
from trainables.stopping import Patience
from trainables.tasks.task import DerivedMetrics
from trainables.trial_log import TrialLog, diverged

# What transformers logs, and what we call it. Names not listed are left out of the history.
_TRAIN_NAMES = {"loss": TRAIN_LOSS, "grad_norm": "train/grad_norm", "learning_rate": "train/learning_rate"}
_SPEED_NAMES = {
    "eval_samples_per_second",
    "eval_steps_per_second",
    "eval_model_preparation_time",
    "eval_num_input_tokens_seen",
}


# Enough for a person to see what a model does.
_SAMPLES_REPORTED = 16


class ReportingCallback(TrainerCallback):
    """Turns the Trainer's events into history rows, checkpoints and reports."""

    def __init__(
        self,
        report: ReportFunction,
        *,
        log: TrialLog,
        directory: TrialDirectory | None,
        card: DataCard,
        derived: DerivedMetrics,
        tokenizer_directory: Path,
        evaluations_done: int,
        attempt: int,
        patience: Patience,
        guard: DivergenceGuard,
        ranks: Ranks = ALONE,
    ) -> None:
        self._report = report
        self._ranks = ranks
        self._patience = patience
        self._guard = guard
        self._train_loss: float | None = None
        self._has_lost_patience = False
        self._log = log
        self._directory = directory
        self._card = card
        self._derived = derived
        self._tokenizer_directory = tokenizer_directory
        self._evaluations = evaluations_done
        self._attempt = attempt
        self._evaluated_step = -1
        self._latency_ms: float | None = None
        self._pending: TrialReport | None = None
        self.read_samples: Callable[[], Sequence[Mapping[str, str]]] = tuple
        """Gives what the model said in the last evaluation."""
        self.measure_test: Callable[[], Mapping[str, float]] | None = None
        """Measures the test split, in a confirmation."""
        self._pace = Pace(flops_per_token=lambda length: None, peak_flops=None)
        self._position = DataPosition(num_examples=1, batch=1)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clocks: the first step follows."""
        if not self._ranks.is_first:
            torch.manual_seed(args.seed + self._ranks.rank)  # the models are equal; their dropout must not be
        self._position = DataPosition.of(args, kwargs["train_dataloader"])
        self._log.began_at = time.time()
        model = kwargs["model"]
        self._pace = Pace(
            flops_per_token=lambda length: flops_per_token(model, length=length),
            peak_flops=peak_of(self._log.monitor.devices, args, model),
        )
        self._pace.start(**self._counts(state))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The last step always evaluates, also where the cadence would not."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        self._log_and_save_with_evaluation(control)
        # Not at the end of an epoch: what is due then would be taken for done.
        is_between = not control.should_evaluate and not self._position.epoch(state.global_step).is_integer()
        if is_between and self._directory is not None and self._directory.is_called_away():
            control.should_log = control.should_save = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """An epoch that ends at the last step was evaluated there."""
        if state.global_step == self._evaluated_step:
            control.should_evaluate = False
        self._log_and_save_with_evaluation(control)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,
        **kwargs: Any,
    ) -> None:
        """A row of the training curve."""
        # The rows are the history. transformers' own copy would go into every checkpoint and grow with the trial.
        state.log_history.clear()
        metrics = {_TRAIN_NAMES[name]: float(value) for name, value in (logs or {}).items() if name in _TRAIN_NAMES}
        if TRAIN_LOSS not in metrics:
            return
        self._train_loss = metrics[TRAIN_LOSS]
        counts = self._counts(state)
        speed = self._pace.row(**counts)
        self._log.rows.append(
            self._row(state) | metrics | {"train/examples": counts["examples"]} | speed | self._log.monitor.row()
        )
        if not math.isfinite(metrics[TRAIN_LOSS]):
            raise diverged(TRAIN_LOSS, metrics[TRAIN_LOSS], step=state.global_step)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """A report, sent now or together with its checkpoint."""
        named = {
            name.replace("eval_", "eval/", 1): float(value)
            for name, value in metrics.items()
            if name.startswith("eval_") and name not in _SPEED_NAMES
        }
        seconds = named.pop("eval/runtime", 0.0)
        examples_per_second = metrics.get("eval_samples_per_second")
        self._latency_ms = 1000 / examples_per_second if examples_per_second else None
        if not math.isfinite(named[EVAL_LOSS]):
            raise diverged(EVAL_LOSS, named[EVAL_LOSS], step=state.global_step)
        lost = self._guard.why_lost(train_loss=self._train_loss, eval_loss=named[EVAL_LOSS])
        if lost is not None:
            self._log.rows.append({**self._row(state), **named})  # no report: a lost trial has no value
            raise TrialFailed(TrialFailure(kind="diverged", message=lost))
        named |= self._derived(named, card=self._card)
        self._evaluations += 1
        self._evaluated_step = state.global_step
        self._has_lost_patience = self._patience.is_at_end(named)
        control.should_training_stop = control.should_training_stop or self._has_lost_patience
        if self.measure_test is not None and self._progress(state).is_final:
            named |= self.measure_test()
        row: Row = self._row(state) | {"evaluation": self._evaluations} | named | {"eval/seconds": seconds}
        self._pending = TrialReport(
            progress=self._progress(state),
            metrics=named,
            rows=[*self._log.rows, row],
            samples=[dict(sample) for sample in self.read_samples()[:_SAMPLES_REPORTED]],
            seconds=self._log.seconds,
            attempt=self._attempt,
            began_at=self._log.began_at,
            usage=self._usage(),
        )
        self._log.rows.clear()
        if not control.should_save:
            self._send(None)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Commit the checkpoint that the Trainer wrote, then report."""
        assert self._directory is not None, "without a directory nothing is saved"
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self._pending is None:
            self._leave_with(folder, state, self._directory)
        assert self._pending is not None, "a save follows an evaluation, or is the last thing that happens here"
        self._ranks.wait()  # each rank has written its random state
        if not self._ranks.is_first:
            self._send(None)
            return
        # Any checkpoint may be the best one in the end: each loads by itself.
        shutil.copytree(self._tokenizer_directory, folder, dirs_exist_ok=True)
        self._patience.save(folder)
        self._guard.save(folder)
        self._send(self._directory.commit(folder, self._pending))

    def _leave_with(self, folder: Path, state: TrainerState, directory: TrialDirectory) -> NoReturn:
        """End training here: it goes on elsewhere from this checkpoint, in the middle between two evaluations."""
        self._patience.save(folder)
        self._guard.save(folder)
        so_far = TrialReport(
            progress=self._progress(state), metrics={}, seconds=self._log.seconds, usage=self._usage()
        )  # fmt: skip
        commit_extra(directory, folder, step=state.global_step, report=so_far, rows=self._log.rows)
        raise TrialCalledAway

    def _log_and_save_with_evaluation(self, control: TrainerControl) -> None:
        # The loss since the last row is in no checkpoint: without a row here, a resumed curve would differ.
        control.should_log = control.should_log or control.should_evaluate
        control.should_save = control.should_evaluate and self._directory is not None

    def _send(self, checkpoint: Path | None) -> None:
        pending, self._pending = self._pending, None
        assert pending is not None
        self._report(replace(pending, checkpoint=str(checkpoint) if checkpoint else None))
        # Evaluating, saving and waiting for the search's answer is no training time.
        self._pace.resume()

    def _counts(self, state: TrainerState) -> dict[str, int]:
        step = state.global_step
        return {
            "step": step, "tokens": int(state.num_input_tokens_seen), "examples": self._position.examples(step),
        }  # fmt: skip

    def _usage(self) -> TrialUsage:
        speed = {
            "tokens_per_second": self._pace.tokens_per_second,
            "mfu": self._pace.mfu,
            "latency_ms": self._latency_ms,
        }
        if self._log.num_parameters is not None:
            speed["parameters"], speed["trainable_parameters"] = self._log.num_parameters
        known = {name: value for name, value in speed.items() if value is not None}
        usage = together(self._ranks.gather(self._log.monitor.usage()))
        return self._log.batches.noted_in(replace(usage, **known))  # type: ignore[arg-type]  # floats

    def _progress(self, state: TrainerState) -> Progress:
        return Progress(
            step=state.global_step,
            epoch=self._position.epoch(state.global_step),
            tokens=int(state.num_input_tokens_seen),
            evaluation=self._evaluations,
            is_final=self._has_lost_patience or state.global_step >= state.max_steps,
        )

    def _row(self, state: TrainerState) -> Row:
        return {
            "step": state.global_step,
            "epoch": self._position.epoch(state.global_step),
            "tokens": int(state.num_input_tokens_seen),
        }


def peak_of(devices: list[str], arguments: TrainingArguments, model: Any) -> float | None:
    """Peak FLOPs of all ranks' devices together in the precision that a trial multiplies in; None where one is not
    known. Every rank has `devices` like these."""
    precision: Precision = "fp32"
    if arguments.bf16 or model.dtype is torch.bfloat16:
        precision = "bf16"
    elif arguments.fp16 or model.dtype is torch.float16:
        precision = "fp16"
    elif torch.backends.cuda.matmul.fp32_precision == "tf32":
        precision = "tf32"
    peaks = [peak_flops(device, precision) for device in devices]
    return arguments.world_size * sum(peak for peak in peaks if peak) if peaks and all(peaks) else None

"""The one training loop: the Hugging Face Trainer, evaluating, checkpointing and reporting as the spec says.

Knows no Ray, no W&B and no spec file: it is handed a TrialConfig and a function to report to.
"""

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from spaces.reports import Progress, ReportFunction, Row, TrialFailed, TrialFailure, TrialReport
from spaces.usage import TrialUsage, together
from trainables.adapters import save_labels
from trainables.arguments import DEFAULTS
from trainables.checkpoints import Checkpoint, TrialDirectory
from trainables.config import DataConfig, TrialConfig
from trainables.curriculum import CurriculumSampler
from trainables.data.card import DataCard
from trainables.data.example_packing import real_tokens
from trainables.device_checks import fitted_to_device
from trainables.devices import Precision, peak_flops
from trainables.distributed import (
    check_world,
    first_examples,
    is_filled_up,
    num_real_examples,
    parameters_hash,
    prove_equal,
    summed_over_ranks,
)
from trainables.flops import flops_per_token
from trainables.freezing import GradualUnfreezing
from trainables.layer_rates import split_by_layer
from trainables.memory import Batches, is_out_of_memory, release_frames, smaller_evaluation
from trainables.metrics import EVAL_LOSS, TRAIN_LOSS
from trainables.models import build_model
from trainables.monitor import Monitor
from trainables.pace import Pace
from trainables.position import DataPosition
from trainables.preparation import PreparedData
from trainables.ranks import ALONE, Ranks
from trainables.regularization import L1Penalty
from trainables.sampling import resumable
from trainables.stopping import Patience, patience_of
from trainables.tasks.padding import IGNORED_LABEL
from trainables.tasks.registry import TASKS
from trainables.tasks.task import DerivedMetrics, Task

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


@dataclass(kw_only=True)
class TrialLog:
    """What a trial has to tell and has not told yet."""

    started: float = field(default_factory=time.monotonic)
    seconds_before: float = 0.0
    """Wall time of earlier attempts."""
    rows: list[Row] = field(default_factory=list)
    """History rows since the last report."""
    began_at: float = field(default_factory=time.time)
    """Unix time of the first training step."""
    batches: Batches
    """How many examples at once: the spec's, or fewer once those did not fit into memory."""
    monitor: Monitor = field(default_factory=Monitor)
    """Measures memory, energy and power."""
    has_begun_a_step: bool = False
    """Whether the model itself fitted: only then can smaller batches help."""

    @property
    def seconds(self) -> float:
        """Wall time of the trial so far, in all its attempts."""
        return self.seconds_before + time.monotonic() - self.started


def train(
    trial: TrialConfig,
    data: PreparedData,
    report: ReportFunction,
    *,
    log: TrialLog,
    directory: TrialDirectory | None,
    output: Path,
    resume_from: Checkpoint | None,
    ranks: Ranks = ALONE,
) -> None:
    """Train to the end. `directory` None: no checkpoints. Raises TrialFailed when a loss is no number."""
    trainer = build_trainer(
        trial, data, report, log=log, directory=directory, output=output, resume_from=resume_from, ranks=ranks
    )
    if ranks.are_several:
        _prove_equal_start(trial, data, trainer, resume_from, ranks)
    trainer.train(resume_from_checkpoint=str(resume_from.path) if resume_from else None)


def build_trainer(
    trial: TrialConfig,
    data: PreparedData,
    report: ReportFunction,
    *,
    log: TrialLog,
    directory: TrialDirectory | None,
    output: Path,
    resume_from: Checkpoint | None,
    ranks: Ranks = ALONE,
) -> "TrialTrainer":
    """The Trainer of one trial, model included."""
    task = TASKS[trial.task]
    model = build_model(task, trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer)
    reporter = ReportingCallback(
        report, log=log, directory=directory, card=data.card, derived=task.derived_metrics,
        tokenizer_directory=data.directory / "tokenizer",
        evaluations_done=resume_from.report.progress.evaluation if resume_from else 0,
        attempt=directory.attempt if directory else 1,
        patience=patience_of(trial, resume_from=resume_from),
        ranks=ranks,
    )  # fmt: skip
    arguments = training_arguments(trial, output=output, batches=log.batches)
    check_world(arguments, ranks)
    if resume_from is not None:
        arguments.eval_on_start = False  # that evaluation was reported by the first attempt
    trainer = TrialTrainer(
        model=model,
        args=arguments,
        data_collator=task.collator(data.tokenizer, trial.data, model=model, is_training=True),
        train_dataset=data.train,
        eval_dataset=data.validation,
        compute_loss_func=None if arguments.label_smoothing_factor else task.compute_loss or task.batch_loss,
        compute_metrics=partial(task.compute_metrics, card=data.card) if task.compute_metrics else None,
        preprocess_logits_for_metrics=task.reduce_logits,
        callbacks=[reporter],
        log=log,
        l1=trial.regularization.l1,
    )
    reporter.read_samples = lambda: trainer.samples
    trainer.measuring = Measuring(task=task, trial=trial, tokenizer=data.tokenizer)
    trainer.annotate_examples()
    trainer.remove_callback(PrinterCallback)
    trainer.layer_decay = trial.model.layer_decay
    if (curriculum := trial.data.curriculum) is not None:
        seed = arguments.seed if arguments.data_seed is None else arguments.data_seed
        trainer.curriculum = CurriculumSampler(data.difficulties(curriculum), curriculum, seed=seed)
    if trial.model.unfreeze is not None:
        trainer.add_callback(GradualUnfreezing(model, trial.model.unfreeze))
    return trainer


def _prove_equal_start(
    trial: TrialConfig, data: PreparedData, trainer: "TrialTrainer", resume_from: Checkpoint | None, ranks: Ranks
) -> None:
    facts = {
        "trial document": hashlib.sha256(trial.model_dump_json().encode()).hexdigest()[:16],
        "data": data.fingerprint,
        "checkpoint": resume_from.path.name if resume_from else "none",
        "initial parameters": parameters_hash(trainer.model),
    }
    prove_equal(ranks, facts)


def training_arguments(trial: TrialConfig, *, output: Path, batches: Batches) -> TrainingArguments:
    """The spec's training section over our defaults, with what tunesmith decides itself."""
    fields = fitted_to_device(batches.in_training({**DEFAULTS, **trial.training}))
    fields["include_num_input_tokens_seen"] = "non_padding"  # every report says how much was seen
    fields.setdefault("dataloader_pin_memory", torch.cuda.is_available())
    if torch.distributed.is_initialized() and not torch.cuda.is_available():
        fields["use_cpu"] = True  # without it, accelerate trains each CPU process by itself, on all of the data
    return TrainingArguments(
        **fields,
        output_dir=str(output),
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
        remove_unused_columns=False,  # examples hold what collators read, which may be more than models know
        save_strategy="no",  # ReportingCallback asks for a save with each evaluation
        prediction_loss_only=TASKS[trial.task].compute_metrics is None,
    )


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What an evaluation needs beyond the model."""

    task: Task
    trial: TrialConfig
    tokenizer: Any

    @property
    def data(self) -> DataConfig:
        """What was asked for of the data."""
        return self.trial.data


class TrialTrainer(Trainer):
    """Trainer that ends a diverged trial at the step it diverges, and whose evaluation loss compares trials."""

    label_smoother: Any
    train_dataset: Any
    eval_dataset: Any
    data_collator: Any
    _loss_shifts_labels: bool
    measuring: Measuring
    """Set once the Trainer is built."""
    samples: tuple[Mapping[str, str], ...] = ()
    """What the model said in the last evaluation."""
    layer_decay = 1.0
    curriculum: CurriculumSampler | None = None
    """Replaces the random order of training examples."""

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """As transformers makes it, with a learning rate of its own for each layer where the spec wants that."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.layer_decay != 1:
            split_by_layer(optimizer, self.model if model is None else model, decay=self.layer_decay)
        return optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        save_labels(self.model, Path(output_dir or self.args.output_dir))

    def __init__(self, *, log: TrialLog, l1: float = 0.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._log = log
        self._penalty = L1Penalty(l1)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass. A loss that is no number ends the trial."""
        self._log.has_begun_a_step = True
        loss = super().training_step(model, inputs, num_items_in_batch)
        # On a GPU this check would wait for every step; there the logged loss is checked instead.
        if loss.device.type == "cpu":
            checked = summed_over_ranks(loss.detach()) if self.args.world_size > 1 else loss
            if not torch.isfinite(checked):
                raise diverged(TRAIN_LOSS, float(checked), step=self.state.global_step + 1)
        return loss

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """The micro-batches of a step. With several ranks, without the examples that only fill up the last ones."""
        is_weighted = self.model_accepts_loss_kwargs or self.compute_loss_func is not None
        if self.args.world_size > 1 and is_weighted:  # else a rank's mean counts as much as another's
            epoch_iterator = self._real_examples(epoch_iterator)
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _real_examples(self, batches: Any) -> Iterator[Any]:
        for batch in batches:
            num_real = self._num_real(self.train_dataset, self.args.train_batch_size)
            yield batch if num_real is None else first_examples(batch, num_real)

    def _num_real(self, dataset: Any, per_rank: int) -> int | None:
        if self.args.dataloader_drop_last:
            return None
        return num_real_examples(self.accelerator, num_examples=len(dataset), per_rank=per_rank)

    def annotate_examples(self) -> None:
        """Add what the task wants to know of the examples before the first step."""
        task = self.measuring.task
        self._loss_shifts_labels &= task.batch_loss is None  # else its labels are one for each example
        if task.annotate is None:
            return
        annotate = partial(
            task.annotate, model=self.model, trial=self.measuring.trial, collate=self.data_collator
        )  # fmt: skip
        with self.accelerator.autocast():
            self.train_dataset, self.eval_dataset = annotate(self.train_dataset), annotate(self.eval_dataset)

    def _track_num_input_tokens(self, inputs: Any) -> None:
        """Count the tokens of this step over all ranks; a rank without real examples adds none."""
        if "position_ids" in inputs:  # packed examples go without a mask
            inputs = {**inputs, "attention_mask": real_tokens(inputs["position_ids"])}
        if self.args.world_size > 1 and is_filled_up(inputs, self.accelerator):
            inputs = {**inputs, "attention_mask": torch.zeros_like(inputs["input_ids"])}
        super()._track_num_input_tokens(inputs)

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """One evaluation batch, whose loss counts by its labels; with several ranks by this rank's real examples."""
        if self.args.world_size == 1:
            loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
            self._count(loss, inputs)
            return loss, logits, labels
        averages, self.args.average_tokens_across_devices = self.args.average_tokens_across_devices, False
        try:
            loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
            if (num_real := self._num_real(self.eval_dataset, self.args.eval_batch_size)) is not None:
                inputs = first_examples(inputs, num_real)
                loss, _, _ = super().prediction_step(model, inputs, True, ignore_keys)
        finally:
            self.args.average_tokens_across_devices = averages
        self._count(loss, inputs)
        return loss, logits, labels

    def _count(self, loss: torch.Tensor, inputs: Mapping[str, Any]) -> None:
        count = num_labels(inputs["labels"], shifts=self._loss_shifts_labels)
        # where nothing counts, the mean is no number
        total = loss.double() * count if count else torch.zeros_like(loss, dtype=torch.float64)
        self._losses.append((total, count.to(loss.device)))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Weights are penalised in training only: an evaluation loss would depend on the strength itself."""
        found = self._loss(model, inputs, return_outputs, num_items_in_batch)
        # Once an optimizer step, with its last micro-batch.
        if self._penalty.strength and model.training and self.accelerator.sync_gradients:
            loss, rest = (found[0], found[1:]) if return_outputs else (found, ())
            loss = loss + self._penalty(self, model) * self._divided_by_later(num_items_in_batch)
            return (loss, *rest) if return_outputs else loss
        return found

    def _loss(self, model: Any, inputs: Any, return_outputs: bool, num_items_in_batch: Any) -> Any:
        """Labels are smoothed in training only, for the same reason."""
        if self.measuring.task.batch_loss is not None:
            loss, outputs = self.measuring.task.batch_loss(
                model, inputs, trial=self.measuring.trial, num_items_in_batch=num_items_in_batch
            )
            if num_items_in_batch is not None and self.args.average_tokens_across_devices:
                loss = loss * self.accelerator.num_processes  # gradients are averaged over ranks
            return (loss, outputs) if return_outputs else loss
        smoother = self.label_smoother
        if not model.training:
            self.label_smoother = None
        try:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        finally:
            self.label_smoother = smoother

    def _divided_by_later(self, num_items_in_batch: Any) -> float:
        """What the Trainer divides a loss by after `compute_loss`: models that do not scale it themselves."""
        is_scaled = (
            self.model_accepts_loss_kwargs and num_items_in_batch is not None
        ) or self.compute_loss_func is not None
        return 1.0 if is_scaled else float(self.current_gradient_accumulation_steps)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.curriculum is not None:
            return self.curriculum
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return resumable(super()._get_train_sampler(train_dataset), seed=seed)

    def evaluation_loop(self, dataloader: Any, *arguments: Any, **options: Any) -> Any:
        """All of validation, in smaller batches when those do not fit into memory: that changes no metric and no later
        step."""
        random_state = torch.get_rng_state()  # a dataloader draws from it when it starts
        while True:
            try:
                return self._evaluate_all(dataloader, *arguments, **options)
            except Exception as error:
                can_be_smaller = is_out_of_memory(error) and self.args.world_size == 1  # peers would wait for ever
                batches = smaller_evaluation(self._log.batches) if can_be_smaller else None
                if batches is None:
                    raise
                release_frames(error)
            del dataloader
            self._log.batches = batches
            self.args.per_device_eval_batch_size = batches.evaluation
            clear_device_cache(garbage_collection=True)
            torch.set_rng_state(random_state)
            dataloader = self.get_eval_dataloader()

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Evaluation has a collator of its own: what it hides or cuts must be the same for every trial."""
        measuring, collator = self.measuring, self.data_collator
        self.data_collator = measuring.task.collator(
            measuring.tokenizer, measuring.data, model=self.model, is_training=False
        )
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = collator

    def _evaluate_all(self, *args: Any, **kwargs: Any) -> Any:
        """The loss is the mean over all labels: a mean of the batches' means, as the Trainer has it,
        depends on the batch size, and trials that differ in it could not be compared."""
        self._losses: list[tuple[torch.Tensor, torch.Tensor]] = []
        output = super().evaluation_loop(*args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        sums = torch.stack([torch.stack(part).double().sum() for part in zip(*self._losses, strict=True)])
        total, count = self.accelerator.reduce(sums, reduction="sum").tolist()
        output.metrics[f"{prefix}_loss"] = total / count
        self._losses.clear()
        measure = self.measuring.task.measure_generated
        if measure is not None:
            generated = measure(
                self.model, self.measuring.tokenizer, self.eval_dataset, self.measuring.data,
                batch_size=self.args.per_device_eval_batch_size,
            )  # fmt: skip
            output.metrics.update({f"{prefix}_{name}": value for name, value in generated.metrics.items()})
            self.samples = generated.samples
        return output

    def floating_point_ops(self, inputs: Any) -> int:
        """As transformers counts them, but with the parameters counted once and not at every step."""
        return 6 * inputs["input_ids"].numel() * self._num_parameters

    @cached_property
    def _num_parameters(self) -> int:
        return int(self.model.num_parameters(exclude_embeddings=True))


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
        ranks: Ranks = ALONE,
    ) -> None:
        self._report = report
        self._ranks = ranks
        self._patience = patience
        self._has_lost_patience = False
        self._log = log
        self._directory = directory
        self._card = card
        self._derived = derived
        self._tokenizer_directory = tokenizer_directory
        self._evaluations = evaluations_done
        self._attempt = attempt
        self._evaluated_step = -1
        self._pending: TrialReport | None = None
        self.read_samples: Callable[[], Sequence[Mapping[str, str]]] = tuple
        """Gives what the model said in the last evaluation."""
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
        if not math.isfinite(named[EVAL_LOSS]):
            raise diverged(EVAL_LOSS, named[EVAL_LOSS], step=state.global_step)
        named |= self._derived(named, card=self._card)
        self._evaluations += 1
        self._evaluated_step = state.global_step
        self._has_lost_patience = self._patience.is_at_end(named)
        control.should_training_stop = control.should_training_stop or self._has_lost_patience
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
        assert self._pending is not None, "a save follows an evaluation"
        self._ranks.wait()  # each rank has written its random state
        if not self._ranks.is_first:
            self._send(None)
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        # Any checkpoint may be the best one in the end: each loads by itself.
        shutil.copytree(self._tokenizer_directory, folder, dirs_exist_ok=True)
        self._patience.save(folder)
        self._send(self._directory.commit(folder, self._pending))

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
        speed = {"tokens_per_second": self._pace.tokens_per_second, "mfu": self._pace.mfu}
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


def num_labels(labels: torch.Tensor, *, shifts: bool) -> torch.Tensor:
    """How many predictions a batch is measured by: tokens that have a label, or else examples."""
    counted = (labels[..., 1:] if shifts else labels) != IGNORED_LABEL
    return counted.any(dim=1).sum() if labels.ndim == 2 and labels.is_floating_point() else counted.sum()


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


def diverged(metric: str, value: float, *, step: int) -> TrialFailed:
    """The failure of a trial whose loss is no finite number any more."""
    return TrialFailed(TrialFailure(kind="diverged", message=f"{metric} became {value} at step {step}"))

"""The Hugging Face Trainer of a trial: losses that compare trials, memory that runs out, ranks that count alike.

Knows no report, no checkpoint folder and no spec file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from transformers import Trainer

from trainables.adapters import save_labels
from trainables.config import DataConfig, TrialConfig
from trainables.curriculum import CurriculumSampler
from trainables.data.example_packing import real_tokens
from trainables.distributed import (
    first_examples,
    is_filled_up,
    num_real_examples,
    summed_over_ranks,
)
from trainables.handover import apply_hyperparameters, hyperparameters
from trainables.layer_rates import split_by_layer
from trainables.memory import is_out_of_memory, release_frames, smaller_evaluation
from trainables.metrics import TRAIN_LOSS
from trainables.mup import split_by_width
from trainables.regularization import L1Penalty
from trainables.sampling import resumable
from trainables.tasks.padding import IGNORED_LABEL
from trainables.tasks.task import Task
from trainables.trial_log import TrialLog, diverged


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
    test_dataset: Any = None
    """The test split, in a confirmation; a search has none."""
    curriculum: CurriculumSampler | None = None
    """Replaces the random order of training examples."""

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """As transformers makes it, with learning rates by layer or by width where the spec wants them."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.layer_decay != 1:
            split_by_layer(optimizer, self.model if model is None else model, decay=self.layer_decay)
        if is_new:
            split_by_width(optimizer, self.model if model is None else model)
        return optimizer

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """As saved, but with this trial's own hyperparameters: the checkpoint may be another trial's."""
        own = hyperparameters(self.optimizer) if checkpoint is not None else []
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            apply_hyperparameters(self.optimizer, self.lr_scheduler, own)

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
            if self.test_dataset is not None:
                self.test_dataset = annotate(self.test_dataset)

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


def num_labels(labels: torch.Tensor, *, shifts: bool) -> torch.Tensor:
    """How many predictions a batch is measured by: tokens that have a label, or else examples."""
    counted = (labels[..., 1:] if shifts else labels) != IGNORED_LABEL
    return counted.any(dim=1).sum() if labels.ndim == 2 and labels.is_floating_point() else counted.sum()

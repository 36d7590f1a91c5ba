"""The one training loop: the Hugging Face Trainer, evaluating, checkpointing and reporting as the spec says.

Knows no Ray, no W&B and no spec file: it is handed a TrialConfig and a function to report to.
"""

import hashlib
from functools import partial
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback

from spaces.reports import ReportFunction
from trainables.arguments import DEFAULTS
from trainables.checkpoints import Checkpoint, TrialDirectory
from trainables.config import TrialConfig
from trainables.curriculum import CurriculumSampler
from trainables.device_checks import fitted_to_device
from trainables.distributed import (
    check_world,
    parameters_hash,
    prove_equal,
)
from trainables.divergence import DivergenceGuard
from trainables.freezing import GradualUnfreezing
from trainables.memory import Batches
from trainables.models import build_model, num_parameters
from trainables.on_test import measured_on_test
from trainables.preparation import PreparedData, load_test_split
from trainables.ranks import ALONE, Ranks
from trainables.reporting import ReportingCallback
from trainables.stopping import patience_of
from trainables.tasks.registry import TASKS
from trainables.trainer import Measuring, TrialTrainer
from trainables.trial_log import TrialLog


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
    log.num_parameters = num_parameters(model)
    reporter = ReportingCallback(
        report, log=log, directory=directory, card=data.card, derived=task.derived_metrics,
        tokenizer_directory=data.directory / "tokenizer",
        evaluations_done=resume_from.report.progress.evaluation if resume_from else 0,
        attempt=directory.attempt if directory else 1,
        patience=patience_of(trial, resume_from=resume_from),
        guard=DivergenceGuard(
            trial.stopping.diverged_above, card=data.card, resume_from=resume_from.path if resume_from else None
        ),
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
    if trial.measure_test:
        trainer.test_dataset = load_test_split(data)
        reporter.measure_test = lambda: measured_on_test(trainer, card=data.card)
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

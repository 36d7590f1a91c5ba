"""Measures the test split with the model that a trial ends with. Only a confirmation asks for it.

Knows no report and no search: a Trainer that has just measured validation measures test in the same way.
"""

import math
from typing import TYPE_CHECKING

from spaces.objectives import name_on_test
from spaces.reports import TrialFailed, TrialFailure
from trainables.data.card import DataCard
from trainables.metrics import EVAL_LOSS

if TYPE_CHECKING:
    from trainables.trainer import TrialTrainer


def measured_on_test(trainer: "TrialTrainer", *, card: DataCard) -> dict[str, float]:
    """All metrics of the task on the test split, as `test/...`. What the Trainer knows of validation stays as it is.

    Raises:
        TrialFailed: the loss is no finite number.
    """
    task = trainer.measuring.task
    validation, samples = trainer.eval_dataset, trainer.samples
    trainer.eval_dataset = trainer.test_dataset
    try:
        # Not `evaluate`: its callbacks would take this for an evaluation of the trial.
        output = trainer.evaluation_loop(
            trainer.get_eval_dataloader(),
            description="test",
            prediction_loss_only=True if task.compute_metrics is None else None,
        )
    finally:
        trainer.eval_dataset, trainer.samples = validation, samples
    # Under validation's names, by which tasks derive further metrics.
    named = {
        name.replace("eval_", "eval/", 1): float(value)
        for name, value in output.metrics.items()
        if name.startswith("eval_") and name != "eval_model_preparation_time"
    }
    if not math.isfinite(named[EVAL_LOSS]):
        message = f"{name_on_test(EVAL_LOSS)} became {named[EVAL_LOSS]}"
        raise TrialFailed(TrialFailure(kind="diverged", message=message))
    named |= task.derived_metrics(named, card=card.measuring_test())
    return {name_on_test(name): value for name, value in named.items()}

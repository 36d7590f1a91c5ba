"""What trains on after its planned end is exactly what a longer training would have been, or is known not to be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_trials import labelled, run, weights

from trainables.arguments import resolved_training
from trainables.checkpoints import TrialDirectory
from trainables.lengths import why_inexact


@pytest.mark.parametrize(
    ("training", "word"),
    [
        ({}, "linear"),
        ({"lr_scheduler_type": "cosine"}, "cosine"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "decay"),
        ({"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.1}, "warmup"),
        ({"lr_scheduler_type": "constant", "eval_strategy": "steps", "eval_steps": 0.2}, "eval_steps"),
    ],
)
def test_what_depends_on_the_planned_end_is_named(training: dict[str, Any], word: str) -> None:
    assert word in str(why_inexact(resolved_training(training)))


@pytest.mark.parametrize("schedule", ["constant", "constant_with_warmup", "inverse_sqrt"])
def test_a_trial_that_goes_on_after_its_end_is_bit_for_bit_the_longer_one(tmp_path: Path, schedule: str) -> None:
    document = labelled(tmp_path, lr_scheduler_type=schedule, warmup_steps=5, num_train_epochs=2)
    assert why_inexact(resolved_training(document["training"])) is None
    longer = json.loads(json.dumps(document))
    longer["training"]["num_train_epochs"] = 4
    whole = run(longer, tmp_path / "whole")
    short = run(document, tmp_path / "short")
    checkpoint = TrialDirectory(tmp_path / "short").latest()
    assert checkpoint is not None
    TrialDirectory(tmp_path / "on").adopt(checkpoint, goes_on=True)
    on = run(longer, tmp_path / "on")
    assert on.metrics[0] == short.metrics[-1]
    assert on.metrics[1:] == whole.metrics[2:]
    assert weights(on) == weights(whole)


def test_a_checkpoint_that_was_adopted_outlives_the_one_it_came_from(tmp_path: Path) -> None:
    document = labelled(tmp_path, num_train_epochs=1)
    run(document, tmp_path / "first")
    checkpoint = TrialDirectory(tmp_path / "first").latest()
    assert checkpoint is not None
    TrialDirectory(tmp_path / "second").adopt(checkpoint, goes_on=False)
    names = {path.name for path in checkpoint.path.iterdir()}
    shutil.rmtree(tmp_path / "first")
    adopted = TrialDirectory(tmp_path / "second").latest()
    assert adopted is not None
    assert {path.name for path in adopted.path.iterdir()} == names
    assert run(document, tmp_path / "second").steps == [9]  # it is at its end

"""Patience and penalties: when a trial ends itself, and what is added to its training loss alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_trials import TINY_BERT, TINY_GPT2, Document, labelled, prose, run, weights

from spaces.errors import SpecError
from trainables.checks import check_trial
from trainables.config import StoppingConfig, TrialConfig
from trainables.regularization import L1Penalty
from trainables.stopping import Patience

STILL = TINY_BERT | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def patient(metric: str = "eval/loss", **config: Any) -> Patience:
    return Patience(StoppingConfig(**config), metric=metric)


@pytest.mark.parametrize(
    ("config", "values", "ends_at"),
    [
        ({"patience": 2}, [3.0, 2.0, 2.5, 2.5, 1.0], 4),
        ({"patience": 2}, [3.0, 2.0, 2.5, 1.9, 2.5, 2.5], 6),
        ({"patience": 1}, [3.0, 3.0], 2),
        ({"patience": 1, "min_delta": 0.5}, [3.0, 2.4, 2.0], 3),
        ({}, [1.0, 2.0, 3.0, 4.0], None),
    ],
)
def test_it_ends_after_so_many_evaluations_without_an_improvement(
    config: Document, values: list[float], ends_at: int | None
) -> None:
    patience = patient(**config)
    ended = [number for number, value in enumerate(values, 1) if patience.is_at_end({"eval/loss": value})]
    assert (ended[0] if ended else None) == ends_at


def test_a_metric_that_should_grow_is_improved_by_growing() -> None:
    patience = patient("eval/accuracy", patience=1)
    assert [patience.is_at_end({"eval/accuracy": value}) for value in (0.1, 0.2, 0.3, 0.25)] == [False] * 3 + [True]


# Without learning nothing improves: the trial must end after 1 + patience evaluations.
def stalled(folder: Path, **stopping: Any) -> Document:
    return labelled(folder, learning_rate=1e-12, num_train_epochs=8) | {"stopping": stopping}


def test_a_trial_without_patience_left_is_finished(tmp_path: Path) -> None:
    ran = run(stalled(tmp_path, patience=2, min_delta=0.01), tmp_path / "trial")
    assert ran.failure is None
    assert ran.steps == [9, 18, 27]
    assert [report.progress.is_final for report in ran.reports] == [False, False, True]
    assert run(stalled(tmp_path, patience=2, min_delta=0.01), tmp_path / "trial").steps == [27]


def test_patience_goes_on_after_an_interruption(tmp_path: Path) -> None:
    document = stalled(tmp_path, patience=3, min_delta=0.01)
    run(document, tmp_path / "trial", stop_after=3)
    assert run(document, tmp_path / "trial").steps == [27, 36]


def test_patience_within_an_epoch_ends_the_trial_there(tmp_path: Path) -> None:
    document = stalled(tmp_path, patience=1, min_delta=0.01)
    document["training"] |= {"eval_strategy": "steps", "eval_steps": 4}
    assert run(document).steps == [4, 8]


def test_a_trial_that_improves_trains_to_its_end_as_if_there_were_no_patience(tmp_path: Path) -> None:
    document = labelled(tmp_path, num_train_epochs=3)
    assert run(document | {"stopping": {"patience": 50}}).rows == run(document).rows


def test_a_metric_that_the_task_does_not_have_is_refused(tmp_path: Path) -> None:
    document = labelled(tmp_path) | {"stopping": {"patience": 2, "metric": "eval/acuracy"}}
    with pytest.raises(SpecError, match="Did you mean `eval/accuracy`") as caught:
        check_trial(TrialConfig.model_validate(document))
    assert caught.value.path == "stopping.metric"


# --- L1 --------------------------------------------------------------------------------------------------


def penalised(document: Document, strength: float) -> Document:
    return document | {"regularization": {"l1": strength}}


def test_the_penalty_is_that_of_all_weights_but_biases_and_norms(tmp_path: Path) -> None:
    from torch import nn

    model = nn.ModuleDict({"linear": nn.Linear(3, 2), "norm": nn.LayerNorm(2), "frozen": nn.Linear(2, 2, bias=False)})
    model["frozen"].requires_grad_(False)

    class Owner:
        def __init__(self) -> None:
            self.model = model

        def get_decay_parameter_names(self, model: Any) -> list[str]:
            from transformers import Trainer

            return Trainer.get_decay_parameter_names(self, model)  # type: ignore[arg-type]  # it reads nothing of self

    expected = 0.5 * model["linear"].weight.abs().sum()
    assert torch.equal(L1Penalty(0.5)(Owner(), model), expected)


def test_a_penalty_makes_weights_smaller_and_leaves_the_first_evaluation_as_it_is(tmp_path: Path) -> None:
    document = labelled(tmp_path, config=STILL, eval_on_start=True, optim="sgd", learning_rate=0.1)
    plain, small = run(document, tmp_path / "plain"), run(penalised(document, 0.01), tmp_path / "small")
    assert small.metrics[0] == plain.metrics[0]
    sizes = [
        sum(abs(value) for name, values in weights(ran).items() if name.endswith("dense.weight") for value in values)
        for ran in (plain, small)
    ]
    assert sizes[1] < 0.8 * sizes[0]


def test_the_first_training_loss_differs_by_the_penalty(tmp_path: Path) -> None:
    document = labelled(tmp_path, config=STILL, max_steps=1, learning_rate=1e-12)
    plain, one, two = (run(penalised(document, strength)).rows[0]["train/loss"] for strength in (0.0, 0.01, 0.02))
    assert isinstance(plain, float)
    assert isinstance(one, float)
    assert isinstance(two, float)
    assert one > plain + 0.1
    assert two - plain == pytest.approx(2 * (one - plain), rel=1e-4)


@pytest.mark.parametrize("make", [labelled, prose])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_accumulated_batches_are_penalised_once(tmp_path: Path, make: Any, smoothing: float) -> None:
    config = STILL if make is labelled else TINY_GPT2 | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    same = {"config": config, "optim": "sgd", "learning_rate": 0.1, "logging_steps": 1, "max_steps": 3,
            "label_smoothing_factor": smoothing}  # fmt: skip
    whole = run(penalised(make(tmp_path, per_device_train_batch_size=8, **same), 0.01))
    parts = run(penalised(make(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **same), 0.01))
    for one, other in zip(whole.rows, parts.rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3)

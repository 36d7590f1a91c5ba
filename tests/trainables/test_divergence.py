"""The guard against losses that blow up: which trials are lost, which are not, and that it goes on after a resume."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_trials import TINY_BERT, Document, labelled, run

from spaces.errors import SpecError
from trainables.config import StoppingConfig
from trainables.divergence import DivergenceGuard, loss_of_guessing
from trainables.metrics import EVAL_LOSS


def _card(loss: float | None = 2.0, labels: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(baseline={} if loss is None else {EVAL_LOSS: loss}, labels=labels)


def _lost_at(losses: list[tuple[float, float]], *, factor: float = 3.0, card: Any = None) -> int | None:
    guard = DivergenceGuard(factor, card=card or _card())
    for number, (train_loss, eval_loss) in enumerate(losses, 1):
        if guard.why_lost(train_loss=train_loss, eval_loss=eval_loss):
            return number
    return None


@pytest.mark.parametrize(
    ("losses", "lost_at"),
    [
        ([(2, 2), (9, 9), (9, 9), (9, 9), (9, 9)], 4),
        ([(2, 2), (9, 9), (9, 9), (5, 5), (9, 9), (9, 9)], None),  # it recovers in between
        ([(2, 2), (0.01, 9), (0.01, 9), (0.01, 9), (0.01, 9)], None),  # it overfits
        ([(9, 1), (9, 1), (9, 1), (9, 1)], None),  # a penalty in the training loss
        ([(40, 40), (30, 30), (20, 20), (15, 15), (12, 12)], None),  # it begins badly, and learns
        ([(2, 2), (5.9, 5.9), (5.9, 5.9), (5.9, 5.9)], None),  # not above 3 x 2
    ],
)
def test_only_a_trial_whose_losses_stay_far_above_guessing_is_lost(
    losses: list[tuple[float, float]], lost_at: int | None
) -> None:
    assert _lost_at(losses) == lost_at


def test_a_guard_that_is_switched_off_lets_all_go_on() -> None:
    assert _lost_at([(1, 1)] + [(1e9, 1e9)] * 9, factor=0.0) is None


def test_where_guessing_is_not_known_the_first_evaluation_is_the_measure() -> None:
    assert _lost_at([(0.1, 0.1)] + [(0.31, 0.31)] * 3, card=_card(None)) == 4
    assert _lost_at([(0.1, 0.1)] + [(0.29, 0.29)] * 9, card=_card(None)) is None


def test_guessing_among_labels_costs_the_logarithm_of_their_number() -> None:
    assert loss_of_guessing(_card(None, ("a", "b"))) == pytest.approx(0.6931, abs=1e-4)


def test_a_factor_that_no_trial_could_meet_is_refused() -> None:
    with pytest.raises((SpecError, ValueError), match="diverged_above > 1"):
        StoppingConfig(diverged_above=0.5)


def _exploding(folder: Path, **stopping: Any) -> Document:
    """Its loss grows for ever, and stays finite."""
    still = TINY_BERT | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return labelled(
        folder, config=still, learning_rate=30.0, optim="sgd", max_grad_norm=0.0, num_train_epochs=9,
        lr_scheduler_type="constant",
    ) | {"stopping": stopping}  # fmt: skip


def test_a_trial_that_blows_up_fails_as_diverged_with_its_figures(tmp_path: Path) -> None:
    ran = run(_exploding(tmp_path), tmp_path / "trial")
    assert ran.failure == "diverged"
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert "3 x 1.1 (what guessing reaches)" in ran.outcome.failure.message
    assert "stopping.diverged_above" in ran.outcome.failure.message
    assert ran.rows[-1]["eval/loss"] > 3.3  # type: ignore[operator]  # the figures are in the history
    off = run(_exploding(tmp_path, diverged_above=0.0), tmp_path / "off")
    assert off.failure is None


def test_the_guard_goes_on_counting_after_an_interruption(tmp_path: Path) -> None:
    whole = run(_exploding(tmp_path), tmp_path / "whole")
    last = len(whole.reports)
    assert last >= 2
    run(_exploding(tmp_path), tmp_path / "parts", stop_after=last)
    rest = run(_exploding(tmp_path), tmp_path / "parts")
    assert rest.failure == "diverged"
    assert rest.steps == [whole.steps[-1]]  # the checkpoint's evaluation again, then the failure

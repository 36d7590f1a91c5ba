"""The guard against a loss that blows up without becoming infinite. Knows no Trainer and no search."""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from trainables.data.card import DataCard
from trainables.metrics import EVAL_LOSS

_FILE = "divergence.json"
EVALUATIONS = 3
"""So many in a row: one bad evaluation is a spike that training may recover from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What was seen so far."""

    reference: float | None = None
    """The loss of guessing without a model, or of the first evaluation where that is not known."""
    best: float | None = None
    """Lowest evaluation loss so far."""
    evaluations: int = 0
    """Evaluations in a row at which the trial looked lost."""


class DivergenceGuard:
    """Watches the losses from evaluation to evaluation. Its state lies in each checkpoint.

    An evaluation counts against a trial when both losses are far above what guessing reaches, and the trial has been
    better before. The evaluation loss alone would blame a trial that overfits, the training loss alone one with a
    penalty in it, and both together one that begins badly and learns.
    """

    def __init__(self, factor: float, *, card: DataCard, resume_from: Path | None = None) -> None:
        """
        Args:
            factor: How far above is lost; 0 never is.
            card: What guessing reaches.
            resume_from: The checkpoint to go on from.
        """
        self._factor = factor
        self._watched = Watched(reference=loss_of_guessing(card))
        if resume_from is not None and (resume_from / _FILE).is_file():
            self._watched = Watched(**json.loads((resume_from / _FILE).read_text("utf-8")))

    def why_lost(self, *, train_loss: float | None, eval_loss: float) -> str | None:
        """Take one more evaluation into account. Gives why the trial is lost; None when it is not."""
        if not self._factor:
            return None
        before = self._watched
        reference = before.reference if before.reference is not None else eval_loss
        limit = self._factor * reference
        is_best = before.best is None or eval_loss < before.best
        is_lost = train_loss is not None and train_loss > limit and eval_loss > limit and not is_best
        self._watched = replace(
            before,
            reference=reference,
            best=eval_loss if is_best else before.best,
            evaluations=before.evaluations + 1 if is_lost else 0,
        )
        if self._watched.evaluations < EVALUATIONS:
            return None
        known = "what guessing reaches" if before.reference is not None else "the first evaluation"
        return (
            f"the losses blew up: at {EVALUATIONS} evaluations in a row they are more than {self._factor:g} x "
            f"{reference:.3g} ({known}), now train/loss {train_loss:.4g} and {EVAL_LOSS} {eval_loss:.4g}; "
            f"the best was {self._watched.best:.4g} (`stopping.diverged_above`)"
        )

    def save(self, folder: Path) -> None:
        """Leave the state in a checkpoint."""
        if self._factor:
            (folder / _FILE).write_text(json.dumps(asdict(self._watched)), "utf-8")


def loss_of_guessing(card: DataCard) -> float | None:
    """The evaluation loss without a model, where the data tells it."""
    known = card.baseline.get(EVAL_LOSS)
    if known is not None and known > 0:
        return known
    return math.log(len(card.labels)) if len(card.labels) > 1 else None

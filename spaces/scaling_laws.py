"""First guesses of learning rate and batch from the size of a model and of its data: published scaling laws.

Each law says what it was fitted on; outside of that it is extrapolated, and says so. Knows no spec and no model.
Parameters are counted without embeddings, batches in tokens.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What is to be trained."""

    parameters: int
    """Of the model, without embeddings."""
    tokens: int
    """Seen in the whole training, repetitions included."""

    @property
    def compute(self) -> float:
        """Floating-point operations: six a parameter and token (Kaplan et al. 2020, Section 2.1)."""
        return 6.0 * self.parameters * self.tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingLaw:
    """One published law."""

    name: str
    """In short."""
    source: str
    """Paper and place."""
    learning_rate: Callable[[Training], float]
    """Of Adam, at its peak."""
    batch_tokens: Callable[[Training], float] | None
    """Tokens of a step; None where the law does not speak of it."""
    fitted_on: str
    """The trainings that it was fitted on, in words."""
    holds: Callable[[Training], bool]
    """Whether a training lies among them."""


def _step_learning_rate(training: Training) -> float:
    return float(1.79 * training.parameters**-0.713 * training.tokens**0.307)


def _step_batch(training: Training) -> float:
    return float(0.58 * training.tokens**0.571)


def _deepseek_learning_rate(training: Training) -> float:
    return float(0.3118 * training.compute**-0.1250)


def _deepseek_batch(training: Training) -> float:
    return float(0.2920 * training.compute**0.3271)


def _kaplan_learning_rate(training: Training) -> float:
    return 0.003239 - 0.0001395 * math.log(training.parameters)


SCALING_LAWS = (
    ScalingLaw(
        name="Step Law",
        source="Li et al. 2025, Predictable Scale: Part I, Step Law (arXiv 2503.04715), Equation 1",
        learning_rate=_step_learning_rate,
        batch_tokens=_step_batch,
        fitted_on="60M to 1B parameters and 2B to 100B tokens",
        holds=lambda training: 6e7 <= training.parameters <= 1.1e9 and 2e9 <= training.tokens <= 1e11,
    ),
    ScalingLaw(
        name="DeepSeek",
        source="DeepSeek-AI 2024, DeepSeek LLM (arXiv 2401.02954), Section 3.1",
        learning_rate=_deepseek_learning_rate,
        batch_tokens=_deepseek_batch,
        fitted_on="1e17 to 2e19 floating-point operations",
        holds=lambda training: 1e17 <= training.compute <= 2e19,
    ),
    ScalingLaw(
        name="Kaplan",
        source="Kaplan et al. 2020, Scaling Laws for Neural Language Models (arXiv 2001.08361), Appendix D",
        learning_rate=_kaplan_learning_rate,
        batch_tokens=None,
        fitted_on="768 to 1.5B parameters, 250,000 steps of half a million tokens",
        holds=lambda training: 768 <= training.parameters <= 1.5e9 and 5e10 <= training.tokens <= 2.6e11,
    ),
)
"""The laws, the one that was fitted on most trainings first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """What a law says of a training."""

    law: ScalingLaw
    """Which law."""
    learning_rate: float
    """At its peak."""
    batch_tokens: float | None
    """Tokens of a step, where the law speaks of it."""
    is_extrapolated: bool
    """Whether the training lies outside of what the law was fitted on."""


def guesses(training: Training) -> list[Guess]:
    """What the laws say of `training`, those first that were fitted on its like. One that gives no positive rate has
    nothing to say."""
    found = [
        Guess(
            law=law,
            learning_rate=law.learning_rate(training),
            batch_tokens=law.batch_tokens(training) if law.batch_tokens is not None else None,
            is_extrapolated=not law.holds(training),
        )
        for law in SCALING_LAWS
    ]
    return sorted((guess for guess in found if guess.learning_rate > 0), key=lambda guess: guess.is_extrapolated)

"""`search.start_from: scaling_laws` -> points to try first, from the size of the spec's model and data.

The tokens of a training that counts in epochs are known once the data is prepared: until then there are no points.
Knows no study and no sampler.
"""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from search.spec import SearchSpec
from spaces.distributions import Choice, Distribution
from spaces.documents import get_path, has_path
from spaces.errors import SpecError
from spaces.scaling_laws import Guess, Training, guesses
from spaces.space import Space
from trainables.data.card import DataCard
from trainables.sizes import has_known_size, known_sizes, num_parameters

_RATE, _BATCH = "training.learning_rate", "training.per_device_train_batch_size"
_WHERE = "search.start_from"


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstGuess:
    """A point of a law."""

    guess: Guess
    """What the law says."""
    point: dict[str, Any]
    """The nearest thing in the space."""

    @property
    def words(self) -> str:
        """For a person: the point, its source, and what to think of it."""
        law = self.guess.law
        values = ", ".join(f"{path.rpartition('.')[2]} {_short(value)}" for path, value in self.point.items())
        notes = [f"extrapolated: fitted on {law.fitted_on}"] if self.guess.is_extrapolated else []
        if not math.isclose(self.point[_RATE], self.guess.learning_rate, rel_tol=0.01):
            notes.append(f"the law says {_short(self.guess.learning_rate)}, which the space does not hold")
        return f"{values} ({law.name}, {law.source.partition(',')[0]}{'; ' if notes else ''}{'; '.join(notes)})"


def check_first_guesses(spec: SearchSpec, space: Space) -> None:
    """Raise SpecError when no law speaks of this search."""
    if spec.task != "causal_lm" or spec.model is None or spec.model.architecture is None:
        raise SpecError(
            "scaling laws speak of the pretraining of language models: they need `task: causal_lm` and a model from "
            "scratch (`model.architecture`). Give points of your own, or none.",
            path=_WHERE,
        )
    if not has_known_size(spec.model.architecture):
        raise SpecError(
            f"scaling laws need the number of parameters, which is counted for {', '.join(known_sizes())}, but the "
            f"architecture is `{spec.model.architecture}`. Give points of your own.",
            path=_WHERE,
        )
    if _RATE not in space.paths:
        raise SpecError(f"scaling laws speak of `{_RATE}`, which is not searched.", path=_WHERE)


def first_guesses(
    spec: SearchSpec, space: Space, document: Mapping[str, Any], *, card: DataCard | None
) -> list[FirstGuess] | None:
    """A point from each law, none twice; None while it is not known how many tokens the data has."""
    tokens = _tokens(spec, document, card)
    if tokens is None:
        return None
    assert spec.model is not None
    size = num_parameters(str(spec.model.architecture), document["model"]["config"])
    distributions = {parameter.path: parameter.distribution for parameter in space.parameters}
    # The guess is for the model as the document has it: that is the model of the point, where its shape is searched.
    shape = {
        path: get_path(document, path)
        for path, distribution in distributions.items()
        if path.startswith("model.config.")
        and has_path(document, path)
        and distribution.contains(get_path(document, path))
    }
    found: list[FirstGuess] = []
    for guess in guesses(Training(parameters=size, tokens=tokens)):
        point = {_RATE: nearest(distributions[_RATE], guess.learning_rate)}
        if guess.batch_tokens is not None and _BATCH in distributions:
            point[_BATCH] = nearest(distributions[_BATCH], guess.batch_tokens / _tokens_a_place(spec, document))
        allowed = _allowed(point | shape, space)
        if allowed is not None and all(allowed != other.point for other in found):
            found.append(FirstGuess(guess=guess, point=allowed))
    return found


def _allowed(point: dict[str, Any], space: Space) -> dict[str, Any] | None:
    """`point`, or its rate alone where constraints forbid the rest, which is drawn then; None when they forbid it."""
    for kept in (point, {_RATE: point[_RATE]}):
        with contextlib.suppress(SpecError):
            space.complete(kept, Random(0))
            return kept
    return None


def nearest(distribution: Distribution, value: float) -> Any:
    """The value of `distribution` that is nearest to the positive number `value`, by their ratio."""
    if isinstance(distribution, Choice):
        numbers = [one for one in distribution.values if isinstance(one, int | float) and one > 0]
        return min(numbers, key=lambda one: abs(math.log(one / value)), default=distribution.values[0])
    low, high = getattr(distribution, "low", None), getattr(distribution, "high", None)
    if low is not None:
        value = max(value, low)
    if high is not None:
        value = min(value, high)
    is_whole = isinstance(low, int)
    return distribution.from_optuna_value(distribution.to_optuna_value(round(value) if is_whole else value))


def _tokens(spec: SearchSpec, document: Mapping[str, Any], card: DataCard | None) -> int | None:
    training = document["training"]
    if training["max_steps"] > 0:
        batch = training["per_device_train_batch_size"]
        return int(training["max_steps"] * batch * _tokens_a_place(spec, document))
    if card is None:
        return None
    return int(training["num_train_epochs"] * card.tokens["train"])


def _tokens_a_place(spec: SearchSpec, document: Mapping[str, Any]) -> int:
    """Tokens of a step for each example of a device's batch."""
    return int(
        document["data"]["max_length"] * document["training"]["gradient_accumulation_steps"] * spec.resources.workers
    )


def _short(value: float) -> str:
    return f"{value:.3g}"

"""The parts of a spec's `data` section that shape documents and examples: cleaning, curriculum, augmentation.

Knows what may be asked for, not how it is done.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from spaces.errors import SpecError, did_you_mean
from trainables.section import Section

# --- cleaning --------------------------------------------------------------------------------------------

StepName = Literal[
    "strip_html", "normalize_unicode", "strip_symbols", "collapse_whitespace", "lowercase", "redact_personal_data",
    "remove_stop_words", "lemmatize", "min_characters", "max_characters", "language", "deduplicate",
    "near_deduplicate",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class StepArgument:
    """What may stand behind the colon in `{name: argument}`."""

    described: str
    """The rule, as it ends the sentence `needs ...`."""
    accepts: Callable[[Any], bool]
    """Whether a value obeys it."""
    default: Any = None
    """What a bare name means. None: the argument must be given."""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_similarity(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.1 <= value <= 0.95


def _is_language(value: Any) -> bool:
    return isinstance(value, str) and len(value) in (2, 3) and value.isalpha() and value.islower()


STEP_ARGUMENTS: dict[StepName, StepArgument] = {
    "min_characters": StepArgument(described="a number of characters, such as 20", accepts=_is_count),
    "max_characters": StepArgument(described="a number of characters, such as 20000", accepts=_is_count),
    "language": StepArgument(described="a language code, such as en", accepts=_is_language),
    "near_deduplicate": StepArgument(
        described="a similarity between 0.1 and 0.95, such as 0.8", accepts=_is_similarity, default=0.8
    ),
    "lemmatize": StepArgument(described="a language code, such as en", accepts=_is_language, default="en"),
}
"""Steps that take an argument; the others are a name alone."""

# Each of these gives one word for one word, or judges the text as a whole: words and their tags stay together.
STEPS_FOR_WORDS: frozenset[StepName] = frozenset(
    {"normalize_unicode", "lowercase", "lemmatize", "min_characters", "max_characters", "language", "deduplicate",
     "near_deduplicate"}
)  # fmt: skip

CleaningStep = StepName | dict[StepName, Any]


def step_and_argument(step: CleaningStep) -> tuple[StepName, Any]:
    """The name of a step and its argument: the given one, its default, or None where it takes none."""
    if isinstance(step, dict):
        ((name, argument),) = step.items()
        return name, argument
    takes = STEP_ARGUMENTS.get(step)
    return step, takes.default if takes else None


def check_steps(value: Any) -> Any:
    """Steps as they stand in a spec. Raises SpecError for the first that is none, before types are looked at."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise SpecError(f"cleaning is a list of steps, such as `[strip_html, lowercase]`, but got {value!r}.")
    for step in value:
        _check_step(step)
    names = [step_and_argument(step)[0] for step in value]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SpecError(f"`{twice}` stands twice in the list.")
    return tuple(value)


def _check_step(step: Any) -> None:
    is_mapping = isinstance(step, dict)
    if is_mapping and len(step) != 1:
        raise SpecError(f"a step with an argument is one key and its value, such as `{{language: en}}`, not {step!r}.")
    name = next(iter(step)) if is_mapping else step
    known = StepName.__args__  # type: ignore[attr-defined]  # of a Literal
    if name not in known:
        raise SpecError(
            f"there is no cleaning step `{name}`.{did_you_mean(str(name), known)} Steps: {', '.join(known)}."
        )
    takes = STEP_ARGUMENTS.get(name)
    if takes is None and is_mapping:
        raise SpecError(f"`{name}` takes no argument: write its name alone.")
    if takes is not None and not is_mapping and takes.default is None:
        raise SpecError(f"`{name}` needs {takes.described}: write `{{{name}: ...}}`.")
    if takes is not None and is_mapping and not takes.accepts(step[name]):
        raise SpecError(f"`{name}` needs {takes.described}, but got {step[name]!r}.")


# --- the order of examples -------------------------------------------------------------------------------


class CurriculumConfig(Section):
    """Shows training examples in order of difficulty at first."""

    by: str = "length"
    """`length`: the tokens of an example. Else the name of a column that holds a number for each document."""
    order: Literal["easy_first", "hard_first"] = "easy_first"
    """`easy_first`: small numbers first. `hard_first`: large ones."""
    epochs: PositiveInt = 1
    """So many epochs are ordered; later ones are in random order, as without a curriculum."""


# --- more examples ---------------------------------------------------------------------------------------

Probability = Annotated[NonNegativeFloat, Field(lt=1.0)]


class AugmentConfig(Section):
    """Adds changed copies of the training texts (sequence classification). Validation and test stay as they are."""

    delete: Probability = 0.1
    """Each word of a copy is left out with this probability; one word always stays."""
    swap: Probability = 0.1
    """For this share of a copy's words, two words change places."""
    copies: Annotated[int, Field(ge=1, le=100)] = 1
    """Changed copies of each text. A copy that came out like its original is left out."""

    @model_validator(mode="after")
    def _changes_something(self) -> "AugmentConfig":
        if self.delete == 0 and self.swap == 0:
            raise SpecError("`delete > 0` or `swap > 0` must hold: copies that change nothing add nothing.")
        return self

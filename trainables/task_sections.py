"""Sections that one task alone has: how preferences are learned, how a prompt is made.

Knows neither the rest of a trial nor torch; each section checks its own arguments.
"""

import string
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from spaces.errors import SpecError, did_you_mean
from trainables.section import Section

PreferenceLoss = Literal["sigmoid", "hinge", "ipo", "simpo"]


class PreferenceConfig(Section):
    """What a chosen and a rejected answer teach. A reward is `beta` times what an answer has become more likely than it
    was to the model as it started (the reference)."""

    loss: PreferenceLoss = "sigmoid"
    """`sigmoid`: the margin between the two rewards by a logistic loss (DPO). `hinge`: by a hinge loss (SLiC). `ipo`:
    drawn to a fixed margin, by the mean over tokens (IPO). `simpo`: mean log-probabilities without a reference
    (SimPO)."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How closely the model stays with its reference: larger is closer. simpo: the factor of the rewards, 2 or so."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """sigmoid: the share of pairs that are taken to be labelled the wrong way round."""
    margin: Annotated[float, Field(ge=0)] = 0.5
    """simpo: how far above the rejected answer's reward the chosen one's should be."""
    sft_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the chosen answer's own loss per token, added to the loss (RPO). 0: none."""

    @model_validator(mode="after")
    def _arguments_belong_to_it(self) -> "PreferenceConfig":
        # A recorded document has all defaults filled in: only other values were meant.
        for name, loss in {"label_smoothing": "sigmoid", "margin": "simpo"}.items():
            if self.loss != loss and getattr(self, name) != type(self).model_fields[name].default:
                raise SpecError(
                    f"only `{loss}` has this, but the loss is `{self.loss}`: leave it out, or vary it under "
                    f"`when: {{preference.loss: {loss}}}`.",
                    path=name,
                )
        return self


ShotOrder = Literal["random", "label-balanced", "similar"]


class PromptConfig(Section):
    """How a text is put to a model that is not trained, and which solved examples stand before it."""

    template: str = "{text}\n{answer}"
    """One example. `{text}` is the text, `{answer}` what is to be said of it, and it comes last; in the question itself
    the model goes on from there."""
    instruction: str = ""
    """Stands before the first example. Default: nothing."""
    separator: str = "\n\n"
    """Stands between examples."""
    shots: NonNegativeInt = 4
    """Solved examples before the question, taken from train."""
    order: ShotOrder = "random"
    """`random`: the same ones for every question, drawn with `seed`. `label-balanced`: the same, each label in turn.
    `similar`: for each question the most similar texts of train (by tf-idf), the most similar one last."""
    seed: NonNegativeInt = 0
    """Which ones are drawn, and in which order."""
    words: dict[str, str] = Field(default_factory=dict)
    """What the model is to say for a label, where that is not the label's own name."""
    calibrate: bool = False
    """Labels: divide out how likely each answer is to a question without content (Zhao et al. 2021)."""
    stop: str = "\n"
    """Targets: what is generated ends before this. Empty: only at the end of text."""
    evaluations: PositiveInt = 1
    """Report after each of so many equal parts of validation, so that a scheduler can stop a bad prompt early."""
    max_examples: PositiveInt | None = None
    """Ask only so many validation texts, drawn with the split seed: the same ones for every trial. Default: all."""

    @model_validator(mode="after")
    def _template_is_complete(self) -> "PromptConfig":
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(self.template) if name is not None]
        except ValueError as error:
            raise SpecError(f"a brace is written `{{{{` or `}}}}`: {error}.", path="template") from None
        for name in fields:
            if name not in ("text", "answer"):
                near = did_you_mean(name, ("text", "answer"))
                raise SpecError(
                    f"a template has `{{text}}` and `{{answer}}`, but got `{{{name}}}`.{near}", path="template"
                )
        if sorted(fields) != ["answer", "text"] or fields[-1] != "answer":
            raise SpecError(
                f"a template has `{{text}}` once and then `{{answer}}` once, but got {self.template!r}.",
                path="template",
            )
        if self.shots and not self.separator:
            raise SpecError("shots need something between them.", path="separator")
        return self


SECTIONS: dict[str, tuple[str, type[Section]]] = {
    "preference": ("preference", PreferenceConfig),
    "prompt": ("few_shot", PromptConfig),
}
"""Section -> the task that has it, and its class."""


_OTHER_TEXTS = "the same evaluation of two trials would be of other texts, and they could not be compared"
FIXED_FOR_A_SEARCH = {
    "prompt.evaluations": _OTHER_TEXTS,
    "prompt.max_examples": _OTHER_TEXTS,
    "data.splits.train_on_validation": "no search sees the test split",
}
"""Paths that no search may vary, and why."""


def section_of(task: str | None) -> str | None:
    """The name of the section that `task` alone has."""
    return next((name for name, (owner, _) in SECTIONS.items() if owner == task), None)


def check_sections(task: str | None, given: dict[str, Any]) -> None:
    """Raise SpecError for a section of another task."""
    for name, (owner, _) in SECTIONS.items():
        if given.get(name) is not None and task != owner:
            raise SpecError(f"only `task: {owner}` has this section, but the task is {task}: leave it out.", path=name)

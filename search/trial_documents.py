"""The trial document of a spec with nothing varied, and whether a document makes a trial. Knows no space."""

import copy
from typing import Any

from pydantic import ValidationError

from search.load import explain
from search.spec import SearchSpec
from spaces.errors import SpecError
from trainables.arguments import resolved_training
from trainables.checks import check_trial
from trainables.config import CustomTrialConfig, TrialConfig
from trainables.task_sections import SECTIONS, section_of
from trainables.user_functions import check_trainable


def base_document(spec: SearchSpec) -> dict[str, Any]:
    """The trial document of the spec with nothing varied, defaults filled in. Changing it changes no spec."""
    folds = spec.search.folds
    repeated = {} if folds is None else {"folds": folds.model_dump(mode="json")}
    if spec.trainable is not None:
        return {"trainable": spec.trainable, "config": copy.deepcopy(spec.config), **repeated}
    assert spec.model is not None, "a task has a model"
    assert spec.data is not None, "a task has data"
    document = {
        "task": spec.task,
        "model": spec.model.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json"),
        "training": copy.deepcopy(resolved_training(spec.training)),
        "stopping": spec.stopping.model_dump(mode="json"),
        "regularization": spec.regularization.model_dump(mode="json"),
        **repeated,
    }
    own = section_of(spec.task)
    if own is None:
        return document
    return document | {own: (getattr(spec, own) or SECTIONS[own][1]()).model_dump(mode="json")}


def check_base(spec: SearchSpec) -> None:
    """Raises SpecError where the spec makes no trial even with nothing varied."""
    if spec.trainable is not None:
        try:
            check_trainable(spec.trainable)
        except SpecError as error:
            raise error.at("trainable") from None
        return
    assert spec.model is not None
    assert spec.data is not None
    assert spec.task is not None
    if spec.data.splits.train_on_validation:
        raise SpecError("only a confirmation may: see `tunesmith confirm`.", path="data.splits.train_on_validation")
    check_trial(
        TrialConfig(
            task=spec.task, model=spec.model, data=spec.data, training=spec.training, stopping=spec.stopping,
            regularization=spec.regularization, preference=spec.preference, prompt=spec.prompt,
        )
    )  # fmt: skip


def errors_in(document: dict[str, Any]) -> list[SpecError]:
    """Why this document makes no trial; nothing when it does."""
    model = CustomTrialConfig if "trainable" in document else TrialConfig
    try:
        trial = model.model_validate(document)
        if isinstance(trial, TrialConfig):
            check_trial(trial)
    except ValidationError as error:
        return explain(error, document, model=model)
    except SpecError as error:
        return [error]
    return []

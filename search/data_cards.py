"""The card of what a document trains on, if it has been prepared here. Prepares nothing."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any


def data_card_of(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The card of a trial document's data, with several folds that of the first; None for a user's own function and for
    data that this machine has not prepared."""
    if document.get("task") is None or document.get("data") is None:
        return None
    from trainables.config import TrialConfig
    from trainables.folds import data_of_folds
    from trainables.preparation import cached_card

    sections = {name: document[name] for name in TrialConfig.model_fields if document.get(name) is not None}
    config = TrialConfig.model_validate(sections)
    card = cached_card(config.task, config.model, data_of_folds(config.data, config.folds)[0])
    return None if card is None else json.loads(json.dumps(dataclasses.asdict(card)))

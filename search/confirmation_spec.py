"""The spec of a confirmation: the search's own, with whole documents and fresh seeds in the place of a space."""

import json
from pathlib import Path
from typing import Any

from search.confirmation_sections import ConfirmationConfig, ConfirmedConfiguration
from search.load import validate
from search.recorded_spec import resolved_spec
from search.spec import SearchSpec
from search.storage import moved
from spaces.documents import get_path, set_path


def confirmation_spec(spec: SearchSpec, config: ConfirmationConfig, *, name: str, storage: str | Path) -> SearchSpec:
    """`spec` with `config` instead of its search. Its resources, tracking and objectives stay."""
    raw: dict[str, Any] = json.loads(json.dumps(resolved_spec(spec)))
    first = config.configurations[0].document  # its data is prepared while Ray starts
    raw |= {section: value for section, value in first.items() if section != "folds"}
    for section in ("space", "constraints", "derive"):
        raw.pop(section, None)
    metric, mode = spec.search.metric, spec.search.mode
    raw |= {
        "name": name,
        "storage": moved(raw.get("storage"), storage),
        "search": {
            "algorithm": "grid",
            "metric": list(metric) if isinstance(metric, tuple) else metric,
            "mode": list(mode) if isinstance(mode, tuple) else mode,
        },
        "confirmation": config.model_dump(mode="json"),
    }
    set_path(raw, "checkpoints.keep", 0)  # a checkpoint serves to go on with; the search has the best model
    return validate(raw)


def on_all_but_test(configuration: ConfirmedConfiguration, spec: SearchSpec) -> ConfirmedConfiguration:
    """After a cross-validation there is no validation part that trials were ranked by: nothing is held out but test.

    Where training ends by patience, something must be left to stop by.
    """
    document = configuration.document
    has_patience = "stopping" in document and get_path(document, "stopping.patience") is not None
    if spec.search.cross_validation is None or "data" not in document or has_patience:
        return configuration
    changed = json.loads(json.dumps(document))
    set_path(changed, "data.splits.train_on_validation", True)
    return configuration.model_copy(update={"document": changed})

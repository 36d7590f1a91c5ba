"""What a search's folder holds beside its study, as plain values: the spec, the data card, the best configuration,
texts that the best model wrote. What is not there is empty; what looks like a secret is taken out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.records import SearchFiles, SearchRecord
from spaces.redaction import redact

_RECORDED = "recorded"
"""The section of spec.yaml that the search wrote about itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BesideTheStudy:
    """Of one search."""

    spec: Mapping[str, Any] = field(default_factory=dict)
    """The spec as resolved."""
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """When, with which versions and from which commit it was run."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """What is in the data, in numbers."""
    best_document: Mapping[str, Any] = field(default_factory=dict)
    """The whole document of the best trial."""
    samples: tuple[Mapping[str, str], ...] = ()
    """Texts that the best trial's model produced in its last evaluation."""


def beside_the_study(record: SearchRecord) -> BesideTheStudy:
    """What is known of `record` beside its trials; all empty for a search that is not kept in a folder."""
    if record.directory is None:
        return BesideTheStudy()
    files = SearchFiles(record.directory)
    spec = dict(_yaml(files.spec))
    recorded = spec.pop(_RECORDED, {})
    best = files.trial(record.best.number) if record.best is not None else None
    return BesideTheStudy(
        spec=redact(spec),
        recorded=recorded,
        card=_json(files.data_card),
        best_document=redact(_yaml(best.document).get("document", {})) if best is not None else {},
        samples=tuple(_json_lines(best.samples)) if best is not None else (),
    )


def to_yaml(document: Mapping[str, Any]) -> str:
    """`document` as YAML, in its order, without what is null: nothing is lost, for null is the default."""
    import yaml

    return yaml.safe_dump(_without_nulls(document), sort_keys=False, allow_unicode=True, width=100)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list | tuple) else value


def _yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    text = _text(path)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast, and may be missing
    return yaml.load(text, Loader=loader) or {} if text else {}


def _json(path: Path) -> Mapping[str, Any]:
    text = _text(path)
    return json.loads(text) if text else {}


def _json_lines(path: Path) -> list[Mapping[str, str]]:
    return [json.loads(line) for line in _text(path).splitlines() if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""

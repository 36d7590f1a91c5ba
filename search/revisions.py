"""What was asked of a search after its start: revisions, kept in its spec.yaml.

A revision is written in one move, before anything is done about it. What is still to do follows from it and from the
study, so a search that is killed on the way does the rest when it goes on. Knows no study.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from analysis.records import SearchFiles, replace_text
from search.load import RECORDED
from search.yaml_text import parse_yaml, to_yaml

_REVISIONS = "revisions"


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """One of them."""

    command: Literal["retry", "extend"]
    """Which command asked."""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """When, in ISO 8601."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Dotted path -> what the spec said before; now it says what it says."""
    num_trials: int = 0
    """How many trials the study had then."""
    lengthens: bool = False
    """Whether trials train for longer since then."""
    goes_on: tuple[int, ...] = ()
    """Trials that go on from their last checkpoint, or from the start where there is none."""
    starts_anew: tuple[int, ...] = ()
    """Trials that run again from the start."""

    def to_json(self) -> dict[str, Any]:
        """For spec.yaml: what is not the default."""
        plain = asdict(self) | {"goes_on": list(self.goes_on), "starts_anew": list(self.starts_anew)}
        return {name: value for name, value in plain.items() if value not in ({}, [], False)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Revision":
        """The revision that `to_json` wrote."""
        lists = {name: tuple(values.get(name, ())) for name in ("goes_on", "starts_anew")}
        return Revision(**{**values, **lists})


def recorded_facts(files: SearchFiles) -> dict[str, Any]:
    """What spec.yaml holds besides the spec: fingerprint, versions, revisions."""
    facts: dict[str, Any] = parse_yaml(files.spec.read_text("utf-8"))[0].get(RECORDED, {})
    return facts


def read_revisions(files: SearchFiles) -> list[Revision]:
    """All revisions of a search, in order."""
    return [Revision.from_json(each) for each in recorded_facts(files).get(_REVISIONS, [])]


def add_revision(files: SearchFiles, revision: Revision, *, resolved: Mapping[str, Any] | None = None) -> None:
    """Write one more revision. `resolved` is the spec as it is from now on; by default it stays what it was."""
    content, _ = parse_yaml(files.spec.read_text("utf-8"))
    facts = content.pop(RECORDED)
    facts[_REVISIONS] = [*facts.get(_REVISIONS, []), revision.to_json()]
    replace_text(files.spec, to_yaml({**(resolved or content), RECORDED: facts}))

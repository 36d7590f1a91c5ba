"""What shows a search elsewhere while it runs: the interface, and the one that shows nothing. Knows no W&B."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from analysis.records import SearchRecord
from spaces.objectives import Mode
from spaces.reports import Scalar

Row = Mapping[str, Scalar]
"""One line of history.jsonl: `step`, `epoch`, `tokens` and metrics by name, such as `train/loss`."""


NOTHING: Mapping[str, Any] = MappingProxyType({})
"""No summary yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchIdentity:
    """What W&B runs of one search have in common."""

    name: str
    """Name of the search or of the confirmation; a search's runs have it as their group."""
    fingerprint: str
    """Its first twelve characters begin each run id."""
    directory: Path
    """The search's folder. Runs lie in `wandb/` below it."""
    confirmed_search: str | None = None
    """Of a confirmation: the search whose configurations are trained again. `fingerprint` is that search's, too."""

    def run_id(self, number: int | None) -> str:
        """The id of a trial's run, or of the search's own for None. The same after every resume."""
        part = f"-{self.name}" if self.confirmed_search else ""
        return f"{self.fingerprint[:12]}{part}-{'search' if number is None else f'{number:04d}'}"

    def run_name(self, number: int | None) -> str:
        """What a person reads."""
        name = f"{self.confirmed_search}-{self.name}" if self.confirmed_search else self.name
        return name if number is None else f"{name}-{number:04d}"

    def job_type(self, number: int | None) -> str:
        """What kind of run it is."""
        if self.confirmed_search:
            return "confirmation"
        return "search" if number is None else "trial"

    @property
    def group(self) -> str:
        """What the runs stand together under."""
        return self.confirmed_search or self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """What the runs of a search say of themselves besides their documents."""

    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Commit, versions and seeds, for the section `tunesmith` of each config."""
    modes: Mapping[str, Mode] = field(default_factory=dict)
    """Which way a metric is better, for the best value of each trial."""
    card_of: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = lambda document: None
    """The card of what a document trains on; None where it is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedModel:
    """The checkpoint of a trial that has ended, with all that its run says of it."""

    number: int
    """Which trial."""
    document: Mapping[str, Any]
    """What it trained."""
    history: Sequence[Row]
    """Its rows."""
    summary: Mapping[str, Any]
    """As at its end."""
    checkpoint: Path
    """Folder with its weights."""
    facts: Mapping[str, Any]
    """What a person wants to know before they load it: objective, value, parameters."""
    samples: Sequence[Mapping[str, str]] = ()
    """Texts that it has produced."""


class Tracker(Protocol):
    """Shows a search elsewhere while it runs. No call raises; none waits but `close`, for a bounded time."""

    def start_search(self, config: Mapping[str, Any], *, summary: Mapping[str, Any] = NOTHING) -> None:
        """The search begins, or goes on. `summary` is what is known already."""

    def start_trial(
        self,
        number: int,
        document: Mapping[str, Any],
        *,
        history: Sequence[Row],
        summary: Mapping[str, Any] = NOTHING,
    ) -> None:
        """A trial begins, or goes on: then `history` has the rows that were recorded already. `summary` is what is
        known of it."""

    def log_rows(self, number: int, rows: Sequence[Row]) -> None:
        """The next rows of a trial's history."""

    def log_samples(self, number: int, samples: Sequence[Mapping[str, str]]) -> None:
        """Texts that a trial's model produced in its last evaluation, for people to read."""

    def end_trial(self, number: int, *, state: str, summary: Mapping[str, Any], error: str | None) -> None:
        """A trial is COMPLETE, PRUNED or FAIL. `summary` is shown as it is."""

    def end_search(self, record: SearchRecord, summary: Mapping[str, Any]) -> None:
        """The search is over, or interrupted."""

    def log_model(self, model: TrainedModel) -> None:
        """The best model of a search that is over."""

    def close(self, *, interrupted: bool = False) -> None:
        """Finish all runs. Trials that have not ended stay marked RUNNING and can go on later."""

    def pending(self) -> list[str]:
        """Run directories that W&B does not have yet."""

    @property
    def sync_command(self) -> str | None:
        """The command line that sends what is pending; None when nothing is."""


class NullTracker:
    """Tracking is off: never imports wandb."""

    sync_command: str | None = None

    def start_search(self, config: Mapping[str, Any], *, summary: Mapping[str, Any] = NOTHING) -> None: ...

    def start_trial(
        self,
        number: int,
        document: Mapping[str, Any],
        *,
        history: Sequence[Row],
        summary: Mapping[str, Any] = NOTHING,
    ) -> None: ...

    def log_rows(self, number: int, rows: Sequence[Row]) -> None: ...

    def log_samples(self, number: int, samples: Sequence[Mapping[str, str]]) -> None: ...

    def end_trial(self, number: int, *, state: str, summary: Mapping[str, Any], error: str | None) -> None: ...

    def end_search(self, record: SearchRecord, summary: Mapping[str, Any]) -> None: ...

    def log_model(self, model: TrainedModel) -> None: ...

    def close(self, *, interrupted: bool = False) -> None: ...

    def pending(self) -> list[str]:
        return []

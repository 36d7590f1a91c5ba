"""`tunesmith publish`: where the runs of a search are, what to say of it, and whether they must be sent before."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.kept import brought_here
from analysis.publish import Published, RunsPlace, publish, runs_place
from analysis.records import SearchFiles
from analysis.sources import WANDB, read_records
from analysis.summary import summary
from search.load import RECORDED
from search.spec import WandbConfig
from search.sync import OnProgress, SyncOutcome, sync_search
from search.wandb_folders import unsent
from search.wandb_server import require_server
from search.yaml_text import parse_yaml
from spaces.errors import SpecError


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishOutcome:
    """What `publish` has done."""

    published: Published
    """Where to look."""
    synced: SyncOutcome | None
    """What was sent before, where that was asked for."""

    def to_json(self) -> dict[str, Any]:
        """The documented form of `publish --json`."""
        return self.published.to_json() | {"sync": self.synced.to_json() if self.synced else None}

    def text(self) -> str:
        """For a person."""
        done = "updated" if self.published.is_update else "saved"
        lines = [self.synced.text()] if self.synced else []
        return "\n".join(
            [*lines, f"Workspace {done}: {self.published.workspace}", f"Report {done}: {self.published.report}"]
        )


def publish_search(
    source: str, *, syncs: bool = False, on_progress: OnProgress = lambda done, total: None
) -> PublishOutcome:
    """Publish the search in a folder, at its URL, or at `wandb:ENTITY/PROJECT/GROUP`. `syncs` sends offline runs.

    Raises:
        SpecError: there is no search, its runs are not in W&B, or W&B cannot be used.
    """
    if source.startswith(WANDB):
        require_server()
        return PublishOutcome(
            published=publish(record := read_records(source), runs_place(source), summary(record)), synced=None
        )
    directory = brought_here(Path(source).expanduser())
    record = read_records(directory)
    place = _place(directory, source)
    pending = unsent(directory / "wandb")
    synced = None
    if pending and syncs:
        synced = sync_search(directory, on_progress=on_progress)
        if synced.failed:
            raise SpecError(f"not all runs could be sent: {synced.text()}")
    elif pending:
        raise SpecError(
            f"W&B does not have {len(pending)} runs of `{source}`: send them first (`tunesmith sync {source}`), "
            "or together (`--sync`)."
        )
    require_server()
    return PublishOutcome(published=publish(record, place, summary(record)), synced=synced)


def _place(directory: Path, source: str) -> RunsPlace:
    content, _ = parse_yaml(SearchFiles(directory).spec.read_text("utf-8"))
    tracking = WandbConfig.model_validate(content.get("tracking", {}).get("wandb", {}))
    if tracking.mode == "disabled":
        raise SpecError(f"`{source}` was run with `tracking.wandb.mode: disabled`: there are no runs to publish.")
    return RunsPlace(
        entity=tracking.entity,
        project=tracking.project,
        group=content["name"],
        prefix=content[RECORDED]["fingerprint"][:12],
    )

"""Where the tests of this folder send their runs: to the fake server always, and to a real one when asked to.

    WANDB_API_KEY=... TUNESMITH_WANDB_LIVE=ENTITY/PROJECT pytest tests/wandb_live

The same tests run in both places. What they make in a real project they delete.
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wandb
import wandb_workspaces.reports.v2 as wr
from fake_wandb import ENTITY, serving
from wandb_story import PROJECT, identity_in

from search.tracker import SearchIdentity

# Read now: the suite's own conftest takes them away from all other tests.
LIVE = os.environ.get("TUNESMITH_WANDB_LIVE", "")
KEY = os.environ.get("WANDB_API_KEY", "")
URL = os.environ.get("WANDB_BASE_URL", "")


@dataclass(frozen=True)
class Place:
    """A project on a server, and a search of its own in it."""

    entity: str
    project: str
    identity: SearchIdentity

    @property
    def prefix(self) -> str:
        """What the ids of the search's runs begin with."""
        return self.identity.fingerprint[:12]

    def run(self, suffix: str) -> Any:
        """A run as the server has it now."""
        return wandb.Api().run(f"{self.entity}/{self.project}/{self.prefix}-{suffix}")

    def artifact(self, name: str) -> Any:
        """An artifact as the server has it now."""
        return wandb.Api().artifact(f"{self.entity}/{self.project}/{name}")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.live)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place to send runs to."""
    fingerprint = secrets.token_hex(8)
    identity = identity_in(tmp_path, name=f"live-{fingerprint[:6]}", fingerprint=fingerprint)
    wandb.teardown()  # wandb reads its environment once
    if request.param == "fake":
        for _ in serving(tmp_path / "home", monkeypatch):
            yield Place(ENTITY, PROJECT, identity)
            wandb.teardown()
        return
    if not (LIVE and KEY):
        pytest.skip("needs WANDB_API_KEY and TUNESMITH_WANDB_LIVE=ENTITY/PROJECT")
    entity, _, project = LIVE.partition("/")
    for name, value in {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": URL, "WANDB_ENTITY": entity}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    yield Place(entity, project, identity)
    wandb.teardown()
    _clean_up(entity, project, identity)


def _clean_up(entity: str, project: str, identity: SearchIdentity) -> None:
    api = wandb.Api()
    for run in api.runs(f"{entity}/{project}", filters={"group": identity.name}):
        run.delete(delete_artifacts=True)
    for report in api.reports(f"{entity}/{project}"):
        if identity.fingerprint[:12] in (report.description or ""):
            wr.Report.from_url(report.url).delete()  # a saved workspace cannot be deleted by program

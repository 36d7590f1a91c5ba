"""A search of ours, tracked by the real client: what is read back from the server is the record of its folder."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb
from fake_wandb import ENTITY, FakeWandb, serving
from recorded_searches import Session, planned

from analysis.leaderboard import leaderboard
from analysis.leaderboard_text import to_csv
from analysis.own_runs import search_summary
from analysis.records import SearchRecord
from analysis.sources import read_records
from analysis.study_source import stored_study
from search.spec import WandbConfig
from search.tracker import SearchIdentity
from search.tracking import WandbTracker

WALK = f"wandb:{ENTITY}/demo/walk"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWandb]:
    wandb.teardown()  # wandb reads its environment once
    for served in serving(tmp_path / "home", monkeypatch):
        yield served
        wandb.teardown()


class TrackedSession(Session):
    """A session whose trials are written to W&B, too."""

    def __init__(self, plan: Any, *, mode: Any = "online", fingerprint: str = "0123456789abcdef") -> None:
        identity = SearchIdentity(name=plan.spec.name, fingerprint=fingerprint, directory=plan.files.path)
        self.tracker = WandbTracker(
            WandbConfig(mode=mode, project="demo"), identity, init_timeout_seconds=60, finish_timeout_seconds=60
        )
        super().__init__(plan, tracker=self.tracker)
        self.tracker.start_search(json.loads(self.plan.spec.model_dump_json()), summary=self._summary())

    def close(self, *, interrupted: bool = False) -> None:
        self.tracker.end_search([], self._summary())
        self.tracker.close(interrupted=interrupted)

    def _summary(self) -> dict[str, str]:
        return search_summary(stored_study(self.study, self.study.get_trials(deepcopy=False)))


def comparable(record: SearchRecord) -> Any:
    """All that a record says but where it was read, curves as plain mappings."""
    trials = [replace(trial, intermediate=dict(trial.intermediate)) for trial in record.trials]
    nothing: Callable[[Any], Any] = str
    return replace(
        record,
        directory=None,
        trials=trials,
        spec_of=dict,
        document_of=nothing,
        history_of=nothing,  # type: ignore[arg-type]
    )


def rows_of(record: SearchRecord) -> list[Any]:
    return [list(record.history_of(trial.number)) for trial in record.trials]


def test_the_record_of_a_search_is_read_back_from_wandb_to_the_digit(server: FakeWandb, tmp_path: Path) -> None:
    session = TrackedSession(planned(tmp_path))
    for loss in (1 / 3, 0.1 + 0.2, 2e-17):
        session.complete(loss)
    session.prune(0.7)
    session.fail("diverged")
    session.start()
    session.close(interrupted=True)
    there = read_records(WALK)
    assert comparable(there) == comparable(session.record)
    assert to_csv(leaderboard(there)) == to_csv(leaderboard(session.record))
    assert rows_of(there) == rows_of(session.record)

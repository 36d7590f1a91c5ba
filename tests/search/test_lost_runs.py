"""Offline runs that went down with a machine, written anew by the real wandb client."""

from pathlib import Path

import pytest
import wandb
from recorded_searches import Session, planned

from analysis.offline_wandb import read_offline_run
from search.lost_runs import write_lost_runs
from search.spec import WandbConfig
from search.tracker import SearchIdentity
from search.tracking import make_tracker


@pytest.mark.slow
def test_a_trial_that_ended_and_has_no_run_here_gets_it_from_the_record(tmp_path: Path) -> None:
    session = Session(planned(tmp_path))
    session.complete(0.5)
    session.fail("error")
    session.start()  # one that runs is written when it goes on
    identity = SearchIdentity(name="walk", fingerprint="0123456789ab", directory=session.files.path)
    tracker = make_tracker(WandbConfig(mode="offline"), identity)
    record = session.record
    assert write_lost_runs(tracker, record, session.study, session.files, identity) == [0, 1]
    tracker.close()
    wandb.teardown()  # it flushes from a process of its own
    runs = sorted((read_offline_run(folder) for folder in _folders(session)), key=lambda run: run.id)
    assert [(run.id, run.summary["tunesmith/state"], run.exit_code) for run in runs] == [
        (identity.run_id(0), "COMPLETE", 0), (identity.run_id(1), "FAIL", 1),
    ]  # fmt: skip
    assert [row["progress/loss"] for row in runs[0].history] == [row["loss"] for row in record.history_of(0)]
    assert write_lost_runs(tracker, record, session.study, session.files, identity) == []


def _folders(session: Session) -> list[Path]:
    return sorted(session.files.path.glob("wandb/offline-run-*"))

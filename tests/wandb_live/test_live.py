"""What a fake server cannot prove: that W&B itself keeps, filters and shows what we send. See conftest.py."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import wandb
from wandb_story import DOCUMENT, FACTS, RECORD, open_tracker, rows, tell_story

from analysis.publish import RunsPlace, publish
from analysis.summary import Point
from search.sync import sync_search
from search.tracker import TrainedModel
from search.wandb_folders import local_runs

CARD = {
    "fingerprint": "d" * 16,
    "task": "causal_lm",
    "source": "some text",
    "documents": {"train": 3},
    "examples": {"train": 5},
    "tokens": {"train": 50},
    "vocab_size": 100,
    "max_length": 10,
}


def test_online_story_arrives_whole(place: Any) -> None:
    tell_story(open_tracker(place.identity, "online", project=place.project, entity=place.entity))
    eventually(lambda: steps_in(place.run("0000")), [0, 1, 2])
    first, failed, search = (place.run(suffix) for suffix in ("0000", "0001", "search"))
    assert (first.state, failed.state, search.state) == ("finished", "failed", "finished")
    assert {run.group for run in (first, failed, search)} == {place.identity.name}
    assert (search.job_type, first.job_type) == ("search", "trial")
    assert first.config["training"] == DOCUMENT["training"]
    assert first.config["tunesmith"]["git"] == FACTS.provenance["git"]
    assert first.summary["eval/loss"] == 0.25
    assert "charts/curves_table" in search.summary
    table = place.artifact(f"run-{search.id}-leaderboard:latest").get("leaderboard")
    assert [row[table.columns.index("value")] for row in table.data] == [0.1 + 0.2, None]


def test_runs_are_found_by_a_nested_parameter(place: Any) -> None:
    tell_story(open_tracker(place.identity, "online", project=place.project, entity=place.entity))
    filters = {"group": place.identity.name, "config.training.learning_rate": {"$lt": 0.01}, "jobType": "trial"}
    eventually(lambda: len(list(runs_in(place, filters))), 2)


def test_offline_runs_are_sent_once(place: Any) -> None:
    tell_story(open_tracker(place.identity, "offline", project=place.project, entity=place.entity))
    tell_where(place)
    assert len(sync_search(place.identity.directory).sent) == 3
    assert sync_search(place.identity.directory).already_sent == 3
    eventually(lambda: steps_in(place.run("0000")), [0, 1, 2])
    assert place.run("0001").state == "failed"


def test_run_that_was_sent_in_part_has_each_row_once(place: Any) -> None:
    tell_where(place)
    before = open_tracker(place.identity, "online", project=place.project, entity=place.entity)
    before.start_trial(0, DOCUMENT, history=rows(0, 3))
    before.close(interrupted=True)
    eventually(lambda: steps_in(place.run("0000")), [0, 1, 2])
    assert place.run("0000").state in ("preempted", "preempting")

    after = open_tracker(place.identity, "offline", project=place.project, entity=place.entity)
    after.start_trial(0, DOCUMENT, history=rows(0, 5))
    after.end_trial(0, state="COMPLETE", summary={}, error=None)
    after.close()
    assert sync_search(place.identity.directory).failed == {}
    eventually(lambda: steps_in(place.run("0000")), [0, 1, 2, 3, 4])
    assert place.run("0000").state == "finished"
    assert all(run.is_sent for run in local_runs(place.identity.directory / "wandb"))


def test_model_is_found_by_its_alias(place: Any, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_text("weights")
    facts = replace(FACTS, card_of=lambda document: CARD)
    tracker = open_tracker(place.identity, "online", project=place.project, entity=place.entity, facts=facts)
    tracker.start_search({})
    tracker.start_trial(0, DOCUMENT, history=rows(0, 2))
    tracker.end_trial(0, state="COMPLETE", summary={"eval/loss": 0.25}, error=None)
    model = TrainedModel(
        number=0, document=DOCUMENT, history=rows(0, 2), summary={}, checkpoint=checkpoint, facts={"value": 0.25}
    )
    tracker.log_model(model)
    tracker.close()
    artifact = place.artifact(f"{place.identity.name}-model:best")
    assert set(artifact.aliases) >= {"best", "trial-0"}
    assert (Path(artifact.download(str(tmp_path / "there"))) / "model.safetensors").read_text() == "weights"
    assert artifact.logged_by().id == f"{place.prefix}-0000"
    data = place.artifact(f"data-{CARD['fingerprint']}:latest")
    assert f"{place.prefix}-0000" in [run.id for run in data.used_by()]


def test_publishing_twice_leaves_one_workspace_and_one_report(place: Any) -> None:
    tell_story(open_tracker(place.identity, "online", project=place.project, entity=place.entity))
    there = RunsPlace(entity=place.entity, project=place.project, group=place.identity.name, prefix=place.prefix)
    record = replace(RECORD, name=place.identity.name)
    first = publish(record, there, [Point(about="Best", words="Trial 0.")])
    second = publish(record, there, [Point(about="Best", words="Trial 0 again.")])
    assert (first.is_update, second.is_update) == (False, True)
    assert first.workspace == second.workspace
    assert first.report == second.report
    reports = wandb.Api().reports(f"{place.entity}/{place.project}")
    assert len([report for report in reports if place.prefix in (report.description or "")]) == 1


def runs_in(place: Any, filters: dict[str, Any]) -> Any:
    return wandb.Api().runs(f"{place.entity}/{place.project}", filters=filters)


def steps_in(run: Any) -> list[int]:
    return [row["_step"] for row in run.scan_history() if "train/loss" in row]


def tell_where(place: Any) -> None:
    """The spec says which project the offline runs belong to."""
    spec = place.identity.directory / "spec.yaml"
    spec.write_text(spec.read_text().replace("project: demo", f"project: {place.project}\n    entity: {place.entity}"))


def eventually(read: Callable[[], Any], expected: Any, *, seconds: float = 90) -> None:
    """A real server takes a while until it shows what it was sent."""
    deadline = time.monotonic() + seconds
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(1)
    assert found == expected

"""`tunesmith publish`: a workspace and a report in a fake server, by W&B's own clients."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from fake_wandb import ENTITY, FakeWandb
from patience import HANG_SECONDS
from wandb_server import fake_server
from wandb_story import PREFIX, PROJECT, RECORD, SEARCH_ID, identity_in, open_tracker, tell_story

from analysis.publish import RunsPlace, leaderboard_markdown, publish, runs_place
from analysis.records import TrialRecord
from analysis.summary import Point
from spaces.errors import SpecError
from spaces.objectives import Objective

server = fake_server
PLACE = RunsPlace(entity=None, project=PROJECT, group="my-search", prefix=PREFIX)
TEXT = [Point(about="Best", words="Trial 0 is best.")]
TWO_TRIALS = replace(
    RECORD,
    trials=[
        *RECORD.trials,
        TrialRecord(
            number=2,
            state="COMPLETE",
            value=0.4,
            params={"training.learning_rate": 1e-2},
            intermediate={1: 0.6, 2: 0.4},
        ),
    ],
    history_of=lambda number: [{"step": 1, "eval/loss": 0.4, "system/peak_memory_gib": 0.5}],
)


@pytest.fixture
def online(server: FakeWandb, tmp_path: Path) -> FakeWandb:
    """A server that has the runs of a search."""
    tell_story(open_tracker(identity_in(tmp_path), "online"), TWO_TRIALS)
    return server


def views(server: FakeWandb, kind: str) -> list[dict[str, Any]]:
    return [json.loads(view.spec) for view in server.operations.views.values() if view.type == kind]


def sections_of(workspace: dict[str, Any]) -> dict[str, list[str]]:
    sections = workspace["section"]["panelBankConfig"]["sections"]
    return {section["name"]: [panel["viewType"] for panel in section["panels"]] for section in sections}


def test_workspace_has_a_section_for_each_thing_to_look_at(online: FakeWandb) -> None:
    publish(TWO_TRIALS, PLACE, TEXT)
    (workspace,) = views(online, "project-view")
    sections = sections_of(workspace)
    assert list(sections) == [
        "Leaderboard", "Learning curves", "Importance", "Parallel coordinates", "Folds", "System",
    ]  # fmt: skip
    assert sections["Parallel coordinates"] == ["Parallel Coordinates Plot"]
    assert "Parameter Importance" in sections["Importance"]


def test_workspace_shows_only_runs_of_the_search_best_first(online: FakeWandb) -> None:
    publish(TWO_TRIALS, PLACE, TEXT)
    (workspace,) = views(online, "project-view")
    (runs,) = workspace["section"]["runSets"]
    (condition,) = runs["filters"]["filters"]
    assert (condition["key"]["name"], condition["value"]) == ("group", "my-search")
    (order,) = runs["sort"]["keys"]
    assert (order["key"]["name"], order["ascending"]) == ("eval/loss", True)
    assert "config:training.value.learning_rate" in runs["runFeed"]["columnOrder"]


def test_publishing_again_updates_and_makes_nothing_new(online: FakeWandb) -> None:
    first = publish(TWO_TRIALS, PLACE, TEXT)
    rows = {name: len(run.history) for name, run in online.runs.items()}
    second = publish(replace(TWO_TRIALS, name="renamed"), PLACE, [Point(about="Best", words="Still trial 0.")])
    assert (first.is_update, second.is_update) == (False, True)
    assert second.workspace == first.workspace
    assert len(online.operations.views) == 2
    assert {name: len(run.history) for name, run in online.runs.items()} == rows
    (report,) = views(online, "runs")
    assert "Still trial 0." in json.dumps(report)
    assert "Trial 0 is best." not in json.dumps(report)


def test_two_searches_of_a_project_have_views_of_their_own(online: FakeWandb, tmp_path: Path) -> None:
    other = identity_in(tmp_path, name="other", fingerprint="f" * 16)
    tell_story(open_tracker(other, "online"), replace(TWO_TRIALS, name="other"))
    publish(TWO_TRIALS, PLACE, TEXT)
    publish(replace(TWO_TRIALS, name="other"), replace(PLACE, group="other", prefix="f" * 12), TEXT)
    assert len(online.operations.views) == 4


def test_report_says_the_text_and_has_the_leaderboard(online: FakeWandb) -> None:
    published = publish(TWO_TRIALS, PLACE, TEXT)
    (report,) = views(online, "runs")
    told = json.dumps(report)
    assert "Trial 0 is best." in told
    assert "| rank | trial | eval/loss |" in told
    assert published.report.startswith(f"{online.url}/{ENTITY}/{PROJECT}/reports/")


def test_panels_over_the_search_do_not_mix_with_those_over_trials(online: FakeWandb) -> None:
    publish(TWO_TRIALS, PLACE, TEXT)
    (report,) = views(online, "runs")
    grids = [block for block in report["blocks"] if block["type"] == "panel-grid"]
    told = [
        {condition["key"]["name"]: condition["value"] for condition in runset["filters"]["filters"]}
        for grid in grids
        for runset in grid["metadata"]["runSets"]
    ]
    assert {each["jobType"] for each in told} == {"search", "trial"}
    assert {each["group"] for each in told} == {"my-search"}


def test_charts_that_a_search_lacks_are_logged_once(
    server: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_DIR")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    tracker = open_tracker(identity_in(tmp_path), "online")
    tracker.start_search({"name": "my-search"})
    tracker.close()  # as a version before there were charts
    publish(TWO_TRIALS, PLACE, TEXT)
    run = server.runs[SEARCH_ID]
    assert {"leaderboard", "charts/curves_table", "charts/incumbent_table"} <= set(run.summary)
    assert run.state == "finished"
    num_rows = len(run.history)
    publish(TWO_TRIALS, PLACE, TEXT)
    assert len(run.history) == num_rows
    assert list(Path.cwd().iterdir()) == [], "publish leaves files where one stands"


def test_several_objectives_have_their_front(online: FakeWandb) -> None:
    objectives = (Objective(name="eval/loss", mode="min"), Objective(name="trial/seconds", mode="min"))
    trials = [
        replace(trial, values=(trial.value, 3.0) if trial.value is not None else ()) for trial in TWO_TRIALS.trials
    ]
    publish(replace(TWO_TRIALS, objectives=objectives, trials=trials), PLACE, TEXT)
    (workspace,) = views(online, "project-view")
    assert "Scatter Plot" in sections_of(workspace)["Front"]


def test_search_without_runs_in_wandb_is_told_to_sync(server: FakeWandb) -> None:
    with pytest.raises(SpecError, match="tunesmith sync"):
        publish(TWO_TRIALS, PLACE, TEXT)


def test_place_of_a_search_is_found_from_its_group(online: FakeWandb) -> None:
    assert runs_place(f"wandb:{ENTITY}/{PROJECT}/my-search") == replace(PLACE, entity=ENTITY)
    with pytest.raises(SpecError, match="0 searches"):
        runs_place(f"wandb:{ENTITY}/{PROJECT}/nothing")


def test_text_of_a_cell_does_not_break_the_table() -> None:
    trial = TrialRecord(number=0, state="COMPLETE", value=1.0, params={"a|b": "x|y\nz"}, intermediate={})
    lines = leaderboard_markdown(replace(RECORD, trials=[trial])).splitlines()
    assert len(lines) == 3
    assert lines[2].replace("\\|", "").count("|") == 6


def test_command_sends_what_is_offline_and_prints_where_to_look(
    server: FakeWandb, tmp_path: Path, tunesmith_here: Run
) -> None:
    from recorded_searches import Session, planned

    session = Session(planned(tmp_path, tracking={"wandb": {"mode": "offline", "project": PROJECT}}))
    session.complete(0.5)
    identity = identity_in(tmp_path / "elsewhere", name="walk")
    tell_story(open_tracker(replace(identity, fingerprint="f"), "offline"))
    (identity.directory / "wandb").rename(session.files.path / "wandb")
    refused = tunesmith_here("publish", str(session.files.path))
    assert refused.returncode == 2
    assert "--sync" in refused.stderr
    told = run_command("publish", str(session.files.path), "--sync", "--json")
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    assert len(answer["sync"]["sent"]) == 3
    assert answer["workspace"].startswith(server.url)


def run_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "search.cli.main", *arguments]
    return subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )

"""What a search leaves in W&B besides rows: charts, spec, data cards, the best model, and what they came from."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import wandb
from fake_wandb import ENTITY, FakeWandb, StoredArtifact
from recorded_searches import Session, planned
from wandb_server import fake_server
from wandb_story import (
    DOCUMENT,
    FACTS,
    PROJECT,
    RECORD,
    SEARCH_ID,
    TRIAL_ID,
    expected_steps,
    identity_in,
    open_tracker,
    rows,
    steps_of,
    tell_story,
)

from analysis.records import SearchRecord, TrialRecord
from analysis.wandb_charts import CHARTS, MOST_POINTS, incumbent, results
from search.best_model import best_model
from search.data_cards import data_card_of
from search.provenance import provenance
from search.sync import sync_search
from search.tracker import TrainedModel
from search.wandb_artifacts import model_files
from search.yaml_text import parse_yaml, to_yaml

server = fake_server
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
WITH_DATA = replace(FACTS, card_of=lambda document: CARD)


@pytest.fixture
def model(tmp_path: Path) -> TrainedModel:
    """The checkpoint of trial 0, as the Hugging Face Trainer leaves one."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json", "optimizer.pt", "rng_state.pth", "scheduler.pt"):
        (checkpoint / name).write_text(name)
    return TrainedModel(
        number=0,
        document=DOCUMENT,
        history=rows(0, 3),
        summary={"eval/loss": 0.25},
        checkpoint=checkpoint,
        facts={"value": 0.25, "params": {"training.hub_token": "hush"}},
        samples=[{"prompt": "a", "generated": "b"}],
    )


def told(server: FakeWandb, name: str) -> StoredArtifact:
    (found,) = [each for each in server.artifacts.by_id.values() if each.collection == name]
    return found


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_lineage_leads_from_the_data_over_the_trial_to_its_model(
    server: FakeWandb, tmp_path: Path, model: TrainedModel, mode: str
) -> None:
    identity = identity_in(tmp_path)
    tracker = open_tracker(identity, mode, facts=WITH_DATA)
    tracker.start_search({})
    tracker.start_trial(0, DOCUMENT, history=[])
    tracker.log_rows(0, rows(0, 3))
    tracker.log_samples(0, model.samples)
    tracker.end_trial(0, state="COMPLETE", summary=model.summary, error=None)
    tracker.end_search(RECORD, {})
    tracker.log_model(model)
    tracker.close()
    if mode == "offline":
        assert sync_search(identity.directory).failed == {}
    data, sent = told(server, f"data-{CARD['fingerprint']}"), told(server, "my-search-model")
    assert (data.type, data.used_by) == ("dataset", {TRIAL_ID})
    assert (sent.type, sent.run_name) == ("model", TRIAL_ID)
    assert sent.aliases == {"best", "trial-0", "latest"}
    assert set(sent.files) == {"model.safetensors", "config.json", "tokenizer.json"}
    run = server.runs[TRIAL_ID]
    assert run.state == "finished"
    assert steps_of([row for row in run.history if "train/loss" in row]) == expected_steps(3)
    assert run.summary["eval/loss"] == 0.25
    assert run.summary["tunesmith/state"] == "COMPLETE"
    assert len([row for row in run.history if "samples" in row]) == 1


def test_model_is_found_by_its_alias_and_downloaded(server: FakeWandb, tmp_path: Path, model: TrainedModel) -> None:
    tracker = open_tracker(identity_in(tmp_path), "online")
    tracker.log_model(model)
    tracker.close()
    artifact = wandb.Api().artifact(f"{ENTITY}/{PROJECT}/my-search-model:best")
    folder = Path(artifact.download(str(tmp_path / "there")))
    assert (folder / "model.safetensors").read_text() == "model.safetensors"


def test_model_above_the_limit_stays_here(
    server: FakeWandb, tmp_path: Path, model: TrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = open_tracker(identity_in(tmp_path), "online", max_model_size=10)
    tracker.start_search({})
    tracker.log_model(model)
    tracker.close()
    assert "tracking.wandb.max_model_size" in caplog.text
    assert [each.type for each in server.artifacts.by_id.values()] == ["spec"]
    assert list(server.runs) == [SEARCH_ID]


def test_data_itself_is_never_sent(server: FakeWandb, tmp_path: Path) -> None:
    tracker = open_tracker(identity_in(tmp_path), "online", facts=WITH_DATA)
    tracker.start_search({})
    tracker.close()
    data = told(server, f"data-{CARD['fingerprint']}")
    assert set(data.files) == {"card.json"}
    assert json.loads(data.files["card.json"])["documents"] == {"train": 3}


def test_secrets_of_the_spec_are_not_sent(server: FakeWandb, tmp_path: Path) -> None:
    identity = identity_in(tmp_path)
    (identity.directory / "spec.yaml").write_text(to_yaml({"name": "s", "training": {"hub_token": "hush"}}))
    tracker = open_tracker(identity, "online")
    tracker.start_search({})
    tracker.close()
    sent, _ = parse_yaml(told(server, "my-search-spec").files["spec.yaml"].decode())
    assert sent["training"] == {"hub_token": "[redacted]"}


def test_summary_has_the_last_and_the_best_value(server: FakeWandb, tmp_path: Path) -> None:
    tracker = open_tracker(identity_in(tmp_path), "online")
    values = [0.5, 0.2, float("nan"), 0.4]
    tracker.start_trial(0, {}, history=[{"step": 0, "eval/loss": values[0]}])
    tracker.log_rows(0, [{"step": k, "eval/loss": value} for k, value in enumerate(values[1:], start=1)])
    tracker.end_trial(0, state="COMPLETE", summary={"eval/loss": 0.4}, error=None)
    tracker.close()
    summary = server.runs[TRIAL_ID].summary
    assert (summary["eval/loss"], summary["best/eval/loss"]) == (0.4, 0.2)


def test_search_shows_its_results_as_native_charts(server: FakeWandb, tmp_path: Path) -> None:
    tell_story(open_tracker(identity_in(tmp_path), "online"))
    run = server.runs[SEARCH_ID]
    charts = run.config["_wandb"]["value"]["visualize"]
    assert set(charts) == {"charts/curves", "charts/incumbent", "charts/folds"}
    assert charts["charts/curves"]["panel_config"]["panelDefId"] == "wandb/lineseries/v0"
    assert {f"{name}_table" for name in charts} | {"leaderboard"} <= set(run.summary)


def test_chart_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(record: SearchRecord, entries: object) -> None:
        raise ZeroDivisionError("no trials")

    monkeypatch.setitem(CHARTS, "charts/curves", fail)
    with caplog.at_level(logging.WARNING):
        shown = results(RECORD)
    assert "leaderboard" in shown
    assert "charts/curves" not in shown
    assert "charts/curves" in caplog.text


def test_incumbent_never_gets_worse_and_counts_the_time_of_all_trials() -> None:
    states = [("COMPLETE", 0.5), ("FAIL", None), ("COMPLETE", 0.7), ("COMPLETE", 0.3)]
    trials = [
        TrialRecord(number=number, state=state, value=value, params={}, intermediate={}, seconds=3600.0)  # type: ignore[arg-type]
        for number, (state, value) in enumerate(states)
    ]
    assert incumbent(replace(RECORD, trials=trials)) == [(1.0, 0.5, 0), (3.0, 0.5, 0), (4.0, 0.3, 3)]


def test_long_curves_keep_their_end() -> None:
    trial = replace(RECORD.trials[0], intermediate={step: 1 / step for step in range(1, 10_001)})
    table = results(replace(RECORD, trials=[trial]))["charts/curves"].table
    assert len(table.data) == MOST_POINTS
    assert table.data[-1][0] == 10_000


def test_best_model_is_told_as_its_trial_was(tmp_path: Path) -> None:
    session = Session(planned(tmp_path))
    session.complete(0.9)
    number = session.complete(0.1)
    best = best_model(session.record, session.files, session.study)
    assert best is not None
    assert best.number == number
    assert best.document["config"]["x"] == session.record.trials[number].params["config.x"]
    assert [row["evaluation"] for row in best.history] == [1, 2, 3, 4]
    assert best.summary["loss"] == best.facts["value"]
    assert best.summary["trial/steps"] == 4
    assert model_files(best.checkpoint)


def test_search_in_which_nothing_finished_has_no_best_model(tmp_path: Path) -> None:
    session = Session(planned(tmp_path))
    session.fail("error")
    assert best_model(session.record, session.files, session.study) is None


def test_provenance_has_the_versions_of_what_trains() -> None:
    assert {"torch", "transformers", "wandb", "tunesmith"} <= set(provenance()["versions"])


def test_own_functions_have_no_data_card() -> None:
    assert data_card_of({"trainable": "walking:train", "config": {}}) is None

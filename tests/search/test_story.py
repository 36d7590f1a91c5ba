"""The whole story with the real parts: a spec, Ray, trained models, the record, W&B, and what a person reads."""

import csv
import json
import subprocess
from pathlib import Path

import optuna
import pytest
from patience import HANG_SECONDS

from analysis.records import SearchFiles
from analysis.sources import read_records
from search.yaml_text import parse_yaml

pytestmark = pytest.mark.ray

SPEC = """
name: story
task: sequence_classification
model:
  architecture: bert
  config: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}
data:
  source: {files: notes.csv}
  tokenizer: {train: bpe, vocab_size: 400}
  max_length: 16
  splits: {validation: 0.2, test: 0.1}
training: {num_train_epochs: 3, per_device_train_batch_size: 8}
space:
  training.learning_rate: {choice: [1.0e-6, 1.0e-3, 1.0e-2, 1.0e+30]}
  training.weight_decay: {choice: [0.0, 0.1]}
search:
  algorithm: grid
  metric: eval/accuracy
  scheduler: {name: asha, unit: epochs, grace: 1, reduction_factor: 2}
"""
WORDS = {"fruit": "apple pear plum cherry grape melon", "tool": "hammer saw drill wrench chisel rasp"}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    from conftest import command

    folder = tmp_path_factory.mktemp("story")
    (folder / "spec.yaml").write_text(SPEC)
    with (folder / "notes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for label, words in WORDS.items():
            names = words.split()
            writer.writerows([f"{a} {b} {c}", label] for a in names for b in names for c in names[:3])
    done = subprocess.run(
        command("run", "spec.yaml"), cwd=folder, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    return folder, done


def test_the_search_ends_well_and_says_what_a_person_needs(
    story: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = story
    assert done.returncode == 0, done.stderr
    told = ("Best: trial", "majority class", "searches/story/leaderboard.csv", "searches/story/report.html")
    for words in (*told, "tunesmith sync", "Next: tunesmith"):
        assert words in done.stdout
    assert done.stderr == ""


def test_the_folder_holds_the_documented_files(story: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    files = SearchFiles(story[0] / "searches" / "story")
    assert files.spec.is_file()
    assert files.study.is_file()
    assert files.leaderboard.is_file()
    assert "majority class" in files.report.read_text("utf-8")
    assert json.loads(files.data_card.read_text("utf-8"))["labels"] == ["fruit", "tool"]
    record = read_records(files.path)
    assert [trial.number for trial in record.trials] == list(range(8))
    for trial in record.trials:
        assert files.trial(trial.number).document.is_file()
        assert (trial.state == "FAIL") == files.trial(trial.number).error.is_file()


def test_diverged_trials_fail_with_their_reason_and_the_others_go_on(
    story: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    record = read_records(story[0] / "searches" / "story")
    for trial in record.trials:
        diverges = trial.params["training.learning_rate"] == 1e30
        assert (trial.state == "FAIL") == diverges
        if diverges:
            assert "became" in str(trial.error)


def test_every_trial_has_one_history_row_an_evaluation_and_the_study_has_the_same_values(
    story: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    files = SearchFiles(story[0] / "searches" / "story")
    for trial in read_records(files.path).trials:
        rows = [row for row in files.trial(trial.number).read_history() if "evaluation" in row]
        assert {int(row["epoch"]): row["eval/accuracy"] for row in rows} == trial.intermediate


def test_optuna_opens_the_study_as_it_is(story: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    study = optuna.load_study(study_name="story", storage=f"sqlite:///{story[0]}/searches/story/study.db")
    states = {trial.state.name for trial in study.trials}
    assert states <= {"COMPLETE", "PRUNED", "FAIL"}
    assert study.direction.name == "MAXIMIZE"


def test_only_the_best_trial_keeps_its_checkpoint(story: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    record = read_records(story[0] / "searches" / "story")
    assert record.best is not None
    kept = {path.parent.parent.name for path in (record.directory / "trials").glob("*/checkpoints/last.json")}
    assert kept == {str(record.best.number)}
    assert (Path(str(record.best.checkpoint)) / "model.safetensors").is_file()


def test_w_and_b_has_a_run_for_each_trial_and_one_for_the_search(
    story: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    runs = list((story[0] / "searches" / "story" / "wandb").glob("offline-run-*"))
    assert len(runs) == 8 + 1


def test_a_recorded_trial_runs_again_with_identical_first_evaluation(
    story: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    from conftest import command

    folder, _ = story
    best = read_records(folder / "searches" / "story").best
    assert best is not None
    again = subprocess.run(
        command("trial", "searches/story", "--number", str(best.number), "--json"),
        cwd=folder, capture_output=True, text=True, timeout=HANG_SECONDS, check=True,
    )  # fmt: skip
    first = json.loads(again.stdout)["evaluations"][0]
    rows = SearchFiles(folder / "searches" / "story").trial(best.number).read_history()
    recorded = next(row for row in rows if "evaluation" in row)
    assert first["metrics"] == {name: recorded[name] for name in first["metrics"]}


def test_the_leaderboard_has_the_documented_fields_best_first(
    story: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    from conftest import command

    shown = subprocess.run(
        command("leaderboard", "searches/story", "--json"), cwd=story[0], capture_output=True, text=True, check=True
    )
    entries = json.loads(shown.stdout)
    assert set(entries[0]) == {
        "number", "rank", "state", "value", "interval", "tied", "p_value", "fold_values", "params", "steps", "epochs",
        "tokens", "seconds", "gpu_hours", "energy_wh", "energy_is_estimate", "cost", "peak_memory_bytes",
        "tokens_per_second", "mfu", "checkpoint", "error", "failure", "stopped_because", "lineage", "values", "origin",
        "superseded_by",
    }  # fmt: skip
    finished = [entry["value"] for entry in entries if entry["state"] == "COMPLETE"]
    assert finished == sorted(finished, reverse=True)
    assert [entry["rank"] for entry in entries][: len(finished)] == list(range(1, len(finished) + 1))
    assert all(entry["rank"] is None for entry in entries[len(finished) :])


def test_the_written_spec_is_a_spec_that_means_the_same(
    story: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.load import load_spec
    from search.recorded_spec import fingerprint_of

    folder, _ = story
    monkeypatch.chdir(folder)  # paths in a spec are meant from where tunesmith is started
    written = folder / "searches" / "story" / "spec.yaml"
    assert fingerprint_of(load_spec(written).spec) == fingerprint_of(load_spec(folder / "spec.yaml").spec)
    assert parse_yaml(written.read_text())[0]["recorded"]["versions"]["ray"].startswith("2.60")


def test_a_finished_search_is_not_run_again(story: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    from conftest import command

    folder, _ = story
    before = {trial.number: trial.seconds for trial in read_records(folder / "searches" / "story").trials}
    twice = subprocess.run(command("run", "spec.yaml"), cwd=folder, capture_output=True, text=True, check=False)
    assert twice.returncode == 2
    assert "tunesmith resume searches/story" in twice.stderr
    resumed = subprocess.run(
        command("resume", "searches/story"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert {trial.number: trial.seconds for trial in read_records(folder / "searches" / "story").trials} == before

"""Cross-validation as a user meets it: what a spec may say, and a search with a race from start to leaderboard."""

import json
import subprocess
from pathlib import Path

import pytest
from conftest import Run, command
from patience import HANG_SECONDS

from analysis.offline_wandb import read_offline_run
from analysis.records import SearchFiles
from analysis.sources import read_records
from search.load import load_spec
from search.plan import Plan, make_plan
from spaces.errors import SpecError
from spaces.folds import fold_values

SPEC = """
name: folds
task: sequence_classification
model:
  architecture: bert
  config: {{hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}}
data:
  source: {{files: notes.jsonl}}
  tokenizer: {{train: bpe, vocab_size: 300}}
  max_length: 16
  splits: {{test: 0.1{splits}}}
training: {{num_train_epochs: 4, lr_scheduler_type: constant, per_device_train_batch_size: 8}}
{more}
space:
  training.learning_rate: {{choice: [4.0e-3, 1.0e-6, 2.0e-6, 3.0e-3]}}
search:
  algorithm: grid
  metric: eval/loss
  {search}
resources: {{concurrent_trials: 1}}
"""


def write_notes(folder: Path) -> None:
    rows = [
        {"text": f"{kind} {n} is {word}", "label": kind, "author": f"author {n % 9}", "written": n}
        for n in range(40)
        for kind, word in (("fruit", "sweet"), ("tool", "hard"))
    ]
    (folder / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))


def planned(folder: Path, search: str, *, more: str = "", splits: str = "") -> Plan:
    write_notes(folder)
    path = folder / "spec.yaml"
    path.write_text(
        SPEC.format(search=search, more=more, splits=splits).replace("notes.jsonl", f"{folder}/notes.jsonl")
    )
    return make_plan(load_spec(path))


# --- what a spec may say ---------------------------------------------------------------------------------


def test_a_number_is_short_for_folds(tmp_path: Path) -> None:
    plan = planned(tmp_path, "cross_validation: 4")
    assert plan.document["folds"] == {"folds": 4, "repeats": 1, "seeds": 1}


def test_a_trial_without_folds_has_no_word_of_them(tmp_path: Path) -> None:
    assert "folds" not in planned(tmp_path, "seeds: 1").document


def test_the_most_training_is_that_of_all_folds(tmp_path: Path) -> None:
    plan = planned(tmp_path, "cross_validation: {folds: 4, repeats: 2}\n  scheduler: {name: asha, grace: 3}")
    assert plan.max_resource == 4 * 4 * 2


@pytest.mark.parametrize(
    ("search", "more", "splits", "path", "says"),
    [
        ("cross_validation: 1", "", "", "search.cross_validation", "expected a number >= 2"),
        ("racing: true", "", "", "search", "set `cross_validation` or `seeds` as well"),
        ("cross_validation: 3\n  racing: {min_folds: 3}", "", "", "search.racing.min_folds", "ever be stopped"),
        ("cross_validation: {fold: 3}", "", "", "search.cross_validation.fold", "Did you mean `folds`"),
        (
            "cross_validation: 3\n  scheduler: asha", "stopping: {patience: 2}", "", "stopping.patience",
            "rungs would compare trials in different ones",
        ),
        (
            "cross_validation: {folds: 3, repeats: 2}", "", ", by: time, time: written",
            "search.cross_validation.repeats", "time has one order",
        ),
        ("cross_validation: 3", "", ", fold: {index: 0, of: 3}", "data.splits.fold", "leave it out"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, search: str, more: str, splits: str, path: str, says: str
) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, search, more=more, splits=splits)
    assert f"{path}: " in str(caught.value)
    assert says in str(caught.value)


def test_a_source_with_its_own_validation_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="brings its own validation part") as caught:
        _with_own_parts(tmp_path)
    assert caught.value.path == "data.source.files"


def _with_own_parts(folder: Path) -> Plan:
    write_notes(folder)
    path = folder / "spec.yaml"
    text = SPEC.format(search="cross_validation: 3", more="", splits="")
    parts = f"{{train: {folder}/notes.jsonl, validation: {folder}/notes.jsonl}}"
    path.write_text(text.replace("{files: notes.jsonl}", f"{{files: {parts}}}"))
    return make_plan(load_spec(path))


# --- a search --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("folds")
    write_notes(folder)
    (folder / "spec.yaml").write_text(SPEC.format(search="cross_validation: 4\n  racing: true", more="", splits=""))
    done = subprocess.run(
        command("run", "spec.yaml"), cwd=folder, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    return folder / "searches/folds", done


Raced = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.mark.ray
def test_a_race_spares_the_folds_of_worse_trials(raced: Raced) -> None:
    directory, done = raced
    assert done.returncode == 0, done.stdout + done.stderr
    record = read_records(directory)
    folds = {trial.number: len(trial.fold_values) for trial in record.trials}
    assert folds[0] == 4
    assert max(folds[1], folds[2]) < 4, "learning rates that learn nothing"
    assert record.best is not None
    assert record.best.number in (0, 3)
    assert f"Folds trained: {sum(folds.values())} of 16" in done.stdout


@pytest.mark.ray
def test_a_stopped_trial_says_whom_it_lost_to(raced: Raced) -> None:
    directory, done = raced
    stopped = read_records(directory).trials[1]
    assert stopped.state == "PRUNED"
    assert stopped.stopped_because is not None
    assert stopped.stopped_because.startswith("worse than trial 0 by")
    assert stopped.stopped_because in done.stdout


@pytest.mark.ray
def test_fold_values_stand_in_the_record_the_history_and_the_leaderboard(raced: Raced) -> None:
    directory, done = raced
    best = read_records(directory).trials[0]
    history = SearchFiles(directory).trial(0).read_history()
    in_history = [
        row[f"fold/{fold}/eval/loss"]
        for fold in range(4)
        for row in history
        if row.get("epoch") == 4 * (fold + 1) and f"fold/{fold}/eval/loss" in row
    ]
    assert list(best.fold_values) == in_history == fold_values(best.metrics, "eval/loss")
    assert best.value == pytest.approx(sum(in_history) / 4)
    assert "± 95%" in done.stdout
    header = (directory / "leaderboard.csv").read_text().splitlines()[0]
    assert "interval_low,interval_high,tied,p_value,fold_0,fold_1,fold_2,fold_3" in header


@pytest.mark.ray
def test_fold_values_stand_in_wandb(raced: Raced) -> None:
    directory, _ = raced
    runs = [read_offline_run(file.parent) for file in (directory / "wandb").glob("*run-*_*/run-*.wandb")]
    (run,) = [each for each in runs if each.name == "folds-0000"]
    best = read_records(directory).trials[0]
    assert [run.summary[f"fold/{fold}/eval/loss"] for fold in range(4)] == pytest.approx(list(best.fold_values))
    assert {row["progress/fold"] for row in run.history if "progress/fold" in row} == {0, 1, 2, 3}


@pytest.mark.ray
def test_the_leaderboard_gives_an_interval_to_finished_trials_only(raced: Raced, tunesmith: Run) -> None:
    entries = json.loads(tunesmith("leaderboard", str(raced[0]), "--json").stdout)
    for entry in entries:
        if entry["state"] == "COMPLETE":
            low, high = entry["interval"]
            assert low < entry["value"] < high
        else:
            assert entry["interval"] is None


@pytest.mark.ray
def test_a_recorded_trial_runs_again_with_all_its_folds(raced: Raced, tunesmith: Run) -> None:
    directory, _ = raced
    done = tunesmith("trial", str(directory), "--number", "0", "--json")
    best = read_records(directory).trials[0]
    assert json.loads(done.stdout)["evaluations"][-1]["metrics"]["eval/loss"] == best.value

"""Several objectives: what a spec may ask for, what the record holds, and the leaderboard of a real search."""

import json
import subprocess
from pathlib import Path

import optuna
import pytest
from conftest import Run, command
from patience import HANG_SECONDS

from analysis.leaderboard import leaderboard
from analysis.sources import read_records
from search.drafts import given_draft
from search.lessons import Lessons
from search.load import load_spec
from search.plan import Plan, make_plan
from spaces.errors import SpecError
from spaces.objectives import Objective, values_of
from spaces.space import Space

SPEC = """
name: tradeoff
task: sequence_classification
model:
  architecture: bert
  config: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}
data:
  source: {files: notes.jsonl}
  tokenizer: {train: bpe, vocab_size: 300}
  max_length: 16
  splits: {test: 0.0}
training: {num_train_epochs: 2, per_device_train_batch_size: 8, learning_rate: 5.0e-3}
space:
  model.config.hidden_size: {choice: [8, 32, 64]}
search:
  algorithm: grid
  metric: [eval/loss, trial/parameters]
resources: {concurrent_trials: 1}
"""


def write(folder: Path) -> Path:
    rows = [{"text": f"{kind} {n} is {kind}", "label": kind} for n in range(32) for kind in ("fruit", "tool")]
    (folder / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = folder / "spec.yaml"
    path.write_text(SPEC.replace("notes.jsonl", str(folder / "notes.jsonl")))
    return path


def planned(folder: Path, *overrides: str) -> Plan:
    return make_plan(load_spec(write(folder), overrides=overrides))


# --- what a spec may say ---------------------------------------------------------------------------------


def test_each_objective_has_its_natural_mode(tmp_path: Path) -> None:
    spec = planned(tmp_path, "search.metric=[eval/accuracy, trial/latency_ms, trial/tokens_per_second]").spec
    assert [objective.mode for objective in spec.objectives] == ["max", "min", "max"]
    assert (spec.metric, spec.mode) == ("eval/accuracy", "max")


def test_one_metric_is_one_objective(tmp_path: Path) -> None:
    assert planned(tmp_path, "search.metric=eval/loss").spec.objectives == (Objective(name="eval/loss", mode="min"),)


@pytest.mark.parametrize(
    ("overrides", "path", "says"),
    [
        (["search.metric=[trial/parameters, eval/loss]"], "search.metric.0", "known at their end only"),
        (["search.metric=[eval/loss, trial/parameter]"], "search.metric.1", "`trial/parameters`?"),
        (["search.metric=[eval/loss, eval/loss]"], "search.metric", "twice"),
        (["search.metric=[eval/loss, trial/cost]"], "search.metric.1", "resources.price_per_hour"),
        (["search.mode=[min]"], "search.mode", "2 metrics and 1 modes"),
        (["search.mode=[min, max]"], "search.mode", "better when it is smaller"),
        (["search.scheduler={name: asha, grace: 1}"], "search.scheduler", "nothing beats in the others"),
        (["search.algorithm=cma_es"], "search.algorithm", "one objective only"),
        (["search.racing=true", "search.seeds=2"], "search.racing", "run for one metric"),
        (
            ["space.training.learning_rate={log_uniform: [1e-4, 1e-2], prior: 1e-3}", "search.algorithm=tpe"],
            "space.training.learning_rate.prior",
            "there are several",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, overrides: list[str], path: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, *overrides)
    assert f"{path}: " in str(caught.value)
    assert says in str(caught.value)


# --- what trials leave behind ----------------------------------------------------------------------------


def test_objectives_are_found_in_metrics_usage_and_costs() -> None:
    result = {"metrics": {"eval/loss": 0.5}, "usage": {"parameters": 7}, "seconds": 3.0}
    objectives = [
        Objective(name="eval/loss", mode="min"), Objective(name="trial/parameters", mode="min"),
        Objective(name="trial/seconds", mode="min"), Objective(name="trial/mfu", mode="max"),
    ]  # fmt: skip
    assert list(values_of(objectives, result).values()) == [0.5, 7.0, 3.0, None]


class _Watcher:
    learns = True
    ranks_stopped_trials = True

    def __init__(self) -> None:
        self.study: optuna.Study | None = None
        self.space = Space.parse({"training.x": {"int": [0, 9]}}, constraints=(), derive={}, document={"training": {}})

    def propose(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> object:
        self.study = study
        return given_draft(self.space, {"training.x": trial.number})


def test_what_failed_is_told_the_worst_of_each_objective() -> None:
    watcher = _Watcher()
    lessons = Lessons(watcher, directions=["minimize", "maximize"])  # type: ignore[arg-type]  # it proposes
    for _ in range(3):
        lessons.draft()
    lessons.finish(0, state="COMPLETE", values=[0.2, 10.0])
    lessons.finish(1, state="COMPLETE", values=[0.4, 90.0])
    lessons.finish(2, state="PRUNED", values=None, last=(1, 0.1))
    assert watcher.study is not None
    assert watcher.study.get_trials()[2].values == [0.4, 10.0]


# --- a search --------------------------------------------------------------------------------------------

Searched = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("tradeoff")
    write(folder)
    done = subprocess.run(
        command("run", "spec.yaml"), cwd=folder, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    return folder / "searches/tradeoff", done


@pytest.mark.ray
def test_the_study_has_all_objectives_by_name(searched: Searched) -> None:
    directory, done = searched
    assert done.returncode == 0, done.stdout + done.stderr
    record = read_records(directory)
    assert [objective.name for objective in record.objectives] == ["eval/loss", "trial/parameters"]
    sizes = {trial.params["model.config.hidden_size"]: trial.values[1] for trial in record.trials}
    assert sizes[8] < sizes[32] < sizes[64]
    assert all(trial.values[0] == trial.metrics["eval/loss"] for trial in record.trials)


@pytest.mark.ray
def test_the_leaderboard_has_fronts(searched: Searched, tunesmith: Run) -> None:
    directory, done = searched
    entries = leaderboard(read_records(directory))
    front = [entry for entry in entries if entry.rank == 1]
    assert 8 in [entry.trial.params["model.config.hidden_size"] for entry in front], "the smallest is on the front"
    for entry in entries:
        beaten_by = [other for other in front if _beats(other.trial.values, entry.trial.values)]
        assert bool(beaten_by) == (entry.rank != 1)
    assert f"Front: {len(front)} trial" in done.stdout
    shown = json.loads(tunesmith("leaderboard", str(directory), "--json").stdout)
    assert set(shown[0]["values"]) == {"eval/loss", "trial/parameters"}
    assert "trial/parameters" in (directory / "leaderboard.csv").read_text().splitlines()[0].split(",")


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


@pytest.mark.ray
def test_a_search_that_is_done_is_found_done(searched: Searched, tunesmith: Run) -> None:
    directory, _ = searched
    again = tunesmith("resume", str(directory))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing is left to do" in again.stdout
    assert "starting the first trials" not in again.stdout
    assert len(read_records(directory).trials) == 3

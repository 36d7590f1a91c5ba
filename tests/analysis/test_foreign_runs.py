"""Runs of W&B that are not ours, logged by the real client to a fake server or to disk: which number means what, and
what is said where nothing can be read.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import Run as Tunesmith
from fake_wandb import ENTITY, FakeWandb
from wandb_server import fake_server

from analysis.foreign_runs import record_of_foreign_runs
from analysis.leaderboard import leaderboard
from analysis.metric_modes import mode_of
from analysis.runs import Run
from analysis.sources import read_records
from analysis.wandb_address import WandbAddress, parse_address
from spaces.errors import SpecError

server = fake_server
PROJECT = f"wandb:{ENTITY}/theirs"
CURVE = (0.9, 0.5, 0.7)


def train(name: str, rate: float, *, exit_code: int = 0, mode: Any = "online", **options: Any) -> None:
    """A run as others log it."""
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    config = {"optim": {"lr": rate, "name": "adam"}, "epochs": 3, "output_dir": f"/tmp/{name}"}
    run = wandb.init(project="theirs", id=name, name=name, config=config, settings=settings, mode=mode, **options)
    for epoch, loss in enumerate(CURVE):
        run.log({"epoch": epoch, "train/loss": 2 * loss * rate})
        run.log({"epoch": epoch, "eval/loss": loss * rate, "eval/accuracy": 1 - loss * rate})
    run.finish(exit_code=exit_code)


@pytest.fixture
def theirs(server: FakeWandb) -> FakeWandb:
    """Four runs: two finished, one failed, one that a sweep has stopped."""
    for name, rate, exit_code in (("a", 0.1, 0), ("b", 0.01, 0), ("c", 1.0, 1), ("d", 0.5, 0)):
        train(name, rate, exit_code=exit_code, group="grid")
    server.runs["d"].state = "killed"
    return server


def test_runs_of_others_are_ranked_by_a_metric_of_their_summary(theirs: FakeWandb) -> None:
    record = read_records(PROJECT, metric="eval/loss")
    assert (record.metric, record.mode) == ("eval/loss", "min")
    ranked = [(entry.rank, entry.trial.params, entry.trial.value) for entry in leaderboard(record)][:2]
    assert ranked == [(1, {"optim.lr": 0.01}, 0.7 * 0.01), (2, {"optim.lr": 0.1}, 0.7 * 0.1)]
    assert [trial.state for trial in record.trials] == ["COMPLETE", "COMPLETE", "FAIL", "PRUNED"]
    assert record.trials[2].error == "W&B says that it failed"
    assert record.trials[3].last_value == 0.35
    best = record.trials[1]
    assert (best.metrics["eval/accuracy"], best.epochs) == (1 - 0.7 * 0.01, 2)
    assert best.seconds is not None


def test_histories_of_others_are_read_when_they_are_looked_into(theirs: FakeWandb) -> None:
    theirs.operations.asked.clear()
    record = read_records(PROJECT, metric="eval/loss")
    leaderboard(record)
    assert theirs.operations.asked.count("Runs") == 1
    assert not [name for name in theirs.operations.asked if "istory" in name]
    assert dict(record.trials[0].intermediate) == {1: 0.9 * 0.1, 3: 0.5 * 0.1, 5: 0.7 * 0.1}
    assert [name for name in theirs.operations.asked if "istory" in name]
    rows = [row for row in record.history_of(1) if "eval/loss" in row]
    assert [(row["step"], row["eval/loss"]) for row in rows] == [(1, 0.9 * 0.01), (3, 0.5 * 0.01), (5, 0.7 * 0.01)]


def test_a_group_and_a_sweep_hold_only_their_runs(theirs: FakeWandb) -> None:
    for name, rate in (("e", 0.2), ("f", 0.3)):
        train(name, rate)
        theirs.runs[name].sweep = "s1"
    theirs.operations.sweeps["s1"] = {"method": "random", "metric": {"name": "eval/accuracy", "goal": "maximize"}}
    assert len(read_records(f"{PROJECT}/grid", metric="eval/loss").trials) == 4
    sweep = read_records(f"{PROJECT}/sweeps/s1")
    assert (sweep.metric, sweep.mode, len(sweep.trials)) == ("eval/accuracy", "max", 2)
    assert sweep.best is not None
    assert sweep.best.params == {"optim.lr": 0.2}
    assert len(read_records("wandb:theirs", metric="eval/loss").trials) == 6, "the default entity"


def test_offline_runs_of_others_need_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb.teardown()
    monkeypatch.chdir(tmp_path)
    for name, rate in (("a", 0.1), ("b", 0.01)):
        train(name, rate, mode="offline", dir=tmp_path)
    train("c", 1.0, exit_code=1, mode="offline", dir=tmp_path)
    record = read_records(tmp_path / "wandb", metric="eval/loss")
    assert [(trial.state, trial.value) for trial in record.trials] == [
        ("COMPLETE", 0.7 * 0.1), ("COMPLETE", 0.7 * 0.01), ("FAIL", None)
    ]  # fmt: skip
    assert record.trials[1].params == {"optim.lr": 0.01}
    assert dict(record.trials[0].intermediate) == {1: 0.9 * 0.1, 3: 0.5 * 0.1, 5: 0.7 * 0.1}
    (single,) = read_records(next(tmp_path.glob("wandb/offline-run-*-b")), metric="eval/loss").trials
    assert single.value == 0.7 * 0.01


# --- what is said where nothing can be read --------------------------------------------------------------


def test_a_missing_metric_lists_those_that_there_are(theirs: FakeWandb) -> None:
    with pytest.raises(SpecError, match=r"are not of tunesmith.*`--metric NAME`\. They have epoch, eval/accuracy"):
        read_records(PROJECT)
    with pytest.raises(SpecError, match=r"no run .* `eval/los`\. Did you mean `eval/loss`"):
        read_records(PROJECT, metric="eval/los")
    with pytest.raises(SpecError, match="say `--mode min` or `--mode max`"):
        read_records(PROJECT, metric="epoch")


def test_a_wrong_name_is_answered_by_the_nearest(theirs: FakeWandb) -> None:
    with pytest.raises(SpecError, match=r"`tester` has no project `their` that you may see\. Did you mean `theirs`"):
        read_records(f"wandb:{ENTITY}/their", metric="eval/loss")
    with pytest.raises(SpecError, match=r"no run in the group `gird`\. Did you mean `grid`"):
        read_records(f"{PROJECT}/gird", metric="eval/loss")


def test_without_a_key_it_is_said_where_one_comes_from(server: FakeWandb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(SpecError, match="needs an API key, and there is none: run `wandb login`"):
        read_records(PROJECT, metric="eval/loss")


def test_a_server_that_is_away_is_an_error_of_one_line(
    server: FakeWandb, tunesmith_here: Tunesmith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.wandb_source._TIMEOUT_SECONDS", 1)
    server.stop_answering()
    answer = tunesmith_here("leaderboard", PROJECT, "--metric", "eval/loss")
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"error: cannot read `{PROJECT}` from W&B: ")
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stdout == ""


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("wandb:p", WandbAddress(entity=None, project="p")),
        ("wandb:e/p", WandbAddress(entity="e", project="p")),
        ("wandb:e/p/g", WandbAddress(entity="e", project="p", group="g")),
        ("wandb:/p/g", WandbAddress(entity=None, project="p", group="g")),
        ("wandb:e/p/a/b", WandbAddress(entity="e", project="p", group="a/b")),
        ("wandb:e/p/sweeps/x1", WandbAddress(entity="e", project="p", sweep="x1")),
        ("wandb:e/p/g#abc", WandbAddress(entity="e", project="p", group="g", search="abc")),
    ],
)
def test_an_address_names_runs_and_is_written_as_it_was_read(text: str, address: WandbAddress) -> None:
    assert parse_address(text) == address
    assert str(address) == text.partition("#")[0]


@pytest.mark.parametrize("text", ["wandb:", "wandb:e/", "wandb://", "wandb:e/p/", "wandb:e//g"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="expected `wandb:ENTITY/PROJECT/GROUP`"):
        parse_address(text)


# --- what summaries and configs may look like ------------------------------------------------------------


def _record(*runs: Run, metric: str = "loss") -> Any:
    return record_of_foreign_runs(runs, source="here", metric=metric, mode=None)


def _run(number: int, config: dict[str, Any], summary: dict[str, Any], state: str = "finished") -> Run:
    return Run(id=str(number), name=str(number), state=state, config=config, summary=summary)


def test_only_what_varies_is_a_parameter() -> None:
    first = {"a": {"b": 1, "c": [1, 2]}, "same": "x", "only": 5, "_wandb": {"t": 1}, "run_name": "one"}
    second = {"a": {"b": 2, "c": [1, 3]}, "same": "x", "_wandb": {"t": 2}, "run_name": "two"}
    record = _record(_run(0, first, {"loss": 1}), _run(1, second, {"loss": 2}))
    assert [trial.params for trial in record.trials] == [{"a.b": 1, "a.c": [1, 2]}, {"a.b": 2, "a.c": [1, 3]}]


@pytest.mark.parametrize(
    ("summary", "metric", "value"),
    [
        ({"loss": {"min": 0.1, "last": 0.2}}, "loss", 0.2),
        ({"loss": {"min": 0.1}}, "loss", 0.1),
        ({"loss": {"min": 0.1, "last": 0.2}}, "loss.min", 0.1),
        ({"eval": {"loss": 0.3}}, "eval.loss", 0.3),
    ],
)
def test_a_metric_of_which_several_values_are_kept_is_its_last_one(
    summary: dict[str, Any], metric: str, value: float
) -> None:
    (trial,) = _record(_run(0, {}, summary), metric=metric).trials
    assert trial.value == value


def test_a_finished_run_without_a_finite_value_has_failed() -> None:
    one, two, _ = _record(
        _run(0, {}, {"loss": "NaN"}), _run(1, {}, {"loss": math.nan}), _run(2, {}, {"loss": 1.0})
    ).trials
    assert (one.state, two.state) == ("FAIL", "FAIL")
    assert "no finite number `loss`" in one.error


@pytest.mark.parametrize(
    ("metric", "mode"),
    [("eval/loss", "min"), ("val_loss", "min"), ("test.perplexity", "min"), ("eval/bits_per_byte", "min"),
     ("eval_accuracy", "max"), ("f1", "max"), ("rouge1", "max"), ("top1_acc", "max")],
)  # fmt: skip
def test_names_say_which_way_is_better(metric: str, mode: str) -> None:
    assert mode_of(metric) == mode


@pytest.mark.parametrize("metric", ["tokens", "objective", "loss_accuracy"])
def test_a_name_that_does_not_say_it_asks(metric: str) -> None:
    with pytest.raises(SpecError, match="say `--mode min`"):
        mode_of(metric)

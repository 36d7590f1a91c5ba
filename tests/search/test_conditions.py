"""`stop_trial_when`: what a condition may say, when it holds, and what a search makes of it."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from analysis.sources import read_records
from search.conditions import StopConditions, check_conditions
from search.load import load_spec
from search.plan import make_plan
from spaces.errors import SpecError
from spaces.reports import Progress, Row, TrialReport


def _report(metrics: dict[str, float], rows: list[Row] | None = None, *, epoch: float = 2.0) -> TrialReport:
    progress = Progress(step=20, epoch=epoch, tokens=400, evaluation=2)
    return TrialReport(progress=progress, metrics=metrics, rows=rows or [], seconds=7.0)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("eval/loss > 10", True),
        ("eval/loss > 12", False),
        ("eval/loss > 10 and epochs >= 3", False),
        ("eval/loss > 10 and steps >= 20 and tokens == 400 and evaluations == 2 and seconds > 6", True),
        ("eval/loss / eval/other > 2", True),
        ("eval/loss / (eval/other - 5) > 2", False),  # a division by zero says nothing
        ("eval/missing > 0", False),
        ("train/grad_norm > 1e4", True),
    ],
)
def test_a_condition_speaks_of_metrics_and_of_how_far_a_trial_has_come(condition: str, holds: bool) -> None:
    report = _report({"eval/loss": 11.0, "eval/other": 5.0}, [{"step": 12, "epoch": 1.2, "train/grad_norm": 2e4}])
    assert (StopConditions([condition]).met_by(report) is not None) == holds


def test_a_spike_between_two_evaluations_is_seen_with_the_amounts_of_its_own_row() -> None:
    rows: list[Row] = [
        {"step": 12, "epoch": 1.2, "train/grad_norm": 2e4},
        {"step": 18, "epoch": 1.8, "train/grad_norm": 1.0},
    ]
    met = StopConditions(["eval/loss > 99", "train/grad_norm > 1e4 and steps > 10"]).met_by(_report({}, rows))
    assert met == "train/grad_norm > 1e4 and steps > 10 (train/grad_norm 2e+04, steps 12)"
    assert StopConditions(["train/grad_norm > 1e4 and steps > 15"]).met_by(_report({}, rows)) is None


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("eval/los > 10", "Did you mean `eval/loss`?"),
        ("eval/loss/train/loss > 2", "A division has spaces around it."),
        ("1 > 2", "speaks of no metric"),
        ("eval/loss >", "is no expression"),
        ("__import__('os')", "is not known"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(condition: str, says: str) -> None:
    with pytest.raises(SpecError, match=r"search\.stop_trial_when\.1") as refused:
        check_conditions(["epochs > 9", condition], ["eval/loss"])
    assert says in str(refused.value)


def test_a_functions_own_metrics_are_not_known_before_it_runs() -> None:
    check_conditions(["my/metric > 1"], None)


SPEC = """
name: walk
trainable: walking:train
config: {x: 0.5}
space: {config.x: {choice: [1, 20, 3]}}
search: {algorithm: grid, metric: loss, stop_trial_when: ["loss > 10 and steps >= 2", "my/norm > 1e3"]}
resources: {concurrent_trials: 1}
tracking: {wandb: {mode: disabled}}
"""
FUNCTION = """
def train(config, report):
    for step in range(1, 5):
        norm = 1e4 if config["x"] == 3 and step == 3 else 1.0
        report({"loss": config["x"] + 1 / step, "my/norm": norm}, step=step, is_final=step == 4)
"""


@pytest.mark.ray
def test_a_trial_that_meets_a_condition_ends_there_and_the_record_says_why(tmp_path: Path, tunesmith: Run) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "walking.py").write_text(FUNCTION)
    done = tunesmith("run", "spec.yaml")
    assert done.returncode == 0, done.stderr
    trials = read_records(tmp_path / "searches" / "walk").trials
    assert [(trial.state, trial.steps) for trial in trials] == [("COMPLETE", 4), ("PRUNED", 2), ("PRUNED", 3)]
    assert [trial.stopped_because for trial in trials] == [
        None, "loss > 10 and steps >= 2 (loss 20.5, steps 2)", "my/norm > 1e3 (my/norm 1e+04)",
    ]  # fmt: skip
    assert "stopped early after 2 epochs (loss > 10 and steps >= 2 (loss 20.5, steps 2))" in done.stdout


@pytest.mark.parametrize("given", ["eval/loss > 10", "[1, 2]"])
def test_conditions_are_a_list_of_texts(tmp_path: Path, given: Any) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "walking.py").write_text(FUNCTION)
    with pytest.raises(SpecError, match=r"search\.stop_trial_when"):
        make_plan(load_spec(tmp_path / "spec.yaml", overrides=[f"search.stop_trial_when={given}"]))

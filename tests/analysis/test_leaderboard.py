import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from analysis.leaderboard import leaderboard
from analysis.leaderboard_text import to_csv, to_table
from analysis.records import SearchRecord, TrialRecord
from analysis.wording import short_names, show_metric


def _trial(number: int, state: str, values: dict[int, float], **more: object) -> TrialRecord:
    last = values[max(values)] if values else None
    value = last if state == "COMPLETE" else None
    return TrialRecord(
        number=number, state=state, value=value, params={"a.lr": 0.1 * number}, intermediate=values, **more
    )  # type: ignore[arg-type]  # tests give plain texts


TRIALS = [
    _trial(0, "COMPLETE", {1: 0.9, 3: 0.5}),
    _trial(1, "PRUNED", {1: 0.1}),
    _trial(2, "FAIL", {}, error="train/loss became nan at step 3"),
    _trial(3, "COMPLETE", {1: 0.8, 3: 0.4}),
    _trial(4, "PRUNED", {1: 0.7, 2: 0.6}),
    _trial(5, "RUNNING", {1: 0.05}),
]


def _record(mode: str = "min") -> SearchRecord:
    return SearchRecord(
        name="s",
        directory=Path("s"),
        metric="eval/loss",
        mode=mode,
        trials=list(TRIALS),
        num_planned=6,  # type: ignore[arg-type]  # as above
    )


def test_early_stopped_trial_is_not_best_whatever_value_it_had() -> None:
    numbers = [entry.trial.number for entry in leaderboard(_record())]
    assert numbers == [3, 0, 4, 1, 5, 2]
    assert _record().best == TRIALS[3]


@pytest.mark.parametrize(("mode", "best"), [("min", 3), ("max", 0)])
def test_the_mode_says_which_value_is_better(mode: str, best: int) -> None:
    assert leaderboard(_record(mode))[0].trial.number == best


def test_only_finished_trials_have_a_rank() -> None:
    ranks = {entry.trial.number: entry.rank for entry in leaderboard(_record())}
    assert ranks == {3: 1, 0: 2, 4: None, 1: None, 5: None, 2: None}


def test_of_equal_trials_the_earlier_one_is_best() -> None:
    twins = [replace(TRIALS[0], number=7), replace(TRIALS[0], number=6)]
    record = replace(_record(), trials=twins)
    assert record.best is not None
    assert record.best.number == 6
    assert leaderboard(record)[0].trial.number == 6


def test_a_search_without_a_finished_trial_has_no_best() -> None:
    assert replace(_record(), trials=TRIALS[1:3]).best is None


def test_csv_has_a_line_a_trial_and_a_column_a_parameter() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(leaderboard(_record())))))
    assert [row["number"] for row in rows] == ["3", "0", "4", "1", "5", "2"]
    assert float(rows[0]["a.lr"]) == pytest.approx(0.3)
    assert rows[-1]["error"] == "train/loss became nan at step 3"


@pytest.mark.parametrize("num_params", [4, 5])
def test_the_table_fits_an_eighty_column_terminal(num_params: int) -> None:
    params = {
        "training.learning_rate": 0.00012345,
        "training.weight_decay": 0.12345,
        "model.config.num_hidden_layers": 2,
        "model.config.hidden_size": 64,
        "training.gradient_accumulation_steps": 2,
    }
    params = dict(list(params.items())[:num_params])
    record = replace(_record(), trials=[replace(trial, params=params, seconds=12.5, epochs=3.0) for trial in TRIALS])
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(to_table(leaderboard(record), record, width=80))
    text = console.export_text()
    assert "…" not in text
    assert "1.23e-4" in text
    assert ("seconds" in text) == (num_params == 4)


def test_training_is_shown_in_the_unit_that_trials_are_stopped_by() -> None:
    trials = [replace(TRIALS[0], steps=12_000, epochs=3.0)]
    for unit, shown in (("steps", "12,000"), ("epochs", "3")):
        record = replace(_record(), trials=trials, unit=unit)  # type: ignore[arg-type]  # from a list of them
        table = to_table(leaderboard(record), record, width=200)
        column = next(column for column in table.columns if column.header == unit)
        assert list(column.cells) == [shown]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.lr", "b.size"], ["lr", "size"]),
        (["a.lr", "b.lr"], ["a.lr", "b.lr"]),
        (["model.config.n", "data.config.n", "data.m"], ["model.config.n", "data.config.n", "m"]),
        (["lr", "a.lr"], ["lr", "a.lr"]),
    ],
)
def test_short_names_are_as_short_as_they_can_be_and_distinct(paths: list[str], names: list[str]) -> None:
    assert list(short_names(paths).values()) == names


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.12345, "0.1235"), (0.0, "0.0000"), (0.00001234, "1.234e-05"), (1.5e9, "1.5e+09"), (-0.5, "-0.5000")],
)
def test_a_metric_is_shown_with_digits_that_say_something(value: float, shown: str) -> None:
    assert show_metric(value) == shown

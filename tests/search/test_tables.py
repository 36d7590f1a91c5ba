"""Recorded results as a table: which column means what, which row answers."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search.tables import Lookup, Table, read_table
from spaces.errors import SpecError
from spaces.space import Space

DOCUMENT = {"training": {"learning_rate": 0.1, "optim": "sgd", "epochs": 3, "dropout": 0.0}}
SPACE = Space.parse(
    {
        "training.learning_rate": {"log_uniform": [1e-4, 1e-1], "num": 4},
        "training.optim": {"choice": ["adam", "sgd"]},
    },
    document=DOCUMENT,
)
ROWS = [
    {"learning_rate": rate, "training.optim": optim, "steps": step, "loss": rate + step, "seconds": 2.0 * step}
    for rate in (1e-4, 1e-3, 1e-2, 1e-1)
    for optim in ("adam", "sgd")
    for step in (3, 1, 2)
]


def _table(rows: list[dict[str, Any]], folder: Path, *, lookup: Lookup = "auto", space: Space = SPACE) -> Table:
    pd.DataFrame(rows).to_csv(folder / "t.csv", index=False)
    return read_table(folder / "t.csv", space, metric="eval/loss", document=DOCUMENT, lookup=lookup)


def _point(rate: float, optim: str = "adam") -> dict[str, Any]:
    return {"training.learning_rate": rate, "training.optim": optim}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_each_file_kind_gives_the_same_curves_in_the_order_of_training(kind: str, tmp_path: Path) -> None:
    frame, file = pd.DataFrame(ROWS), tmp_path / f"t.{kind}"
    if kind == "csv":
        frame.to_csv(file, index=False)
    elif kind == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    else:
        frame.to_parquet(file)
    table = read_table(file, SPACE, metric="eval/loss", document=DOCUMENT)
    assert table.is_exact
    assert len(table.points) == 8
    curve = table.curve(_point(1e-3, "sgd"))
    assert curve.steps == (1.0, 2.0, 3.0)
    assert curve.values == pytest.approx((1.001, 2.001, 3.001))
    assert curve.seconds == (2.0, 4.0, 6.0)


def test_an_exact_table_answers_for_a_missing_configuration_that_it_diverges(tmp_path: Path) -> None:
    rows = [row for row in ROWS if (row["learning_rate"], row["training.optim"]) != (1e-3, "sgd")]
    table = _table(rows, tmp_path)
    assert table.is_exact
    assert math.isnan(table.curve(_point(1e-3, "sgd")).values[0])


def test_a_table_of_some_values_of_a_range_answers_with_the_nearest_on_the_range_s_own_scale(tmp_path: Path) -> None:
    wide = Space.parse(
        {"training.learning_rate": {"log_uniform": [1e-4, 1e-1]}, "training.optim": {"choice": ["adam", "sgd"]}},
        document=DOCUMENT,
    )
    table = _table(ROWS, tmp_path, space=wide)
    assert not table.is_exact
    # 0.04 is nearer to 0.01 in steps of a plain scale, and to 0.1 in decades.
    assert table.curve(_point(0.04)).values[0] == pytest.approx(1.1)


def test_the_nearest_configuration_has_the_same_choice_before_the_nearest_number(tmp_path: Path) -> None:
    rows = [row for row in ROWS if row["training.optim"] == "adam" or row["learning_rate"] == 1e-1]
    table = _table(rows, tmp_path, lookup="nearest")
    assert table.curve(_point(1e-3, "sgd")).values[0] == pytest.approx(1.1)


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "diverged"])
def test_a_curve_ends_at_the_first_value_that_is_not_finite(value: Any, tmp_path: Path) -> None:
    rows = [dict(row) for row in ROWS]
    for row in rows:
        if row["steps"] == 2 and row["learning_rate"] == 1e-1:
            row["loss"] = value
    curve = _table(rows, tmp_path).curve(_point(1e-1))
    assert curve.steps == (1.0, 2.0)
    assert not math.isfinite(curve.values[-1])


def test_rows_of_one_configuration_and_step_are_averaged(tmp_path: Path) -> None:
    twice = [*ROWS, *({**row, "loss": row["loss"] + 1} for row in ROWS)]
    assert _table(twice, tmp_path).curve(_point(1e-4)).values[0] == pytest.approx(1.5001)


def test_rows_recorded_with_something_else_than_the_spec_has_are_left_out(tmp_path: Path) -> None:
    rows = [{**row, "training.dropout": dropout, "loss": row["loss"] + dropout} for row in ROWS for dropout in (0, 0.5)]
    assert _table(rows, tmp_path).curve(_point(1e-4)).values[0] == pytest.approx(1.0001)
    with pytest.raises(SpecError, match=r"no row .* `training\.dropout` = 0\.0"):
        _table([row for row in rows if row["training.dropout"] == 0.5], tmp_path)


def test_without_steps_and_seconds_a_trial_is_one_report_after_one_second(tmp_path: Path) -> None:
    rows = [{name: row[name] for name in ("learning_rate", "training.optim", "loss")} for row in ROWS[::3]]
    curve = _table(rows, tmp_path).curve(_point(1e-4))
    assert (curve.steps, curve.seconds) == ((1.0,), (1.0,))


def test_parameters_that_exist_under_conditions_have_empty_cells(tmp_path: Path) -> None:
    space = Space.parse(
        {"training.optim": {"choice": ["adam", "sgd"]},
         "training.dropout": {"choice": [0.1, 0.2], "when": {"training.optim": "sgd"}}},
        document=DOCUMENT,
    )  # fmt: skip
    rows = [
        {"optim": "adam", "dropout": None, "loss": 1.0},
        {"optim": "sgd", "dropout": 0.1, "loss": 2.0},
        {"optim": "sgd", "dropout": 0.2, "loss": 3.0},
    ]
    table = _table(rows, tmp_path, space=space, lookup="nearest")
    assert [table.curve(point).values[0] for point in space.grid()] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda row: {"loss" if name != "loss" else "los": value for name, value in row.items()}, "no column"),
        (
            lambda row: {name: value for name, value in row.items() if name != "learning_rate"},
            "no column for `training",
        ),
        (lambda row: {**row, "training.learning_rate": 1, "x": 1}, None),
        (lambda row: {**row, "epoch": 1}, "several columns for the amount of training"),
    ],
)
def test_what_a_table_lacks_or_has_twice_is_said(change: Any, says: str | None, tmp_path: Path) -> None:
    if says is None:  # the whole path comes before its end
        assert _table([change(row) for row in ROWS], tmp_path, lookup="nearest").points
        return
    with pytest.raises(SpecError, match=says):
        _table([change(row) for row in ROWS], tmp_path)


def test_a_file_that_is_no_table_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("")
    for name, says in [
        ("tabel.csv", "`table.csv`?"),
        ("table.csv", "cannot read"),
        ("t.xlsx", ".csv, .tsv, .jsonl, .parquet"),
    ]:
        with pytest.raises(SpecError) as caught:
            read_table(tmp_path / name, SPACE, metric="loss", document=DOCUMENT)
        assert says in str(caught.value)

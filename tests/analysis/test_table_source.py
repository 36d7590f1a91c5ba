"""Tables as records: our own leaderboard.csv, and those of others."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from recorded_searches import Session, planned

from analysis.leaderboard import leaderboard
from analysis.leaderboard_text import to_csv
from analysis.sources import read_records
from spaces.errors import SpecError

ROWS = [
    {"lr": 0.1, "optim": "adam", "layers": 2, "seed": 0, "loss": 0.5, "eval/f1": 0.8, "state": "finished"},
    {"lr": 0.01, "optim": "sgd", "layers": 4, "seed": 0, "loss": 0.25, "eval/f1": 0.9, "state": "COMPLETE"},
    {"lr": 0.2, "optim": "sgd", "layers": 4, "seed": 0, "loss": None, "eval/f1": None, "state": "crashed"},
    {"lr": 0.3, "optim": "sgd", "layers": None, "seed": 0, "loss": 0.9, "eval/f1": 0.1, "state": "TrialState.PRUNED"},
]


def _written(folder: Path, kind: str, rows: list[dict[str, Any]] = ROWS) -> Path:
    file, frame = folder / f"table.{kind}", pd.DataFrame(rows)
    if kind == "parquet":
        frame.to_parquet(file)
    elif kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        frame.to_csv(file, sep="\t" if kind == "tsv" else ",", index=False)
    return file


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_of_others_is_ranked_by_a_column(tmp_path: Path, kind: str) -> None:
    record = read_records(_written(tmp_path, kind), metric="loss")
    assert (record.name, record.mode) == ("table", "min")
    entries = leaderboard(record)
    assert [(entry.rank, entry.trial.number) for entry in entries] == [(1, 1), (2, 0), (None, 3), (None, 2)]
    assert entries[0].trial.params == {"lr": 0.01, "optim": "sgd", "layers": 4}
    assert entries[0].trial.metrics == {"eval/f1": 0.9, "loss": 0.25}
    assert "layers" not in record.trials[3].params
    assert record.trials[3].last_value == 0.9


def test_rows_of_one_trial_are_its_curve(tmp_path: Path) -> None:
    rows = [
        {"trial": trial, "lr": rate, "epoch": epoch, "loss": rate / epoch, "seconds": 10.0 * epoch}
        for trial, rate in enumerate((0.1, 0.2))
        for epoch in (2, 1, 3)
    ]
    first, second = read_records(_written(tmp_path, "csv", rows), metric="loss").trials
    assert dict(first.intermediate) == {1: 0.1, 2: 0.1 / 2, 3: 0.1 / 3}
    assert (first.value, first.epochs, first.seconds, second.params) == (0.1 / 3, 3, 30.0, {"lr": 0.2})


def test_a_missing_or_unknown_column_lists_those_with_numbers(tmp_path: Path) -> None:
    file = _written(tmp_path, "csv")
    with pytest.raises(SpecError, match=r"`--metric COLUMN`\. It has lr, layers, seed, loss, eval/f1"):
        read_records(file)
    with pytest.raises(SpecError, match=r"no column `los` with numbers\. Did you mean `loss`"):
        read_records(file, metric="los")
    with pytest.raises(SpecError, match="no column `optim` with numbers"):
        read_records(file, metric="optim")


def test_an_unknown_state_is_refused_with_the_nearest(tmp_path: Path) -> None:
    file = _written(tmp_path, "csv", [{"loss": 1.0, "lr": 1, "state": "finnished"}])
    with pytest.raises(SpecError, match="Did you mean `finished`"):
        read_records(file, metric="loss")


def test_our_own_leaderboard_comes_back_as_it_was_written(tmp_path: Path) -> None:
    session = Session(planned(tmp_path, space={"config.x": {"uniform": [0.0, 1.0]}, "config.y": {"int": [0, 3]}}))
    for loss in (0.5, 1 / 3):
        session.complete(loss)
    session.prune(0.7)
    session.fail("error")
    text = to_csv(leaderboard(session.record))
    (tmp_path / "leaderboard.csv").write_text(text)
    there = read_records(tmp_path / "leaderboard.csv")
    assert to_csv(leaderboard(there)) == text
    assert (there.mode, there.metric) == ("min", "value")
    assert read_records(tmp_path / "leaderboard.csv", metric="loss").metric == "loss"


def test_a_leaderboard_of_several_objectives_asks_for_the_folder(tmp_path: Path) -> None:
    (tmp_path / "leaderboard.csv").write_text(
        "rank,number,state,value,trial/mfu,lr,steps,epochs,tokens,seconds,gpu_hours,energy_wh,cost,peak_memory_bytes,"
        "tokens_per_second,checkpoint,error,stopped_because\n1,0,COMPLETE,0.5,0.4,0.1,,,,,,,,,,,,\n"
    )
    with pytest.raises(SpecError, match="several objectives"):
        read_records(tmp_path / "leaderboard.csv")


def test_a_file_that_is_not_there_is_answered_by_the_nearest(tmp_path: Path) -> None:
    _written(tmp_path, "csv")
    with pytest.raises(SpecError, match=r"Did you mean `table\.csv`"):
        read_records(tmp_path / "tabel.csv", metric="loss")

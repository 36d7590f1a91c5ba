"""The reader of `.wandb` files: the same as W&B's own, and as far as a killed run has written."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb
from patience import HANG_SECONDS

from analysis.offline_wandb import NotAWandbFile, read_history, read_offline_run
from analysis.sources import read_records
from spaces.errors import SpecError

NUM_ROWS = 400


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of several 32 KiB blocks, whose long texts cross them."""
    folder = tmp_path_factory.mktemp("runs")
    wandb.teardown()
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    run = wandb.init(
        project="p", id="abc", name="a name", group="g", job_type="trial", tags=["t"], mode="offline", dir=folder,
        config={"a": {"b": 1}, "list": [1, 2]}, settings=settings,
    )  # fmt: skip
    for step in range(NUM_ROWS):
        row: dict[str, Any] = {"loss": 1 / (step + 3), "nested": {"x": step}, "text": "é" * (step % 300)}
        run.log(row | ({"huge": "z" * 70_000} if step == 50 else {}) | ({"bad": float("nan")} if step == 7 else {}))
    run.summary["best"] = 0.1 + 0.2
    run.finish(exit_code=3)
    (found,) = folder.glob("wandb/offline-run-*")
    return found


def test_rows_are_those_that_wandb_itself_reads(directory: Path) -> None:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(directory)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG_SECONDS).stdout
    records = [json.loads(line) for line in said.splitlines()]
    theirs = [record["history"]["item"] for record in records if record["type"] == "history"]
    ours = list(read_history(directory / "run-abc.wandb"))
    assert len(ours) == NUM_ROWS
    assert [_comparable(row) for row in ours] == [_comparable(row) for row in theirs]


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    """NaN is not equal to itself, and Python's reader and Go's write it in different ways."""
    return {key: value for key, value in row.items() if key != "bad"}


def test_a_run_says_what_it_is(directory: Path) -> None:
    run = read_offline_run(directory)
    assert (run.id, run.name, run.group, run.job_type, run.tags) == ("abc", "a name", "g", "trial", ["t"])
    assert run.config == {"a": {"b": 1}, "list": [1, 2]}
    assert run.summary["best"] == 0.1 + 0.2
    assert run.summary["loss"] == 1 / (NUM_ROWS + 2)
    assert run.exit_code == 3


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
def test_a_torn_file_is_read_as_far_as_it_goes(directory: Path, tmp_path: Path, share: float) -> None:
    whole = (directory / "run-abc.wandb").read_bytes()
    file = tmp_path / "run-abc.wandb"
    file.write_bytes(whole[: int(len(whole) * share)])
    rows = list(read_history(file))
    assert 0.1 * share * NUM_ROWS < len(rows) <= NUM_ROWS
    of_the_whole = list(read_history(directory / "run-abc.wandb"))[: len(rows)]
    assert [_comparable(row) for row in rows] == [_comparable(row) for row in of_the_whole]
    assert read_offline_run(tmp_path).exit_code is None


def test_a_run_killed_before_its_first_block_is_no_crash(tmp_path: Path) -> None:
    folder = tmp_path / "offline-run-20260101_000000-abc"
    folder.mkdir()
    (folder / "run-abc.wandb").write_bytes(b":W&B\xe1\xbe\x00")
    with pytest.raises(SpecError, match="written far enough"):
        read_records(tmp_path, metric="loss")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "offline-run-20260101_000000-abc"
    folder.mkdir()
    (folder / "run-abc.wandb").write_bytes(b"SQLite format 3")
    with pytest.raises(NotAWandbFile):
        read_offline_run(folder)
    with pytest.raises(SpecError, match=r"is no \.wandb file"):
        read_records(tmp_path, metric="loss")

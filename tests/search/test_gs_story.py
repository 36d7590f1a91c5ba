"""A search that is kept in Google Cloud Storage: run here, read and gone on with from elsewhere."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import command
from gcs_server import GcsServer
from patience import HANG_SECONDS

from spaces.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow]

URL = "gs://bucket/searches/walk"
SPEC = """
name: walk
trainable: {folder}/walking.py:train
config: {{x: 0.5}}
space: {{config.x: {{uniform: [0.0, 1.0]}}}}
search: {{algorithm: random, metric: distance, mode: min, trials: 2}}
tracking: {{wandb: {{mode: disabled}}}}
storage: gs://bucket/searches
"""
FUNCTION = """
import tempfile, pathlib

def train(config, report):
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "x").write_text(str(config["x"]))
    report({"distance": abs(config["x"] - 0.3)}, checkpoint=folder)
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    server = GcsServer(tmp_path / "server.log")
    server.enter(monkeypatch)
    server.make_bucket("bucket")
    yield server
    server.close()


def test_a_search_in_gs_is_run_read_elsewhere_and_extended_there(tmp_path: Path, server: GcsServer) -> None:
    (tmp_path / "walking.py").write_text(FUNCTION)
    (tmp_path / "spec.yaml").write_text(SPEC.format(folder=tmp_path))

    def tunesmith(*arguments: str, machine: str) -> str:
        environment = os.environ | {"TUNESMITH_CACHE": str(tmp_path / machine)}
        done = subprocess.run(
            command(*arguments),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "gcsfs" not in done.stderr
        return done.stdout

    tunesmith("run", "spec.yaml", machine="first")
    assert {"spec.yaml", "study.db", "mirror.json", "leaderboard.csv"} <= set(Store.at(URL).names())
    assert len(json.loads(tunesmith("leaderboard", URL, "--json", machine="second"))) == 2
    tunesmith("extend", URL, "--trials", "3", machine="second")
    entries = json.loads(tunesmith("leaderboard", URL, "--json", machine="third"))
    assert [entry["state"] for entry in entries] == ["COMPLETE"] * 3
    assert str(entries[0]["checkpoint"]).startswith(f"{URL}/trials/")

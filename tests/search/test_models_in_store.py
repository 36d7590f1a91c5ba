"""What is done with a search in an object store when it is over, on a machine that has nothing of it."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from cable import free_port
from conftest import command
from machines import Machine
from patience import HANG_SECONDS
from rich.console import Console
from safetensors.torch import load_file
from store_server import StoreServer
from trained_searches import trained

from analysis.kept import brought_here
from analysis.records import SearchFiles
from search.export import export
from search.mirroring import begin_store, mirrored
from spaces.store import Store, working_folder

QUIET = Console(quiet=True)
SPEC = """
name: walk
trainable: {folder}/walking.py:train
config: {{x: 0.5, seed: 1, measure_test: false}}
space: {{config.x: {{choice: [0.2, 0.4]}}}}
search: {{algorithm: grid, metric: loss}}
tracking: {{wandb: {{mode: disabled}}}}
storage: s3://bucket/searches
"""
FUNCTION = """
def train(config, report):
    loss = abs(config["x"] - 0.3) + config["seed"] % 7 / 100
    report({"loss": loss} | ({"test/loss": loss + 0.1} if config["measure_test"] else {}))
"""


@pytest.mark.slow
def test_a_model_is_exported_and_served_from_the_store(
    tmp_path: Path, s3: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "s3://bucket/searches/colours"
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "first"))
    begin_store(files := SearchFiles(working_folder(url)), url)
    session = trained(tmp_path, storage="s3://bucket/searches")
    with mirrored(files, say=print):
        pass
    best = session.record.best
    assert best is not None
    own = load_file(files.trial(best.number).checkpoints / Path(str(best.checkpoint)).name / "model.safetensors")
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "second"))
    done = export(brought_here(url), tmp_path / "model", console=QUIET)
    assert done.trial.number == best.number
    exported = load_file(tmp_path / "model" / "model.safetensors")
    assert all(own[name].equal(exported[name]) for name in own | exported)
    answer = _answer_of(url, {"inputs": "thing 3 is red red"}, cache=tmp_path / "third")
    assert answer["label"] in ("red", "green", "blue")


@pytest.mark.ray
@pytest.mark.slow
def test_a_confirmation_elsewhere_is_seen_by_all_and_found_done(
    tmp_path: Path, s3: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "s3://bucket/searches/walk"
    (tmp_path / "walking.py").write_text(FUNCTION)
    (tmp_path / "spec.yaml").write_text(SPEC.format(folder=tmp_path))
    first, second, third = (Machine(tmp_path / name) for name in ("first", "second", "third"))
    first.run("run", str(tmp_path / "spec.yaml"))
    asked = ("confirm", url, "--top", "1", "--seeds", "2", "--json")
    told = json.loads(second.run(*asked))
    assert told["complete"]
    names = Store.at(url).names()
    assert {"confirmation-1/study.db", "confirmation-1/confirmation.json", "confirmation-1/mirror.json"} <= set(names)
    again = json.loads(third.run(*asked))
    assert {**again, "directory": None} == {**told, "directory": None}
    monkeypatch.setenv("TUNESMITH_CACHE", str(third.cache))
    shutil.rmtree(working_folder(url) / "confirmation-1")
    with mirrored(SearchFiles(working_folder(url)), say=print):
        pass
    assert "confirmation-1/study.db" in Store.at(url).names(), "a search that goes on leaves its confirmations alone"


def _answer_of(url: str, question: object, *, cache: Path) -> Any:
    """What the model that is served on another machine says."""
    port = free_port()
    server = subprocess.Popen(
        command("serve", url, "--port", str(port)), env=os.environ | {"TUNESMITH_CACHE": str(cache)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", data=json.dumps(question).encode())
    try:
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            assert server.poll() is None, server.communicate()
            assert time.monotonic() < deadline, "it did not become ready"
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["predictions"]
            time.sleep(0.5)
    finally:
        server.terminate()
        server.communicate()

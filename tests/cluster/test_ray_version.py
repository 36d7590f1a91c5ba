"""On another Ray than the one we are made for a search does not begin."""

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest
from conftest import Run
from ray.tune.execution import tune_controller

import search.processes
from cluster.errors import ClusterError
from cluster.ray_version import PRIVATE, PRIVATE_STATE, check_installed_ray, is_made_for, missing_names

SPEC = """
name: walk
trainable: walking:train
config: {x: 0.5}
space: {config.x: {uniform: [0.0, 1.0]}}
search: {algorithm: random, metric: distance, trials: 2}
"""


def _install(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr("cluster.ray_version.version", lambda name: found)


@pytest.mark.parametrize("found", ["2.60.0", "2.60.3", "2.60.1.dev0"])
def test_every_patch_of_the_version_is_taken(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, found)
    check_installed_ray()


@pytest.mark.parametrize("found", ["2.61.0", "2.6.0", "3.0.0", "2.600.0", ""])
def test_another_version_is_none_we_are_made_for(found: str) -> None:
    assert not is_made_for(found)


def test_a_search_on_a_newer_ray_is_refused_before_anything_is_there(
    tunesmith_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "walking.py").write_text("def train(config, report): raise AssertionError")
    _install(monkeypatch, "2.61.0")
    for command in (("run", "spec.yaml"), ("jobs", "list", "--address", "http://127.0.0.1:9")):
        done = tunesmith_here(*command)
        assert done.returncode == 4, done.stdout
        assert "made for Ray 2.60, and here is Ray 2.61.0" in done.stderr
        assert "pip install 'ray[default,train,tune]==2.60.*'" in done.stderr
    assert not (tmp_path / "searches").exists()


def test_what_a_newer_ray_has_lost_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, "2.61.0")
    monkeypatch.delattr("ray.tune.execution.tune_controller.TuneController._cleanup_cached_actors")
    monkeypatch.setitem(sys.modules, "ray.train.v2._internal.execution.controller", None)
    with pytest.raises(ClusterError, match=r"2\.61\.0, which has no TuneController\._cleanup_cached_actors, no ray\."):
        check_installed_ray()


def test_the_ray_that_is_installed_has_all_that_is_used_of_it() -> None:
    assert missing_names() == []
    source = inspect.getsource(tune_controller)
    assert [name for name in PRIVATE_STATE if f"self.{name}" not in source] == []


def test_the_names_that_are_used_of_the_controller_are_those_that_are_listed() -> None:
    tree = ast.parse(inspect.getsource(search.processes))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("controller", "self._controller")
    }
    # Three names are put together in a loop.
    joined = {f"_{state}_trials" for state in ("live", "stopped", "failed")}
    listed = {*PRIVATE_STATE, *PRIVATE["ray.tune.execution.tune_controller:TuneController"]}
    assert used | joined == listed


def test_all_that_we_import_from_inside_of_ray_is_listed() -> None:
    root = Path(search.processes.__file__).parents[1]
    used = set()
    for file in (file for package in ("search", "trainables", "cluster") for file in (root / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and re.match(r"ray\..*\._|ray\._", node.module):
                used |= {f"{node.module}:{alias.name}" for alias in node.names}
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node).startswith("ray._private.")), file
    handed_to_us = {"ray.tune.execution.tune_controller:TuneController"}
    assert used | handed_to_us == set(PRIVATE)

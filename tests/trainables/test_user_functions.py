"""Which function a `trainable` names, and how it is called: read from its source alone."""

import inspect
import sys
from pathlib import Path

import pytest

from spaces.errors import SpecError
from trainables.custom import load_function
from trainables.user_functions import beside, check_trainable, kind_of

SIGNATURES = [
    ("def train(config): ...", "ray_train_loop"),
    ("def train(config, report): ...", "own_loop"),
    ("def train(config, /, tell): ...", "own_loop"),
    ("def train(config, report=None): ...", "own_loop"),
    ("def train(config, verbose=True): ...", "ray_train_loop"),
    ("def train(config, *, verbose=True): ...", "ray_train_loop"),
    ("def train(config, report, *rest, **more): ...", "own_loop"),
    ("def train(): ...", None),
    ("def train(a, b, c): ...", None),
    ("def train(*everything): ...", None),
    ("def train(config, *, must): ...", None),
]


@pytest.mark.parametrize(("source", "kind"), SIGNATURES)
def test_source_and_signature_say_the_same(tmp_path: Path, source: str, kind: str | None) -> None:
    (tmp_path / "own.py").write_text(source)
    names: dict[str, object] = {}
    exec(source, names)
    function = names["train"]
    assert callable(function)
    if kind is not None:
        assert check_trainable(f"{tmp_path}/own.py:train") == kind
        assert kind_of(inspect.signature(function)) == kind
        return
    for look in (lambda: check_trainable(f"{tmp_path}/own.py:train"), lambda: kind_of(inspect.signature(function))):
        with pytest.raises(SpecError, match=r"A trainable is `function\(config, report\)`, or"):
            look()


@pytest.mark.parametrize(
    "source",
    [
        "import functools\n@functools.cache\ndef train(config): ...",
        "from json import loads as train",
        "from json import *",
        "train = len",
        "(train, other) = (1, 2)",
        "def __getattr__(name): ...",
    ],
)
def test_what_the_source_does_not_tell_is_left_open(tmp_path: Path, source: str) -> None:
    (tmp_path / "own.py").write_text(source)
    assert check_trainable(f"{tmp_path}/own.py:train") is None


@pytest.mark.parametrize(
    "source",
    [
        "if True:\n    def train(config): ...",
        "try:\n    import nothing_at_all\nexcept ImportError:\n    def train(config): ...",
        "def train(a, b, c): ...\ndef train(config): ...",
    ],
)
def test_a_function_under_a_condition_is_found(tmp_path: Path, source: str) -> None:
    (tmp_path / "own.py").write_text(source)
    assert check_trainable(f"{tmp_path}/own.py:train") == "ray_train_loop"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("class train: ...", "`train` is a class"),
        ("async def train(config): ...", "`train` is asynchronous"),
        ("def trian(config): ...", "has no function `train`. Did you mean `trian`?"),
        ("def train(config):\n  return (", "no valid Python: line 2: '(' was never closed"),
        ("import os, no_such_package.part\ndef train(config): ...", "imports `no_such_package` in line 1"),
        ("from no_such_package import x\ndef train(config): ...", "imports `no_such_package` in line 1"),
    ],
)
def test_what_cannot_work_is_refused_from_the_source(tmp_path: Path, source: str, text: str) -> None:
    (tmp_path / "own.py").write_text(source)
    with pytest.raises(SpecError) as caught:
        check_trainable(f"{tmp_path}/own.py:train")
    assert text in caught.value.message


def test_looking_runs_nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "loud_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "loops.py").write_text("raise AssertionError('imported')\ndef train(config): ...")
    monkeypatch.syspath_prepend(tmp_path)
    assert check_trainable("loud_package.loops:train") == "ray_train_loop"
    with pytest.raises(SpecError, match=r"no module `loud_package\.lops`"):
        check_trainable("loud_package.lops:train")


def test_a_module_beside_the_spec_is_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").touch()
    assert beside("own:train", tmp_path) == f"{tmp_path}/own.py:train"
    assert beside("json:loads", tmp_path) == "json:loads"
    assert beside("/other/own.py:train", tmp_path) == "/other/own.py:train"


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "helping_module.py").write_text("ANSWER = 42")
    (tmp_path / "asking_module.py").write_text("import helping_module\ndef train(config): return helping_module.ANSWER")
    assert check_trainable(f"{tmp_path}/asking_module.py:train") == "ray_train_loop"
    assert load_function(f"{tmp_path}/asking_module.py:train")({}) == 42


@pytest.mark.parametrize("look", [check_trainable, load_function])
def test_a_file_with_the_name_of_another_module_is_refused(tmp_path: Path, look: object) -> None:
    (tmp_path / "json.py").write_text("def train(config): ...")
    assert callable(look)
    with pytest.raises(SpecError, match=r"`json.py` has the name of another module.*rename the file"):
        look(f"{tmp_path}/json.py:train")


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "training_loop.py").touch()
    with pytest.raises(SpecError, match=r"there is no file .*Did you mean `training_loop.py`\?"):
        check_trainable(f"{tmp_path}/trainig_loop.py:train")

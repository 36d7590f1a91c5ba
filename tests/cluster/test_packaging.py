"""What travels with a submitted search."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.packaging import DISTRIBUTION, PACKAGES, code_of, copy_tunesmith, make_bundle, own_version
from spaces.errors import SpecError


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        place = folder / name.replace("__", "/").replace("_py", ".py")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)


def names_of(places: list[Path], root: Path) -> list[str]:
    return [str(place.relative_to(root)) for place in places]


def test_a_module_travels_with_all_that_it_imports_from_beside_it(tmp_path: Path) -> None:
    write(
        tmp_path, train_py="import json, model\nfrom layers.block import Block", model_py="import sizes",
        sizes_py="", layers__block_py="import sizes, torch", unused_py="",
    )  # fmt: skip
    assert names_of(code_of(tmp_path / "train.py"), tmp_path) == ["layers", "model.py", "sizes.py", "train.py"]


def test_modules_that_import_each_other_travel_once(tmp_path: Path) -> None:
    write(tmp_path, one_py="import two", two_py="import one")
    assert names_of(code_of(tmp_path / "one.py"), tmp_path) == ["one.py", "two.py"]


def test_a_bundle_keeps_names_and_leaves_out_what_is_made_again(tmp_path: Path) -> None:
    write(tmp_path, spec="a", data__one="b", other="d")
    (tmp_path / "data" / "__pycache__").mkdir()
    (tmp_path / "data" / "__pycache__" / "one.pyc").write_text("c")
    bundle = make_bundle(tmp_path, [tmp_path / "spec", tmp_path / "data"])
    assert [str(name) for name in bundle.names] == ["data/one", "spec"]
    bundle.copy_to(tmp_path / "copy")
    assert (tmp_path / "copy" / "data" / "one").read_text() == "b"
    assert not (tmp_path / "copy" / "other").exists()


def test_the_fingerprint_changes_with_content_and_names_only(tmp_path: Path) -> None:
    write(tmp_path, one__a="x", two__a="x", three__a="y", four__b="x")
    prints = [make_bundle(tmp_path / name, [tmp_path / name]).fingerprint() for name in ("one", "two", "three", "four")]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_too_much_is_refused_with_the_largest_files_named(tmp_path: Path) -> None:
    write(tmp_path, small="x", large="x" * 1_200_000)
    with pytest.raises(SpecError, match=r"at most 1 MB travel .* 1\.2 MB: large \(1\.2 MB\), small"):
        make_bundle(tmp_path, [tmp_path / "small", tmp_path / "large"], most_megabytes=1)


def test_what_lies_outside_of_the_starting_folder_cannot_travel(tmp_path: Path) -> None:
    write(tmp_path, inner__spec="a", outside="b")
    with pytest.raises(SpecError, match=r"outside` lies outside of .* where tunesmith was started"):
        make_bundle(tmp_path / "inner", [tmp_path / "inner" / ".." / "outside"])


def test_our_copy_runs_by_itself_and_knows_its_version(tmp_path: Path) -> None:
    (target := tmp_path / "copy").mkdir()
    assert [path.name for path in copy_tunesmith(target)][: len(PACKAGES)] == list(PACKAGES)
    assert list(target.rglob("*.pyc")) == []
    code = (
        "import search.cli.main, spaces.presets, importlib.metadata as m; "
        f"print(search.cli.main.__file__, m.version('{DISTRIBUTION}'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(target), "PATH": ""}, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(target / "search" / "cli" / "main.py"), own_version()]
    assert (target / "spaces" / "presets" / "bert-finetune.yaml").is_file()


def test_tunesmith_travels_on_from_where_it_has_travelled_to(tmp_path: Path) -> None:
    """On a cluster each of our packages lies in a folder of its own."""
    (tmp_path / "first").mkdir()
    places = []
    for copy in copy_tunesmith(tmp_path / "first"):
        places.append(tmp_path / f"place-{copy.name}")
        places[-1].mkdir()
        copy.rename(places[-1] / copy.name)
    code = (
        "import sys, pathlib; from cluster.packaging import copy_tunesmith; copy_tunesmith(pathlib.Path(sys.argv[1]))"
    )
    (tmp_path / "second").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "second")], env=environment, check=True, cwd=tmp_path)
    assert {path.name for path in (tmp_path / "second").iterdir()} >= set(PACKAGES)
    assert (tmp_path / "second" / "cluster" / "packaging.py").is_file()

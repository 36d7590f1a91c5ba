"""What a submitted search does first on the cluster: the real module as a process, `tunesmith` replaced by a stub."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Stands for tunesmith: says where it runs, with what, and what it knows.
STUB = "import os, sys; print(os.getcwd(), sys.argv[1:], os.environ.get('WANDB_API_KEY'))"


@pytest.fixture
def arrive(tmp_path: Path):  # type: ignore[no-untyped-def]
    modules = tmp_path / "modules"
    (modules / "cluster").mkdir(parents=True)
    (modules / "cluster" / "__init__.py").write_text("")
    (modules / "cluster" / "arrival.py").write_text((ROOT / "cluster" / "arrival.py").read_text())
    (modules / "search" / "cli").mkdir(parents=True)
    (modules / "search" / "cli" / "main.py").write_text(STUB)
    (tmp_path / "travelled").mkdir()
    (tmp_path / "travelled" / "spec.yaml").write_text("name: x")

    def run(**order: object) -> subprocess.CompletedProcess[str]:
        order = {"shelf": str(tmp_path / "storage" / ".submitted" / "x-1"), "command": ["run", "spec.yaml"]} | order
        return subprocess.run(
            [sys.executable, "-m", "cluster.arrival", json.dumps(order)], cwd=tmp_path / "travelled",
            env={**os.environ, "PYTHONPATH": str(modules)}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_what_travelled_is_laid_down_and_tunesmith_runs_there(arrive, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shelf = tmp_path / "storage" / ".submitted" / "x-1"
    where, ran = arrive().stdout.splitlines()
    assert where == f"starting on {socket.gethostname()}"
    assert ran.split(" ", 1) == [str(shelf), "['run', 'spec.yaml'] None"]
    assert (shelf / "spec.yaml").read_text() == "name: x"
    assert [path.name for path in shelf.parent.iterdir()] == ["x-1"]


def test_what_lies_there_already_is_not_written_again(arrive, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    arrive()
    before = (tmp_path / "storage" / ".submitted" / "x-1" / "spec.yaml").stat().st_mtime_ns
    assert arrive().returncode == 0
    assert (tmp_path / "storage" / ".submitted" / "x-1" / "spec.yaml").stat().st_mtime_ns == before


def test_a_secret_is_read_from_its_file_on_the_cluster(arrive, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "key").write_text("the-key\n")
    assert arrive(secret_files={"WANDB_API_KEY": str(tmp_path / "key")}).stdout.endswith("the-key\n")


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"secret_files": {"WANDB_API_KEY": "/nowhere/key"}}, "cannot read WANDB_API_KEY from /nowhere/key"),
        ({"secret_files": {"WANDB_API_KEY": "/dev/null"}}, "the file for WANDB_API_KEY is empty"),
        ({"shelf": "/proc/nowhere/.submitted/x-1"}, "cannot write to the storage of the search, /proc/nowhere"),
    ],
)
def test_what_is_missing_on_the_cluster_is_bad_input(arrive, order: dict[str, object], words: str) -> None:  # type: ignore[no-untyped-def]
    done = arrive(**order)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_it_keeps_to_what_an_old_python_understands() -> None:
    import ast

    source = (ROOT / "cluster" / "arrival.py").read_text()
    ast.parse(source, feature_version=(3, 7))
    assert "import cluster" not in source
    assert "from cluster" not in source


def test_an_interpreter_without_ray_is_named(arrive, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    arrive()
    modules = tmp_path / "modules"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(modules)!r}); sys.argv = ['', '{{}}'];"
         "import cluster.arrival as a; a.main()"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "which has no ray: give the interpreter that runs Ray there, `--python PATH`" in done.stderr

"""The commit that a search began from is the one that git knows."""

import subprocess
from pathlib import Path

from search.surroundings import surroundings


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_commit_is_recorded_and_whether_files_had_changed(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / "spec.yaml").write_text("a: 1")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "first")
    commit = _git(tmp_path, "rev-parse", "HEAD").strip()
    assert surroundings(tmp_path)["git"] == {"commit": commit, "has_changes": False}
    (tmp_path / "spec.yaml").write_text("a: 2")
    assert surroundings(tmp_path)["git"] == {"commit": commit, "has_changes": True}


def test_outside_of_a_repository_only_the_machine_is_known(tmp_path: Path) -> None:
    found = surroundings(tmp_path)
    assert set(found) == {"machine"}
    assert found["machine"]["cpus"] >= 1

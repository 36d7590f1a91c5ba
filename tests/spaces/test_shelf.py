"""What travels with a submitted search through an object store: a real S3 server on this machine."""

import json
from pathlib import Path

import pytest
from store_server import StoreServer

from spaces import shelf
from spaces.errors import SpecError
from spaces.shelf import NOTE, SHELF, bring_shelf, lay_down, note_shelf, noted_place
from spaces.store import Store


@pytest.fixture
def url(s3: StoreServer) -> str:
    """Of a search that is not there yet."""
    return "s3://bucket/searches/far"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is `/tmp` elsewhere."""
    root = tmp_path / "machine"
    root.mkdir()
    _move_to(root, monkeypatch)
    return root


def _move_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "_ROOT", root)
    monkeypatch.setattr(shelf, "_PLACE", shelf.re.compile(rf"{root}/tunesmith-\d+/[\w-][\w.-]*"))
    shelf._noted.cache_clear()


@pytest.fixture
def travelled(tmp_path: Path) -> Path:
    (tmp_path / "travelled" / "own").mkdir(parents=True)
    (tmp_path / "travelled" / "spec.yaml").write_text("name: far")
    (tmp_path / "travelled" / "own" / "train.py").write_text("def train(): ...")
    return tmp_path / "travelled"


def _submitted(url: str, travelled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place here, after a search has begun there."""
    place = lay_down(travelled, f"{url}-1")
    monkeypatch.setenv(SHELF, f"{url}-1")
    monkeypatch.chdir(place)
    (search := travelled.parent / "search").mkdir()
    note_shelf(search, Store.at(url))
    assert noted_place(search) == place
    return place


def test_what_was_laid_down_is_brought_to_the_same_place_of_another_machine(
    url: str, travelled: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _submitted(url, travelled, monkeypatch)
    assert place.is_relative_to(machine)
    machine.rename(machine.with_name("first"))  # and here is another one, with nothing there
    monkeypatch.chdir(travelled)
    machine.mkdir()
    shelf._noted.cache_clear()
    bring_shelf(url)
    found = {file.relative_to(place).as_posix(): file.read_text() for file in place.rglob("*") if file.is_file()}
    assert found == {"spec.yaml": "name: far", "own/train.py": "def train(): ..."}
    assert [each.name for each in place.parent.iterdir()] == [place.name]


def test_the_same_files_are_laid_down_once(url: str, travelled: Path, machine: Path) -> None:
    place = lay_down(travelled, f"{url}-1")
    before = (place / "spec.yaml").stat().st_mtime_ns
    assert lay_down(travelled, f"{url}-1") == place
    assert (place / "spec.yaml").stat().st_mtime_ns == before


def test_a_search_that_was_not_submitted_brings_nothing(url: str, machine: Path) -> None:
    bring_shelf(url)
    bring_shelf("/shared/searches/far")
    assert list(machine.iterdir()) == []


def test_a_place_where_others_may_write_is_not_trusted(
    url: str, travelled: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _submitted(url, travelled, monkeypatch)
    place.parent.chmod(0o777)
    with pytest.raises(SpecError, match="is not this user's alone"):
        bring_shelf(url)


@pytest.mark.parametrize("place", ["/home/me/.config", "/tmp/tunesmith-0/../x", "/tmp/tunesmith-0/a/b", "/tmp/own"])
def test_a_search_of_others_lays_files_nowhere_else(url: str, place: str) -> None:
    shelf._noted.cache_clear()
    Store.at(url).write(NOTE, json.dumps({"shelf": f"{url}-1", "place": place}))
    with pytest.raises(SpecError, match="where nothing that was submitted lies"):
        bring_shelf(url)

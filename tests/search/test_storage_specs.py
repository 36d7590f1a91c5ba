"""Where a search is kept, as a spec says it: short and long forms, and what is refused."""

import json
from pathlib import Path

import pytest
from conftest import Run
from recorded_searches import planned, write_spec

from analysis.study_place import check_database
from search.load import load_spec
from search.recorded_spec import resolved_spec
from search.storage import StorageConfig, moved
from spaces.errors import SpecError
from spaces.store import is_store, store_url

DATABASE = "postgresql://tuner@db.example/studies"
PASSWORD = "swordfish-4711"


def test_a_text_is_short_for_the_path_and_stays_one_in_the_recorded_spec(tmp_path: Path) -> None:
    plan = planned(tmp_path, storage=str(tmp_path / "here"))
    assert plan.spec.storage == StorageConfig(path=str(tmp_path / "here"))
    assert plan.files.path == tmp_path / "here" / "walk"
    assert resolved_spec(plan.spec)["storage"] == str(tmp_path / "here")


def test_a_database_is_recorded_with_the_path(tmp_path: Path) -> None:
    storage = {"path": str(tmp_path), "database": DATABASE, "max_outage": "10min"}
    recorded = resolved_spec(planned(tmp_path, storage=storage).spec)["storage"]
    assert recorded == {"path": str(tmp_path), "database": DATABASE, "max_outage": 600.0}


@pytest.mark.parametrize("override", ["storage=/elsewhere", "storage.path=/elsewhere"])
def test_another_path_on_the_command_line_keeps_the_database(tmp_path: Path, override: str) -> None:
    path = write_spec(tmp_path, storage={"path": "./searches", "database": DATABASE})
    assert load_spec(path, overrides=[override]).spec.storage == StorageConfig(path="/elsewhere", database=DATABASE)


def test_a_database_on_the_command_line_keeps_the_path_that_was_given_as_a_text(tmp_path: Path) -> None:
    path = write_spec(tmp_path, storage="/here")
    found = load_spec(path, overrides=[f"storage.database={DATABASE}"]).spec.storage
    assert found == StorageConfig(path="/here", database=DATABASE)


def test_a_moved_search_keeps_its_database() -> None:
    assert moved({"path": "/a", "database": DATABASE}, "/b") == {"path": "/b", "database": DATABASE}
    assert moved("/a", "/b") == "/b"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://tuner:{PASSWORD}@db.example/studies",
        f"postgresql+psycopg://tuner:{PASSWORD}@db.example:5432/studies?sslmode=require",
        f"postgresql://tuner@db.example/studies?password={PASSWORD}",
        f"postgresql://tuner@db.example/studies?sslpassword={PASSWORD}",
        f"mysql://tuner:{PASSWORD}@db.example/studies",
        f"postgresql:tuner:{PASSWORD}@db.example/studies",
    ],
)
def test_a_password_in_a_spec_is_refused_and_not_repeated(tmp_path: Path, url: str, tunesmith_here: Run) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, storage={"path": "./searches", "database": url})
    assert "storage.database" in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_the_command_line_does_not_repeat_a_password_either(tmp_path: Path, tunesmith_here: Run) -> None:
    write_spec(tmp_path)
    shown = tunesmith_here("check", "spec.yaml", "--set", f"storage.database=postgresql://u:{PASSWORD}@h/d")
    assert shown.returncode == 2
    assert "PGPASSWORD" in shown.stderr
    assert PASSWORD not in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://db.example/studies", "a study is kept in PostgreSQL"),
        ("sqlite:///study.db", "a study is kept in PostgreSQL"),
        ("studies", "a text without `://`"),
        ("postgresql://db.example", "names no database"),
    ],
)
def test_what_is_no_database_for_studies_is_refused(url: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        check_database(url)


@pytest.mark.parametrize("path", ["memory://searches", "http://host/searches", "azure://container/searches"])
def test_a_store_that_keeps_nothing_or_is_not_known_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(SpecError, match=r"storage: a search is kept in a folder, in `s3://BUCKET/...`"):
        planned(tmp_path, storage=path)


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    assert planned(tmp_path, storage=f"file://{tmp_path}/shared").files.path == tmp_path / "shared" / "walk"


def test_a_search_in_a_store_is_worked_on_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    plan = planned(tmp_path, storage="s3://bucket/searches/")
    assert plan.files.path == tmp_path / "cache" / "searches" / "s3" / "bucket" / "searches" / "walk"
    assert not plan.files.path.exists()


def test_a_url_that_went_through_a_path_is_still_known() -> None:
    assert is_store(Path("s3://bucket/searches/walk"))
    assert store_url(Path("s3://bucket/searches/walk")) == "s3://bucket/searches/walk"
    assert not is_store("./s3/bucket")


def test_check_needs_neither_the_database_nor_the_store(tmp_path: Path, tunesmith_here: Run) -> None:
    write_spec(tmp_path, storage={"path": "s3://bucket/searches", "database": DATABASE})
    shown = tunesmith_here("check", "spec.yaml", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["name"] == "walk"

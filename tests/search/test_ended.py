"""What is known of a search that has ended: nothing is started for it again, until something else is asked of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Run
from recorded_searches import Session, planned, write_spec

from analysis.records import SearchFiles
from cluster.capacity import Capacity
from search.ended import forget_end, has_ended, note_end
from search.going_on import Extension, extend, retry
from search.ledger import open_study
from search.plan import Plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Two trials of two, one of which failed."""
    plan = planned(tmp_path, search={"algorithm": "random", "metric": "loss", "mode": "min", "trials": 2})
    session = Session(plan)
    session.complete(0.5)
    session.fail("error")
    return plan


def _has_ended(plan: Plan) -> bool:
    return has_ended(open_study(plan.files.path), plan.files)


def test_a_search_has_ended_when_that_was_noted_and_no_session_began_since(plan: Plan) -> None:
    assert not _has_ended(plan)
    note_end(open_study(plan.files.path), plan.files)
    assert _has_ended(plan)
    forget_end(open_study(plan.files.path))
    assert not _has_ended(plan)


def test_a_retry_or_an_extension_that_was_only_asked_for_is_something_to_do(plan: Plan) -> None:
    note_end(open_study(plan.files.path), plan.files)
    retry(plan.files, say=lambda _: None)
    assert not _has_ended(plan)
    note_end(open_study(plan.files.path), plan.files)
    extend(plan.files, Extension(overrides=["search.trials=3"]), say=lambda _: None)
    assert not _has_ended(plan)


def test_resume_of_a_search_that_has_ended_shows_it_and_starts_no_ray(
    plan: Plan, tunesmith_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connected(address: str | None) -> None:
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr("search.run.connected", connected)
    note_end(open_study(plan.files.path), plan.files)
    before = _content(plan.files)
    done = tunesmith_here("resume", str(plan.files.path))
    assert done.returncode == 0, done.stderr
    assert "walk has ended, nothing is left to do" in done.stdout
    assert "tunesmith extend" in done.stdout
    assert "Best: trial 0" in done.stdout
    assert _content(plan.files) == before


def test_a_search_that_is_refused_before_its_first_trial_leaves_no_folder(
    tmp_path: Path, tunesmith_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def connected(address: str | None) -> Iterator[Capacity]:
        yield Capacity(cpus=2, gpus=0)

    monkeypatch.setattr("search.run.connected", connected)
    path = write_spec(tmp_path, resources={"cpus_per_worker": 64})
    for _ in range(2):  # the second time nothing "exists already"
        done = tunesmith_here("run", str(path))
        assert done.returncode == 2, done.stdout
        assert "it can never start" in done.stderr
    assert not (tmp_path / "searches" / "walk").exists()


@pytest.mark.parametrize(
    ("place", "words"),
    {
        "a file": ("spec.yaml", "it is a file, and a search is a folder. `tunesmith run"),
        "another name": ("searches/wlak", "there is no such folder. Did you mean `walk`?"),
        "the folder above": ("searches", "Searches in there: "),
    }.values(),
)
@pytest.mark.parametrize("command", [("resume",), ("status",), ("stop",), ("scale", "2")])
def test_where_no_search_is_the_one_that_was_meant_is_named(
    plan: Plan, tunesmith_here: Run, tmp_path: Path, command: tuple[str, ...], place: str, words: str
) -> None:
    name, *arguments = command
    done = tunesmith_here(name, str(tmp_path / place), *arguments)
    assert done.returncode == 2, done.stdout
    assert words in done.stderr


def _content(files: SearchFiles) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(files.path.rglob("*"))
        if path.is_file() and not path.name.startswith((".", "study.db-"))
    }

"""The `report` command, and the report that a search leaves behind."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Run
from planted_searches import linear_search
from recorded_searches import Session, planned

import analysis.report
from analysis.records import SearchFiles
from search.reporting import MAX_TRIALS, report_at_end


def _recorded(folder: Path) -> Path:
    session = Session(planned(folder))
    for loss in (0.5, 0.3, 0.4):
        session.complete(loss)
    session.fail("out_of_memory")
    session.prune(0.9)
    return session.files.path


def test_report_writes_a_page_into_the_folder_and_says_where(tmp_path: Path, tunesmith_here: Run) -> None:
    folder = _recorded(tmp_path)
    done = tunesmith_here("report", str(folder))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == folder / "report.html"
    page = (folder / "report.html").read_text("utf-8")
    assert "Trial 1 is best, with loss 0.3000" in page
    assert "1 out of memory" in page
    assert f"tunesmith retry {folder}" in page


def test_report_prints_markdown_for_a_pull_request(tmp_path: Path, tunesmith_here: Run) -> None:
    done = tunesmith_here("report", str(_recorded(tmp_path)), "--format", "md", "--output", "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# walk\n")
    assert "| 1 | 1 | 0.3000 | finished |" in done.stdout
    assert "## Failures" in done.stdout
    assert "config.x:" in done.stdout


def test_report_refuses_what_is_no_search_and_a_place_that_is_none(tmp_path: Path, tunesmith_here: Run) -> None:
    assert tunesmith_here("report", str(tmp_path)).returncode == 2
    done = tunesmith_here("report", str(_recorded(tmp_path)), "--output", "nowhere/report.html")
    assert done.returncode == 2
    assert "there is no folder `nowhere`" in done.stderr


def test_a_report_that_cannot_be_written_ends_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(analysis.report, "write_report", fail)
    with caplog.at_level(logging.WARNING):
        report_at_end(linear_search({"a": 1.0}, trials=3), SearchFiles(tmp_path))
    assert "no space left" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_search_too_large_for_a_report_keeps_no_outdated_one(tmp_path: Path) -> None:
    files = SearchFiles(tmp_path)
    files.report.write_text("of an earlier session")
    record = linear_search({"a": 1.0}, trials=2)
    report_at_end(replace(record, trials=record.trials * MAX_TRIALS), files)
    assert not files.report.exists()

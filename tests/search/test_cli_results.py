"""`leaderboard` and `compare` on the command line, over recorded searches."""

import csv
import io
import json

import pytest
from recorded_searches import Session, planned
from typer.testing import CliRunner

from search.cli.main import app
from spaces.errors import SpecError


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two searches: one of five trials, one of which failed, and one of two."""
    place = tmp_path_factory.mktemp("results")
    long, short = (Session(planned(place, name=name)) for name in ("long", "short"))
    for number in range(4):
        long.complete(0.5 + number / 10)
    long.fail("out_of_memory")
    short.complete(0.45)
    short.prune(0.01)
    return str(long.files.path), str(short.files.path)


def _printed(*arguments: str) -> str:
    ran = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0
    return ran.output


def test_trials_of_two_searches_are_ranked_together(folders: tuple[str, str]) -> None:
    entries = json.loads(_printed("leaderboard", *folders, "--json"))
    assert [(entry["search"], entry["number"]) for entry in entries[:3]] == [("short", 0), ("long", 0), ("long", 1)]
    rows = list(csv.DictReader(io.StringIO(_printed("leaderboard", *folders, "--csv"))))
    assert [(row["search"], row["rank"]) for row in rows[:2]] == [("short", "1"), ("long", "2")]


def test_an_early_stopped_trial_of_another_search_is_not_ranked_above_finished_ones(folders: tuple[str, str]) -> None:
    entries = json.loads(_printed("leaderboard", *folders, "--json"))
    stopped = next(entry for entry in entries if entry["state"] == "PRUNED")
    assert stopped["rank"] is None
    assert entries.index(stopped) == 5


def test_the_table_says_why_trials_failed(folders: tuple[str, str]) -> None:
    text = _printed("leaderboard", folders[0])
    assert "out of memory" in text
    assert "trial 4 failed: it is out_of_memory" in text


def test_lines_are_chosen_and_ranks_stay(folders: tuple[str, str]) -> None:
    entries = json.loads(_printed("leaderboard", folders[0], "--where", "value > 0.65", "--sort", "-value", "--json"))
    assert [entry["rank"] for entry in entries if entry["rank"]] == [4, 3]
    assert "no trial matches" in _printed("leaderboard", folders[0], "--where", "value > 99")


def test_an_unknown_column_is_refused_with_the_nearest_name(folders: tuple[str, str]) -> None:
    with pytest.raises(SpecError, match="Did you mean `seconds`"):
        _printed("leaderboard", folders[0], "--columns", "secons")


def test_searches_are_compared_at_equal_cost(folders: tuple[str, str]) -> None:
    found = json.loads(_printed("compare", *folders, "--json"))
    assert found["budget"] == 50.0  # what the short search took: a whole trial and an evaluation
    assert found["searches"][0]["spent"] > found["budget"]
    assert "At equal cost (50 s):" in _printed("compare", *folders)


def test_trials_are_compared_by_number(folders: tuple[str, str]) -> None:
    text = _printed("compare", f"{folders[0]}#best", f"{folders[0]}#2")
    assert "trial 0 has a better loss than trial 2 by 0.2000" in text


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["{0}"], "two or more different searches"),
        (["{0}", "{0}"], "two or more different searches"),
        (["{0}#0", "{1}"], "not one with the other"),
        (["{0}#best", "{0}#0"], "names one twice"),
        (["{0}#0", "{0}#99"], "no trial 99"),
        (["{0}", "--with", "{1}"], "two or more each"),
    ],
)
def test_what_cannot_be_compared_is_refused(folders: tuple[str, str], items: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        _printed("compare", *(item.format(*folders) for item in items))


def test_an_unknown_test_is_refused(folders: tuple[str, str]) -> None:
    with pytest.raises(SpecError, match="Did you mean `wilcoxon`"):
        _printed("compare", f"{folders[0]}#0", f"{folders[0]}#1", "--test", "wilcoxn")


def test_a_table_stops_where_nobody_reads_on_and_csv_does_not(
    folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.cli.results._MOST_LINES", 2)
    text = _printed("leaderboard", folders[0])
    assert "... and 3 more" in text
    assert "out of memory" not in text.split("...")[0]
    assert "... and" not in _printed("leaderboard", folders[0], "--top", "5")
    assert len(_printed("leaderboard", folders[0], "--csv").splitlines()) == 6

"""The report is one file that keeps secrets, and takes nothing that a model or a user wrote as markup."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planted_searches import linear_search, realistic_search, search_of

from analysis.confirmation import Configuration, Confirmation, SeedRun, write_confirmation
from analysis.records import SearchFiles, SearchRecord, TrialRecord, TrialState
from analysis.report import report_html
from analysis.report_text import report_markdown
from spaces.objectives import Objective

BAD = "</script><script>alert('x')</script>"


def _kept(record: SearchRecord, folder: Path) -> SearchRecord:
    """`record` with a folder that has a spec, a data card, and samples of the best trial."""
    files = SearchFiles(folder)
    best = record.best
    assert best is not None
    files.trial(best.number).path.mkdir(parents=True)
    files.spec.write_text(
        "name: kept\ntraining: {hub_token: hf_sesame, learning_rate: 0.001}\n"
        "recorded: {python: 3.11.7, versions: {torch: 2.13.0}}\n"
    )
    files.trial(best.number).document.write_text("document: {training: {hub_token: hf_sesame, num_train_epochs: 8}}\n")
    files.trial(best.number).write_samples([{"prompt": "Say <b>hi</b>", "generated": BAD}])
    card = {
        "source": "notes", "vocab_size": 2000, "max_length": 64, "documents": {"train": 1600, "validation": 200},
        "examples": {"train": 1500, "validation": 190}, "labels": ["a", BAD], "label_counts": {"train": {"a": 900}},
        "cleaning": [{"step": "deduplicate", "removed": 100, "changed": 0}],
    }  # fmt: skip
    files.data_card.write_text(json.dumps(card))
    return replace(record, directory=folder)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> SearchRecord:
    return _kept(realistic_search(trials=30), tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def page(kept: SearchRecord) -> str:
    return report_html(kept)


def _own(page: str) -> str:
    """The page without plotly."""
    return re.sub(r"<script>/\*\*.*?</script>", "", page, flags=re.DOTALL)


def test_the_report_holds_words_leaderboard_figures_data_samples_and_environment(page: str) -> None:
    for words in ("Summary", "matters", "Leaderboard", "Best configuration", "deduplicate", "1,600", "torch", "2.13.0"):
        assert words in page
    assert 'id="figure-curves"' in page
    assert "Say &lt;b&gt;hi&lt;/b&gt;" in page


def test_no_secret_is_in_the_report(page: str, kept: SearchRecord) -> None:
    assert "hf_sesame" not in page
    assert "[redacted]" in page
    assert "hf_sesame" not in report_markdown(kept)


def test_what_a_model_or_a_user_wrote_is_never_markup(page: str) -> None:
    assert BAD not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(&#39;x&#39;)" in page


def test_errors_and_parameters_are_never_markup() -> None:
    record = realistic_search(trials=30)
    trials = [
        replace(each, params=each.params | {BAD: each.number % 2, "text": BAD if each.number % 3 else "x"}, error=BAD)
        for each in record.trials
    ]
    page = report_html(replace(record, trials=trials, name=BAD, notes=(BAD,)))
    assert BAD not in page
    assert page.count("</script>") == len(re.findall(r"<script[ >]", page))


def test_the_report_asks_nothing_of_the_network(page: str) -> None:
    own = _own(page)
    assert "default-src &#39;none&#39;" in own or "default-src 'none'" in own
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", own)
    assert "@import" not in own


def test_the_report_of_200_trials_is_below_8_megabytes() -> None:
    assert len(report_html(realistic_search(trials=200)).encode()) < 8_000_000


def _single(state: TrialState, **more: Any) -> SearchRecord:
    facts: dict[str, Any] = {"value": None, "params": {"a": 1}, "intermediate": {}}
    return search_of([TrialRecord(number=0, state=state, **(facts | more))], num_planned=4)


@pytest.mark.parametrize(
    "record",
    [
        search_of([], num_planned=4),
        _single("RUNNING"),
        _single("COMPLETE", value=1.0, intermediate={1: 1.0}),
        _single("COMPLETE", value=1.0),
        _single("FAIL", error="no", failure="error"),
        linear_search({"a": 1.0}, trials=3),
        realistic_search(trials=25, num_objectives=2),
        realistic_search(trials=25, folds=3),
    ],
    ids=["none", "running", "one", "without-curves", "failed", "three", "objectives", "folds"],
)
def test_any_search_has_a_report(record: SearchRecord) -> None:
    page, text = report_html(record), report_markdown(record)
    assert "<h1>planted</h1>" in page
    assert text.startswith("# planted\n")
    assert "undefined" not in _own(page).lower()
    assert "None" not in text


def test_markdown_tables_stay_tables_whatever_stands_in_them() -> None:
    record = linear_search({"a": 1.0}, trials=4)
    trials = [replace(each, params={"p": "x|y\nz<b>"}) for each in record.trials]
    text = report_markdown(replace(record, trials=trials))
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "x\\|y z&lt;b>" in text
    assert not any("<b>" in line for line in table)


def test_a_confirmation_on_the_test_split_comes_before_what_the_search_saw(tmp_path: Path) -> None:
    runs = tuple(
        SeedRun(seed=seed, state="COMPLETE", metrics={"eval/loss": 2.2 + 0.01 * seed, "test/loss": 2.3 + 0.01 * seed})
        for seed in range(3)
    )
    winner = Configuration(name="trial 3", kind="trial", trial=3, params={}, searched={"eval/loss": 2.1}, runs=runs)
    found = Confirmation(
        number=1, search="kept", metric="eval/loss", objectives=(Objective(name="eval/loss", mode="min"),),
        seeds=(0, 1, 2), configurations=(winner,), trained_on_validation=False, created="2026-11-21",
    )  # fmt: skip
    record = _kept(realistic_search(trials=25), tmp_path)
    (tmp_path / "confirmation-1").mkdir()
    write_confirmation(found, tmp_path / "confirmation-1")
    page, text = report_html(record), report_markdown(record)
    assert "Trial 3 has eval/loss 2.3100 ± 0.0248 on the test split" in page
    assert page.index("On the test split") < page.index("<dt>Best</dt>")
    assert "| trial 3 | 2.1000 | 2.2100 ± 0.0248 | 2.3100 ± 0.0248 | 3 of 3 |" in text


@pytest.mark.slow
def test_the_report_of_10_000_trials_takes_seconds_and_stays_small() -> None:
    record = realistic_search(trials=10_000)
    start = time.process_time()
    page = report_html(record)
    assert time.process_time() - start < 20
    assert len(page.encode()) < 12_000_000
    assert "9,000 trials that rank lower are left out" in page

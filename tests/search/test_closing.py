"""What is said at the end of a search about what it has used."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from analysis.records import SearchFiles, SearchRecord, TrialRecord
from search.closing import closing_text
from search.run import SearchOutcome
from spaces.usage import TrialUsage


def shown(*trials: TrialRecord) -> str:
    record = SearchRecord(
        name="s",
        directory=Path("s"),
        metric="eval/loss",
        mode="min",
        trials=list(trials),
        num_planned=2,
        currency="EUR",
    )
    outcome = SearchOutcome(
        record=record, files=SearchFiles(Path("s")), was_interrupted=False, unsynced_runs=[], sync_command=None
    )
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(closing_text(outcome, width=200))
    return console.export_text()


def trial(number: int, *, energy: float | None = None, estimate: bool = False, **more: float) -> TrialRecord:
    return TrialRecord(
        number=number, state="COMPLETE", value=1.0, params={}, intermediate={1: 1.0},
        usage=TrialUsage(energy_wh=energy, energy_is_estimate=estimate), **more,
    )  # type: ignore[arg-type]  # all are floats  # fmt: skip


@pytest.mark.parametrize(
    ("trials", "line"),
    [
        ([trial(0, energy=300.0), trial(1, energy=200.0)], "Used: 500 Wh"),
        ([trial(0, energy=1500.0, estimate=True)], "Used: about 1.5 kWh"),
        ([trial(0, gpu_hours=0.5, cost=1.25), trial(1, gpu_hours=1.0, cost=2.5)], "Used: 1.5 GPU-hours, 3.75 EUR"),
    ],
)
def test_the_end_of_a_search_says_what_it_used(trials: list[TrialRecord], line: str) -> None:
    assert line in shown(*trials).splitlines()


def test_what_was_not_measured_is_not_claimed() -> None:
    assert "Used" not in shown(trial(0))

"""Trials and searches side by side: planted differences are found, luck is called luck."""

import random
from typing import Any

import pytest
from records_by_hand import finished, search_of
from rich.console import Console

from analysis.comparison import Candidate, Side, compare_searches, compare_trials
from analysis.comparison_text import searches_text, trials_text
from analysis.incumbent import best_by, course
from analysis.lineage import Origin
from analysis.records import SearchRecord, TrialRecord
from spaces.errors import SpecError


def _candidates(record: SearchRecord) -> list[Candidate]:
    return [Candidate(name=f"trial {trial.number}", record=record, trial=trial) for trial in record.trials]


def _side(name: str, *records: SearchRecord) -> Side:
    return Side(name=name, records=records)


def _random_search(seed: int, *, shift: float = 0.0, trials: int = 20, **more: Any) -> SearchRecord:
    """Trials of one second whose values are drawn from one distribution."""
    generator = random.Random(seed)
    values = [generator.gauss(0.7 + shift, 0.05) for _ in range(trials)]
    return search_of(
        *(finished(number, value, seconds=1.0) for number, value in enumerate(values)), name=f"s{seed}", **more
    )


def _text(renderable: Any) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_better_trial_is_named_whichever_way_is_better(mode: Any) -> None:
    record = search_of(finished(0, 0.90, 0.80, 0.85), finished(1, 0.50, 0.41, 0.46), mode=mode)
    (contrast,) = compare_trials(_candidates(record)).contrasts
    assert contrast.verdict == ("first" if mode == "max" else "second")
    assert (contrast.difference > 0) == (mode == "max")  # type: ignore[operator]  # both trials have values


def test_trials_without_folds_are_not_judged() -> None:
    comparison = compare_trials(_candidates(search_of(finished(0, 0.9), finished(1, 0.5))))
    assert comparison.contrasts[0].verdict == "unknown"
    assert comparison.contrasts[0].difference == pytest.approx(0.4)
    assert "not known" in _text(trials_text(comparison))


def test_a_trial_that_was_stopped_early_is_not_compared() -> None:
    stopped = TrialRecord(number=1, state="PRUNED", value=None, params={}, intermediate={1: 0.99})
    with pytest.raises(SpecError, match="trial 1 has not trained to its end"):
        compare_trials(_candidates(search_of(finished(0, 0.9), stopped)))


def test_with_several_pairs_each_needs_more_to_count() -> None:
    trials = [finished(0, 0.90, 0.80, 0.85, 0.80), finished(1, 0.86, 0.77, 0.81, 0.78)]
    alone = compare_trials(_candidates(search_of(*trials))).contrasts[0]
    among = compare_trials(_candidates(search_of(*trials, finished(2, 0.86, 0.77, 0.82, 0.77)))).contrasts[0]
    assert (alone.p_value or 1) < (among.p_value or 0)


def test_the_course_of_a_search_counts_what_it_spent_itself() -> None:
    inherited = Origin(kind="inherited", trial=0, search="elsewhere")
    record = search_of(
        finished(0, 0.5, seconds=100.0, origin=inherited),
        finished(1, 0.6, seconds=2.0, clock={"ended_at": 20.0}),
        finished(2, 0.9, seconds=3.0, clock={"ended_at": 10.0}),
        TrialRecord(
            number=3, state="FAIL", value=None, params={}, intermediate={}, seconds=5.0, clock={"ended_at": 30.0}
        ),
    )
    steps = course(record, "seconds")
    assert [(each.trial.number, each.spent, each.best) for each in steps] == [
        (0, 0.0, 0.5), (2, 3.0, 0.9), (1, 5.0, 0.9), (3, 10.0, 0.9)
    ]  # fmt: skip
    assert best_by(steps, 2.9) == 0.5
    assert best_by(steps, 3.0) == 0.9


def test_searches_are_compared_when_the_cheaper_one_had_spent_all() -> None:
    cheap = search_of(finished(0, 0.6, seconds=10.0), name="cheap")
    dear = search_of(finished(0, 0.5, seconds=10.0), finished(1, 0.9, seconds=90.0), name="dear")
    comparison = compare_searches([_side("cheap", cheap), _side("dear", dear)])
    assert comparison.budget == 10.0
    assert comparison.contrasts[0].difference == pytest.approx(0.1)  # 0.9 was found with ten times the money
    assert comparison.standings[1].value == 0.9


def test_a_search_over_better_configurations_is_found_better() -> None:
    sides = [_side("better", _random_search(1, shift=0.3)), _side("worse", _random_search(2))]
    (contrast,) = compare_searches(sides).contrasts
    assert contrast.verdict == "first"
    assert contrast.low is not None
    assert contrast.low > 0


def test_searches_that_differ_by_luck_are_rarely_told_apart() -> None:
    found = [
        compare_searches([_side("a", _random_search(2 * seed)), _side("b", _random_search(2 * seed + 1))]).contrasts[0]
        for seed in range(40)
    ]
    assert sum(contrast.verdict != "undecided" for contrast in found) <= 6


def test_with_repeats_the_search_is_the_unit() -> None:
    better = [_random_search(seed, shift=0.1) for seed in range(4)]
    worse = [_random_search(10 + seed) for seed in range(4)]
    comparison = compare_searches([_side("better", *better), _side("worse", *worse)])
    (contrast,) = comparison.contrasts
    assert (contrast.count, contrast.verdict) == (4, "first")
    assert "repeated searches" in contrast.method
    assert not comparison.best_trials


def test_the_text_says_who_is_better_and_by_how_much() -> None:
    sides = [_side("wide", _random_search(1, shift=0.3)), _side("narrow", _random_search(2))]
    text = _text(searches_text(compare_searches(sides)))
    assert "wide is better than narrow: eval/accuracy by" in text
    assert "95% interval" in text


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([search_of(finished(0, 0.5, seconds=1.0)), search_of(name="empty")], "`empty` has no finished trial"),
        ([search_of(finished(0, 0.5)), search_of(finished(0, 0.5))], "no `seconds`"),
        ([search_of(finished(0, 0.5)), search_of(finished(0, 0.5), metric="eval/loss")], "different metrics"),
    ],
)
def test_what_cannot_be_compared_is_refused(records: list[SearchRecord], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        compare_searches([_side(f"{number}", record) for number, record in enumerate(records)])

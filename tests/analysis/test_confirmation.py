"""What a confirmation says of its numbers."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from analysis.confirmation import (
    Configuration,
    Confirmation,
    SeedRun,
    estimate,
    read_confirmations,
    write_confirmation,
)
from analysis.confirmation_text import confirmation_text, sentences
from spaces.objectives import Mode, Objective

SEEDS = (11, 12, 13, 14, 15)
NOISE = (0.000, 0.003, -0.002, 0.001, -0.001)


def configuration(
    name: str, validation: float, test: float, *, searched: float | None = None, noise: tuple[float, ...] = NOISE
) -> Configuration:
    runs = tuple(
        SeedRun(seed=seed, state="COMPLETE", metrics={"eval/accuracy": validation + each, "test/accuracy": test + each})
        for seed, each in zip(SEEDS, noise, strict=True)
    )
    return Configuration(
        name=name, kind="trial", trial=0, params={"training.learning_rate": 0.01}, runs=runs,
        searched={} if searched is None else {"eval/accuracy": searched},
    )  # fmt: skip


def confirmation(*configurations: Configuration, mode: Mode = "max", **fields: object) -> Confirmation:
    return Confirmation(
        **{  # type: ignore[arg-type]  # the fields of a test
            "number": 1, "search": "walk", "metric": "eval/accuracy",
            "objectives": (Objective(name="eval/accuracy", mode=mode),), "seeds": SEEDS,
            "configurations": configurations, "trained_on_validation": False, "created": "2026-01-01T00:00:00",
            **fields,
        }
    )  # fmt: skip


def shown(found: Confirmation, earlier: list[Confirmation] | None = None) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(confirmation_text(found, earlier or []))
    return capture.get()


def test_a_difference_that_all_seeds_have_is_told_with_its_size_and_interval() -> None:
    other = configuration("trial 3", 0.80, 0.79, noise=(0.001, 0.001, -0.001, 0.0, 0.0))
    found = confirmation(configuration("trial 7", 0.82, 0.81), other)
    (comparison,) = found.comparisons()
    assert comparison.is_decided
    assert comparison.gain is not None
    assert comparison.gain.mean == pytest.approx(0.02)
    assert comparison.gain.low < 0.02 < comparison.gain.high
    said = sentences(found, found.objectives[0])
    assert "Trial 7 is better than trial 3 on the test split by 0.0200 (" in said[0]


def test_a_difference_smaller_than_its_spread_cannot_be_told() -> None:
    other = configuration("trial 3", 0.80, 0.809, noise=(0.03, -0.02, 0.01, -0.03, 0.02))
    found = confirmation(configuration("trial 7", 0.82, 0.81), other)
    assert not found.comparisons()[0].is_decided
    assert "Trial 7 and trial 3 cannot be told apart" in sentences(found, found.objectives[0])[0]


def test_a_winner_that_is_worse_on_test_is_called_worse_by_a_positive_number() -> None:
    found = confirmation(configuration("trial 7", 0.9, 0.70), configuration("trial 3", 0.8, 0.75, noise=NOISE[::-1]))
    assert "Trial 7 is worse than trial 3 on the test split by 0.0500 (0.0" in sentences(found, found.objectives[0])[0]


@pytest.mark.parametrize(("mode", "sign"), [("max", 1.0), ("min", -1.0)])
def test_better_follows_the_mode(mode: Mode, sign: float) -> None:
    found = confirmation(configuration("a", 0.9, 0.8, searched=0.95), configuration("b", 0.8, 0.7), mode=mode)
    gain = found.comparisons()[0].gain
    assert gain is not None
    assert gain.mean == pytest.approx(0.1 * sign)
    summary = found.summaries()[0]
    assert summary.optimism == pytest.approx(0.1 * sign)
    assert summary.winners_curse == pytest.approx((0.95 - 0.9002) * sign)


def test_several_comparisons_are_judged_together() -> None:
    """p = 0.03 alone is a finding; as one of three, by Holm, it is none."""
    spread = (0.010, -0.004, 0.008, 0.002, 0.014)
    others = [configuration(name, 0.8, 0.8, noise=(0.0,) * 5) for name in ("b", "c", "d")]
    winner = configuration("a", 0.8, 0.804, noise=spread)
    (alone,) = confirmation(winner, others[0]).comparisons()
    together = confirmation(winner, *others).comparisons()
    assert alone.gain is not None
    assert alone.gain.p_value == alone.adjusted_p
    assert [each.adjusted_p for each in together] == pytest.approx([3 * alone.gain.p_value] * 3)
    assert alone.is_decided != together[0].is_decided


def test_only_seeds_that_both_came_to_an_end_with_are_compared() -> None:
    one, two = configuration("a", 0.8, 0.8), configuration("b", 0.7, 0.7, noise=(0.0, 0.1, 0.2, 0.3, 0.4))
    failed = SeedRun(seed=SEEDS[0], state="FAIL", error="eval/loss became nan")
    lame = Configuration(name="a", kind="trial", trial=1, params={}, searched={}, runs=(failed, *one.runs[1:]))
    found = confirmation(lame, two)
    gain = found.comparisons()[0].gain
    assert gain is not None
    assert gain.count == 4
    assert gain.mean == pytest.approx(0.8 + sum(NOISE[1:]) / 4 - 0.95)
    assert "1 of 5 trainings of a failed: eval/loss became nan" in shown(found)


def test_one_seed_has_a_value_and_no_interval() -> None:
    found = estimate([0.5])
    assert found is not None
    assert (found.mean, found.interval) == (0.5, None)
    assert estimate([]) is None


def test_after_a_cross_validation_test_is_compared_with_the_value_of_the_search() -> None:
    found = confirmation(configuration("a", 0.8, 0.8, searched=0.85), trained_on_validation=True)
    (summary,) = found.summaries()
    assert summary.validation is None
    assert summary.optimism == pytest.approx(0.85 - 0.8002)


def test_what_was_written_is_read_again_and_looks_are_counted(tmp_path: Path) -> None:
    for number in (2, 1):
        folder = tmp_path / f"confirmation-{number}"
        folder.mkdir()
        made = confirmation(
            configuration("a", 0.8, 0.8), number=number, notes=("a note",), guess={"eval/accuracy": 0.3}
        )
        write_confirmation(made, folder)
        told = json.loads((folder / "confirmation.json").read_text())
        assert told["results"]["eval/accuracy"]["configurations"][0]["test"]["seeds"] == 5
    first, second = read_confirmations(tmp_path)
    assert (first.number, second.number) == (1, 2)
    assert second.configurations == confirmation(configuration("a", 0.8, 0.8)).configurations
    assert first.summaries() == made.summaries()
    assert "looked at 1 time before" in shown(second, [first])
    assert "looked at" not in shown(first, [first])


def test_a_search_that_was_never_confirmed_has_none(tmp_path: Path) -> None:
    assert read_confirmations(tmp_path) == []


def test_what_a_training_takes_has_no_test_split() -> None:
    runs = tuple(
        SeedRun(seed=seed, state="COMPLETE", metrics={"trial/seconds": 10.0 + seed, "test/accuracy": 0.5})
        for seed in SEEDS
    )
    one = Configuration(name="a", kind="trial", trial=0, params={}, searched={"trial/seconds": 9.0}, runs=runs)
    quick = Configuration(
        name="b", kind="base", trial=None, params={}, searched={},
        runs=tuple(SeedRun(seed=run.seed, state="COMPLETE", metrics={"trial/seconds": 5.0}) for run in runs),
    )  # fmt: skip
    found = confirmation(one, quick, objectives=(Objective(name="trial/seconds", mode="min"),))
    assert found.summaries()[0].test is None
    assert found.summaries()[0].validation is not None
    assert "on the test split" not in sentences(found, found.objectives[0])[0]

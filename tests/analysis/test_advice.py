"""Advice is right where the answer is known, and is not given where it is not."""

import math
from dataclasses import replace

from planted_searches import linear_search, realistic_search

from analysis.ablation import Ablation, ablation
from analysis.advice import advise


def test_the_best_learning_rate_lies_in_the_advised_interval() -> None:
    advice = {each.name: each for each in advise(realistic_search(trials=200))}
    rate = advice["learning_rate"]
    assert rate.kind == "between"
    assert rate.low < 1e-3 < rate.high
    assert math.log10(rate.high / rate.low) < 1.5


def test_the_best_choice_is_named() -> None:
    advice = {each.name: each for each in advise(realistic_search(trials=400))}
    assert advice["lr_scheduler_type"].choices == ("cosine",)
    assert advice["lr_scheduler_type"].words == "is best at cosine"


def test_a_best_value_at_the_end_of_the_range_asks_for_a_wider_one() -> None:
    advice = advise(linear_search({"a": 0.9, "b": 0.1}, trials=200))
    assert advice[0].kind == "at the edge"
    assert "lower end of its range (0)" in advice[0].words


def test_nothing_is_advised_on_what_does_not_matter_or_from_few_trials() -> None:
    assert [each.path for each in advise(linear_search({"a": 1.0, "b": 0.0}, trials=100))] == ["a"]
    assert advise(linear_search({"a": 1.0, "b": 0.0}, trials=9)) == []


def test_the_path_to_the_best_begins_with_the_parameter_that_helps_most() -> None:
    record = linear_search({"a": 0.7, "b": 0.25, "c": 0.05}, trials=300)
    found = ablation(replace(record, default={"a": 0.9, "b": 0.9, "c": 0.9}))
    assert isinstance(found, Ablation)
    assert found.is_of_default
    assert [step.path for step in found.steps][:2] == ["a", "b"]
    assert found.start_value > found.steps[0].value > found.steps[1].value


def test_without_a_default_the_path_begins_at_the_trial_in_the_middle() -> None:
    found = ablation(linear_search({"a": 0.7, "b": 0.3}, trials=100))
    assert isinstance(found, Ablation)
    assert not found.is_of_default
    assert "in the middle" in found.start

"""What is known to matter is found to matter, and what has no effect is not."""

from dataclasses import replace
from functools import cache

import numpy as np
import optuna
import pytest
from planted_searches import linear_search, realistic_search, search_of

from analysis.importance import Importances, compared_trials, importances
from analysis.records import TrialRecord

PLANTED = {"a": 0.70, "b": 0.25, "c": 0.05, "d": 0.0}


@cache
def planted(trials: int) -> Importances:
    return importances(linear_search(PLANTED, trials=trials))


def test_planted_importances_of_70_25_and_5_percent_are_found() -> None:
    told = planted(400)
    shares = {each.path: each.share for each in told.parameters}
    assert [each.path for each in told.parameters] == ["a", "b", "c", "d"]
    assert shares == pytest.approx(PLANTED, abs=0.06)
    assert told.explained > 0.9


def test_a_parameter_without_effect_is_not_said_to_matter() -> None:
    matters = [
        each.matters
        for seed in range(6)
        for each in importances(linear_search(PLANTED | {"e": 0.0}, trials=60, noise=0.1, seed=seed)).parameters
        if each.path in ("d", "e")
    ]
    assert len(matters) == 12
    assert sum(matters) <= 2


def test_intervals_hold_the_planted_shares_and_are_wider_with_fewer_trials() -> None:
    few, many = (planted(count).parameters[0] for count in (40, 400))
    assert many.interval[0] <= 0.74
    assert many.interval[1] >= 0.66
    assert few.interval[1] - few.interval[0] > many.interval[1] - many.interval[0]


def test_fanova_of_optuna_agrees() -> None:
    record = linear_search(PLANTED, trials=150, seed=3)
    bounds = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in PLANTED}
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(value=each.value, params=each.params, distributions=bounds)
            for each in record.trials
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
    ours = {each.path: each.share for each in importances(record).parameters}
    assert ours == pytest.approx(theirs, abs=0.12)


def test_an_interaction_is_found_that_neither_parameter_shows_alone() -> None:
    record = linear_search({"a": 0.0, "b": 0.0, "c": 0.0}, trials=400)
    trials = [
        replace(each, value=float((each.params["a"] > 0.5) != (each.params["b"] > 0.5))) for each in record.trials
    ]
    told = importances(replace(record, trials=trials))
    assert told.interactions[0].paths in (("a", "b"), ("b", "a"))
    assert told.interactions[0].share > 0.5
    assert told.interactions[0].matters


def test_too_few_trials_give_a_sentence_and_no_number() -> None:
    told = importances(linear_search(PLANTED, trials=9))
    assert told.parameters == ()
    assert "9 finished trials are too few" in str(told.why_not)


def test_noise_alone_is_called_neither_important_nor_explained() -> None:
    told = importances(linear_search({"a": 0.0, "b": 0.0}, trials=60, noise=1.0))
    assert "do not foretell" in str(told.why_not)


def test_equal_values_and_equal_parameters_are_named_as_the_reason() -> None:
    record = linear_search(PLANTED, trials=20)
    same_value = replace(record, trials=[replace(each, value=1.0) for each in record.trials])
    same_params = replace(record, trials=[replace(each, params={"a": 0.5}) for each in record.trials])
    assert "the same eval/loss" in str(importances(same_value).why_not)
    assert "the same parameters" in str(importances(same_params).why_not)


def test_where_most_trials_were_stopped_all_are_compared_at_the_first_rung() -> None:
    record = realistic_search(trials=100)
    compared = compared_trials(record)
    assert record.count("COMPLETE") < 20
    assert compared.at == 1
    assert len(compared.trials) == 100
    assert list(compared.values) == [trial.intermediate[1] for trial in compared.trials]
    assert importances(record).at == 1


def test_finished_trials_are_compared_at_their_ends_where_there_are_enough() -> None:
    compared = compared_trials(linear_search(PLANTED, trials=60))
    assert compared.at is None
    assert len(compared.trials) == 60


def test_trials_of_which_a_later_one_stands_and_failed_ones_do_not_count() -> None:
    record = linear_search(PLANTED, trials=30)
    trials = [replace(record.trials[0], superseded_by=5), replace(record.trials[1], state="FAIL", value=None)]
    told = importances(replace(record, trials=[*trials, *record.trials[2:]]))
    assert told.num_trials == 28
    assert told.num_left_out == 1


def test_a_conditional_parameter_says_how_many_trials_had_it() -> None:
    record = linear_search({"a": 0.9, "b": 0.1}, trials=80)
    trials = [
        replace(each, params={name: value for name, value in each.params.items() if name == "a" or each.number % 2})
        for each in record.trials
    ]
    counts = {each.path: each.num_trials for each in importances(replace(record, trials=trials)).parameters}
    assert counts == {"a": 80, "b": 40}


def test_values_of_any_kind_can_matter() -> None:
    rng = np.random.default_rng(0)
    shapes = [None, True, "wide", [32, 64], {"r": 8}]
    trials = []
    for number in range(80):
        choice = int(rng.integers(len(shapes)))
        value = float(choice) + 0.1 * float(rng.normal())
        params = {"shape": shapes[choice], "other": float(rng.random())}
        trials.append(TrialRecord(number=number, state="COMPLETE", value=value, params=params, intermediate={1: value}))
    told = importances(search_of(trials))
    assert told.parameters[0].path == "shape"
    assert told.parameters[0].share > 0.9


def test_what_it_takes_to_be_among_the_best_may_be_another_parameter() -> None:
    # `a` tells the good half from the bad one; among the good half `b` alone decides.
    record = linear_search({"a": 0.0, "b": 0.0, "c": 0.0}, trials=300)
    trials = [
        replace(each, value=10.0 * (each.params["a"] > 0.5) + each.params["b"] * (each.params["a"] <= 0.5))
        for each in record.trials
    ]
    found = {each.path: each for each in importances(replace(record, trials=trials)).parameters}
    assert found["a"].share > 0.8 > 0.2 > found["b"].share
    assert (found["b"].to_be_best or 0) > (found["a"].to_be_best or 0) > (found["c"].to_be_best or 0)


def test_the_objective_can_be_chosen_where_there_are_several() -> None:
    record = realistic_search(trials=120, num_objectives=2)
    assert importances(record, objective=1).objective == "trial/latency_ms"
    assert importances(record).objective == "eval/loss"


def test_equal_records_give_equal_figures() -> None:
    assert importances(linear_search(PLANTED, trials=40)) == planted(40)

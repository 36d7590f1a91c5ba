"""One conformance suite for all kinds of distributions, then what is special about each."""

import math
import pickle
from collections import Counter
from random import Random

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.distributions import Choice, Int, LogInt, LogUniform, Normal, Uniform
from spaces.errors import SpecError
from spaces.parameters import parse_distribution

optuna.logging.set_verbosity(optuna.logging.ERROR)

FINITE = [
    Uniform(low=0, high=1, step=0.1),
    Uniform(low=0.1, high=1.0, step=0.4),
    Uniform(low=-1, high=1, num=4),
    LogUniform(low=1e-5, high=1e-2, num=4),
    LogUniform(low=0.1, high=1, step=0.25),
    Int(low=1, high=4),
    Int(low=1, high=8, step=3),
    Int(low=-7, high=20, num=5),
    LogInt(low=1, high=64),
    LogInt(low=8, high=100, step=8),
    LogInt(low=16, high=1024, num=7),
    LogInt(low=1, high=10, num=4),
    Choice(values=(16, 32, 64)),
    Choice(values=("adamw", None, True, 1, 0.5)),
    Choice(values=(None, {"method": "lora", "r": 8}, [1, 2], '{"method": "lora", "r": 8}')),
    Normal(mean=0, std=1, low=-1, high=1, step=0.5),
    Normal(mean=0, std=1, low=-10.25, high=2, step=1),
]
CONTINUOUS = [
    Uniform(low=-1, high=1),
    LogUniform(low=1e-5, high=1e-2),
    Normal(mean=0.1, std=0.02),
    Normal(mean=0, std=1, low=0),
    Normal(mean=0, std=1, high=-2),
    Normal(mean=3, std=1, step=0.5),
]
ALL = FINITE + CONTINUOUS


def as_key(value):
    return f"{type(value).__name__} {value!r}"


@pytest.mark.parametrize("distribution", ALL, ids=repr)
class TestEveryDistribution:
    def test_contains_what_it_samples(self, distribution):
        rng = Random(0)
        assert all(distribution.contains(distribution.sample(rng)) for _ in range(300))

    def test_same_seed_samples_the_same(self, distribution):
        one, two = Random(7), Random(7)
        assert [distribution.sample(one) for _ in range(5)] == [distribution.sample(two) for _ in range(5)]

    def test_contains_what_optuna_suggests(self, distribution):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        assert all(distribution.contains(distribution.suggest(study.ask(), "x")) for _ in range(100))

    def test_suggests_without_warnings(self, distribution, recwarn):
        distribution.suggest(optuna.create_study().ask(), "x")
        assert not [warning for warning in recwarn if "optuna" in str(warning.filename)]

    def test_declares_to_optuna_what_it_suggests(self, distribution):
        trial = optuna.create_study().ask()
        distribution.suggest(trial, "x")
        assert trial.distributions == {"x": distribution.to_optuna()}

    def test_stored_value_leads_back_to_the_suggested_one(self, distribution):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        for _ in range(30):
            trial = study.ask()
            value = distribution.suggest(trial, "x")
            assert distribution.from_optuna_value(trial.params["x"]) == value

    def test_value_survives_being_stored(self, distribution):
        rng = Random(2)
        for _ in range(100):
            value = distribution.sample(rng)
            back = distribution.from_optuna_value(distribution.to_optuna_value(value))
            assert as_key(back) == as_key(value) or math.isclose(back, value, rel_tol=1e-9, abs_tol=1e-9)

    def test_fixed_trial_suggests_the_given_value(self, distribution):
        value = distribution.sample(Random(3))
        trial = optuna.trial.FixedTrial({"x": distribution.to_optuna_value(value)})
        suggested = distribution.suggest(trial, "x")
        assert suggested == pytest.approx(value) if isinstance(value, float) else suggested == value

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "text", {"k": 1}, 1e9, 0.123456789, False])
    def test_does_not_contain_strangers(self, distribution, value):
        if value == 0.123456789 and distribution in CONTINUOUS and distribution.step is None:
            return
        assert not distribution.contains(value)

    def test_travels_by_pickle(self, distribution):
        assert pickle.loads(pickle.dumps(distribution)) == distribution


@pytest.mark.parametrize("distribution", FINITE, ids=repr)
class TestEveryFiniteDistribution:
    def test_grid_is_contained(self, distribution):
        assert all(distribution.contains(value) for value in distribution.grid())

    def test_grid_values_are_distinct_and_counted(self, distribution):
        grid = distribution.grid()
        assert len({as_key(value) for value in grid}) == len(grid) == distribution.num_values

    def test_samples_reach_the_whole_grid_and_nothing_else(self, distribution):
        rng = Random(0)
        drawn = {as_key(distribution.sample(rng)) for _ in range(6000)}
        # What lies five standard deviations away is not waited for.
        rare = {as_key(value) for value in distribution.grid() if isinstance(distribution, Normal) and abs(value) > 3}
        assert drawn | rare == {as_key(value) for value in distribution.grid()}

    def test_optuna_reaches_the_whole_grid_and_nothing_else(self, distribution):
        grid = {as_key(value) for value in distribution.grid()}
        reached = {
            as_key(distribution.suggest(optuna.trial.FixedTrial({"x": distribution.to_optuna_value(value)}), "x"))
            for value in distribution.grid()
        }
        assert reached == grid


@pytest.mark.parametrize("distribution", CONTINUOUS, ids=repr)
def test_grid_of_a_continuous_range_says_how_to_make_it_finite(distribution):
    assert distribution.num_values is None
    with pytest.raises(SpecError, match=r"`step`.*`choice`"):
        distribution.grid()


def test_steps_are_round_decimals():
    assert Uniform(low=0, high=0.5, step=0.1).grid() == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def test_points_on_a_log_scale_are_round():
    assert LogUniform(low=1e-5, high=1e-2, num=4).grid() == (1e-5, 1e-4, 1e-3, 1e-2)


def test_step_that_does_not_divide_the_range_stops_below_high():
    assert Int(low=1, high=9, step=3).grid() == (1, 4, 7)


def test_num_values_of_a_range_are_equally_likely():
    rng = Random(0)
    counts = Counter(Uniform(low=0, high=1, num=3).sample(rng) for _ in range(3000))
    assert min(counts.values()) > 900


def test_log_uniform_spends_equal_shares_on_each_decade():
    rng = Random(0)
    values = [LogUniform(low=1e-4, high=1e-2).sample(rng) for _ in range(4000)]
    assert 0.47 < sum(value < 1e-3 for value in values) / 4000 < 0.53


def test_normal_keeps_its_shape_in_optuna():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = [Normal(mean=5, std=2).suggest(study.ask(), "x") for _ in range(500)]
    assert 0.62 < sum(3 < value < 7 for value in values) / 500 < 0.75


def test_median_of_a_normal_is_stored_as_one_half():
    assert Normal(mean=5, std=2).to_optuna_value(5) == pytest.approx(0.5)


def test_grid_that_is_far_too_large_is_refused():
    with pytest.raises(SpecError, match="1000000 values per parameter"):
        Int(low=1, high=10**9).grid()


def test_true_and_one_are_different_choices():
    choice = Choice(values=(True, 1))
    stored = [choice.to_optuna_value(value) for value in (True, 1)]
    assert [choice.from_optuna_value(value) for value in stored] == [True, 1]
    assert choice.from_optuna_value(stored[0]) is True


def test_scalar_choices_are_stored_as_they_are():
    assert Choice(values=("a", 2, None)).to_optuna().choices == ("a", 2, None)


def test_value_outside_the_choices_cannot_be_stored():
    with pytest.raises(SpecError, match="none of the choices"):
        Choice(values=(1, 2)).to_optuna_value(3)


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    num=st.integers(2, 40),
    seed=st.integers(0, 99),
)
def test_any_uniform_with_num_draws_from_its_grid(low, width, num, seed):
    distribution = Uniform(low=low, high=low + width, num=num)
    assert distribution.sample(Random(seed)) in distribution.grid()
    assert all(distribution.from_optuna_value(value) == value for value in distribution.grid())


@given(low=st.floats(1e-9, 1e3), factor=st.floats(1.01, 1e9), num=st.integers(2, 40), seed=st.integers(0, 99))
def test_any_log_uniform_with_num_draws_from_its_grid(low, factor, num, seed):
    distribution = LogUniform(low=low, high=low * factor, num=num)
    assert distribution.sample(Random(seed)) in distribution.grid()
    assert all(distribution.from_optuna_value(value) == value for value in distribution.grid())


@given(low=st.integers(-50, 50), steps=st.integers(1, 30), step=st.sampled_from([0.1, 0.05, 1 / 3, 1e-4, 2.5]))
def test_any_stepped_range_reaches_its_last_step(low, steps, step):
    distribution = Uniform(low=low, high=low + steps * step, step=step)
    assert len(distribution.grid()) == steps + 1
    assert all(distribution.contains(value) for value in distribution.grid())
    assert distribution.to_optuna().high == pytest.approx(distribution.grid()[-1])


# --- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Uniform, LogUniform, Int, LogInt])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": math.nan}, "`low` must be a finite number, but got nan"),
        ({"high": math.inf}, "`high` must be a finite number, but got inf"),
        ({"low": True}, "`low` must be a number, but got True"),
        ({"low": None}, "`low` must be a number, but got None"),
        ({"high": "many"}, "`high` must be a number, but got the text 'many'"),
        ({"low": 9}, "but both are 9"),
        ({"low": 10}, r"got low=10(\.0)?, high=9(\.0)?\. Exchange them"),
        ({"step": 0}, "`step > 0` must hold"),
        ({"step": -1}, "`step > 0` must hold"),
        ({"step": 100}, "Give a smaller `step`"),
        ({"step": True}, "`step` must be a number, but got True"),
        ({"num": 1}, "`2 <= num"),
        ({"num": 2.5}, "`num` must be a whole number"),
        ({"step": 1, "num": 2}, "either `step` or `num`"),
    ],
)
def test_bad_range_is_refused_with_the_reason(kind, given, message):
    with pytest.raises(SpecError, match=message):
        kind(**({"low": 1, "high": 9} | given))


@pytest.mark.parametrize(("kind", "plain"), [(LogUniform, "uniform"), (LogInt, "int")])
@pytest.mark.parametrize("low", [0, -1])
def test_log_scale_that_touches_zero_points_to_the_plain_kind(kind, plain, low):
    with pytest.raises(SpecError, match=f"needs `{plain}`"):
        kind(low=low, high=9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": 1, "high": 3, "num": 4}, "at most the 3 whole numbers"),
        ({"low": 0.5, "high": 3}, "`low` must be a whole number, but got 0.5"),
        ({"low": 1, "high": 3, "step": 0.5}, "`step` must be a whole number"),
        ({"low": 1, "high": 2**60}, r"at most 2\^53"),
    ],
)
def test_bad_whole_numbers_are_refused(given, message):
    with pytest.raises(SpecError, match=message):
        Int(**given)


def test_log_int_points_that_round_together_are_refused():
    with pytest.raises(SpecError, match="different whole numbers"):
        LogInt(low=1, high=10, num=9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "at least one value"),
        ("adamw", "needs a list"),
        ([1, 2, 1.0], "must differ"),
        ([{"a": 1}, {"a": 1}], "must differ"),
        ([math.nan], "finite"),
        ([{1: 2}], "keys in a choice must be texts"),
        ([object()], "Put it in quotes"),
    ],
)
def test_bad_choices_are_refused(values, message):
    with pytest.raises(SpecError, match=message):
        Choice(values=values)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"std": 0}, "`std > 0` must hold"),
        ({"std": math.nan}, "`std` must be a finite number"),
        ({"std": 1e308}, "must stay finite"),
        ({"low": 2, "high": 1}, "`low < high` must hold"),
        ({"low": 7}, "must leave some of the distribution"),
        ({"low": 5.5}, "must leave some of the distribution"),
        ({"step": 0}, "`step > 0`"),
        ({"step": 50}, "Give a smaller `step`"),
    ],
)
def test_bad_normal_is_refused(given, message):
    with pytest.raises(SpecError, match=message):
        Normal(**({"mean": 0, "std": 1} | given))


# --- the YAML form ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"log_uniform": ["1e-5", 1e-2]}, LogUniform(low=1e-5, high=1e-2)),
        ({"uniform": [0, 1], "step": "0.1"}, Uniform(low=0, high=1, step=0.1)),
        ({"int": [1, "1e3"], "step": 2}, Int(low=1, high=1000, step=2)),
        ({"log_int": [1, 64], "num": 7}, LogInt(low=1, high=64, num=7)),
        ({"choice": [None, [1], {"a": 2}]}, Choice(values=(None, [1], {"a": 2}))),
        ({"normal": [0, 1], "low": -2, "high": None}, Normal(mean=0, std=1, low=-2)),
    ],
)
def test_yaml_form_means_the_distribution(entry, expected):
    assert parse_distribution(entry, "space.x") == (expected, {})


def test_when_lists_the_allowed_values():
    _, when = parse_distribution({"int": [1, 2], "when": {"a.b": "lora", "c": [1, None]}}, "space.x")
    assert when == {"a.b": ("lora",), "c": (1, None)}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (0.1, r"belongs into its section `training`"),
        (None, r"belongs into its section `training`"),
        ([1, 2], r"write `\{choice: \[1, 2\]\}`"),
        ({}, "none is given. Known kinds: uniform, log_uniform"),
        ({"loguniform": [1, 2]}, "Did you mean `log_uniform`"),
        ({"int": [1, 2], "choice": [1]}, "one kind of distribution"),
        ({"int": [1, 2], "stepp": 1}, r"no option `stepp`\. Did you mean `step`"),
        ({"choice": [1, 2], "num": 2}, "`choice` has no option `num`"),
        ({"int": [1]}, r"needs two numbers, `\{int: \[low, high\]\}`"),
        ({"normal": 3}, r"needs two numbers, `\{normal: \[mean, std\]\}`"),
        ({"int": [1, 2], "when": "lora"}, "`when` needs paths"),
        ({"int": [1, 2], "when": {"a": []}}, "at least one value of `a`"),
        ({"int": [2, 1]}, "Exchange them"),
    ],
)
def test_bad_entry_is_refused_with_its_path(entry, message):
    with pytest.raises(SpecError, match=message) as caught:
        parse_distribution(entry, "space.training.lr")
    assert caught.value.path == "space.training.lr"

"""Scaling laws: their published values, and what they say of themselves."""

import pytest

from spaces.scaling_laws import SCALING_LAWS, Training, guesses

STEP, DEEPSEEK, KAPLAN = SCALING_LAWS
# One billion parameters and a hundred billion tokens: the largest training that the Step Law was tested on.
LARGE = Training(parameters=1_000_000_000, tokens=100_000_000_000)
TINY = Training(parameters=100_000, tokens=1_000_000)


def test_the_step_law_at_a_training_worked_out_by_hand() -> None:
    # 1.79 * 10^(-0.713 * 9 + 0.307 * 11) and 0.58 * 10^(0.571 * 11)
    assert STEP.learning_rate(LARGE) == pytest.approx(1.79 * 10**-3.04, rel=1e-6)
    assert STEP.batch_tokens is not None
    assert STEP.batch_tokens(LARGE) == pytest.approx(0.58 * 10**6.281, rel=1e-6)


def test_deepseek_s_law_gives_about_the_rate_and_batch_of_its_7b_model() -> None:
    # The paper trains 7B on 2T tokens with 4.2e-4 and a batch of 2304 sequences of 4096 tokens.
    found = Training(parameters=6_500_000_000, tokens=2_000_000_000_000)
    assert DEEPSEEK.batch_tokens is not None
    assert DEEPSEEK.learning_rate(found) == pytest.approx(4.2e-4, rel=0.1)
    assert DEEPSEEK.batch_tokens(found) == pytest.approx(2304 * 4096, rel=0.15)


def test_kaplan_s_rule_at_a_hundred_million_parameters() -> None:
    assert KAPLAN.learning_rate(Training(parameters=10**8, tokens=10**11)) == pytest.approx(6.69e-4, rel=0.01)


def test_a_law_that_was_fitted_on_such_a_training_comes_first() -> None:
    found = guesses(Training(parameters=10**8, tokens=1_300_000_000))
    assert found[0].law.name == "DeepSeek"
    assert [guess.is_extrapolated for guess in found] == [False, True, True]


def test_a_tiny_model_is_said_to_be_extrapolated() -> None:
    assert all(guess.is_extrapolated for guess in guesses(TINY))


def test_larger_models_get_smaller_rates() -> None:
    for law in SCALING_LAWS:
        assert law.learning_rate(LARGE) < law.learning_rate(Training(parameters=10**8, tokens=LARGE.tokens))


def test_a_law_without_a_positive_rate_has_nothing_to_say() -> None:
    # Kaplan's rule reaches zero beyond ten billion parameters, as the paper says.
    huge = Training(parameters=20_000_000_000, tokens=10**12)
    assert "Kaplan" not in [guess.law.name for guess in guesses(huge)]

import pytest

from spaces.redaction import REDACTED, is_secret_name, redact

SECRETS = """
    api_key apikey WANDB_API_KEY token hub_token push_to_hub_token password db-password
    secret client_secret aws_secret_access_key training.hub_token use_auth_token
"""
ORDINARY = """
    tokens max_tokens max_new_tokens num_input_tokens_seen tokenizer include_num_input_tokens_seen
    pad_token eos_token pad_token_id learning_rate key average_tokens_across_devices tokenize
"""


@pytest.mark.parametrize("name", SECRETS.split())
def test_a_secret_name_is_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ORDINARY.split())
def test_an_ordinary_name_is_no_secret(name: str) -> None:
    assert not is_secret_name(name)


def test_secrets_are_found_at_any_depth() -> None:
    document = {"training": {"hub_token": "abc", "steps": 3}, "data": [{"password": "x"}]}
    assert redact(document) == {
        "training": {"hub_token": REDACTED, "steps": 3},
        "data": [{"password": REDACTED}],
    }


def test_a_whole_section_under_a_secret_name_is_hidden() -> None:
    assert redact({"secret": {"user": "a"}}) == {"secret": REDACTED}


def test_an_unset_secret_stays_unset() -> None:
    assert redact({"hub_token": None}) == {"hub_token": None}


def test_the_given_document_stays_as_it_is() -> None:
    document = {"training": {"hub_token": "abc"}}
    redact(document)
    assert document == {"training": {"hub_token": "abc"}}

"""Where a cluster's token is looked for."""

from pathlib import Path

import pytest

from cluster.connect import ClusterError
from cluster.tokens import Token, find_token, missing_token, warning_of, wrong_token


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / ".ray").mkdir(parents=True)
    (tmp_path / "home" / ".ray" / "auth_token").write_text("from-home\n")
    return tmp_path / "home"


def test_tokens_are_found_in_the_order_in_which_ray_looks(home: Path, tmp_path: Path) -> None:
    (named := tmp_path / "named").write_text("from-option")
    (other := tmp_path / "other").write_text("from-path")
    environment = {"RAY_AUTH_TOKEN": "from-variable", "RAY_AUTH_TOKEN_PATH": str(other)}
    found = []
    for file, given in ((named, environment), (None, environment), (None, {"RAY_AUTH_TOKEN_PATH": str(other)})):
        found.append(find_token(file, environment=given, home=home))
    found.append(find_token(environment={}, home=home))
    assert [token.value for token in found if token] == ["from-option", "from-variable", "from-path", "from-home"]


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert find_token(environment={"RAY_AUTH_TOKEN": " "}, home=tmp_path) is None


@pytest.mark.parametrize("content", ["", "two words", "naïve"])
def test_what_is_no_token_is_refused_before_it_is_sent(content: str, tmp_path: Path) -> None:
    (file := tmp_path / "token").write_text(content)
    with pytest.raises(ClusterError, match=r"token file is empty|is no token"):
        find_token(file)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="No such file"):
        find_token(environment={"RAY_AUTH_TOKEN_PATH": str(tmp_path / "gone")}, home=tmp_path)


def test_no_message_and_no_text_form_shows_a_token(tmp_path: Path) -> None:
    token = Token(value="s3cret", source="environment variable RAY_AUTH_TOKEN")
    shown = f"{token} {token!r} {wrong_token('http://h', token)} {missing_token('http://h')}"
    assert "s3cret" not in shown
    assert "RAY_AUTH_TOKEN" in shown


def test_a_token_that_others_can_read_is_noticed(home: Path) -> None:
    file = home / ".ray" / "auth_token"
    file.chmod(0o644)
    token = find_token(environment={}, home=home)
    assert token is not None
    assert warning_of(token) == f"other users of this machine can read the cluster's token: chmod 600 {file}"
    file.chmod(0o600)
    assert warning_of(token) is None
    assert warning_of(Token(value="x", source="environment")) is None

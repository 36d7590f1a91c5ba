"""Tokens of a service: the team's and those of single people."""

from pathlib import Path

import pytest

from cluster.connect import ClusterError
from cluster.visitors import Doorkeeper, Visitor, read_tokens


def test_a_file_holds_tokens_of_the_team_and_of_people(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("# ours\nteam-token\n\nann anns-token   # since May\n")
    doorkeeper = read_tokens(tmp_path / "tokens")
    assert doorkeeper.visitor("Bearer team-token") == Visitor(user=None)
    assert doorkeeper.visitor("bearer anns-token") == Visitor(user="ann")
    assert doorkeeper.visitor("Bearer ann") is None
    assert "token" not in repr(doorkeeper).removeprefix("Doorkeeper")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic team-token", "team-token"])
def test_a_header_without_a_token_is_no_wrong_token(header: str | None) -> None:
    with pytest.raises(LookupError):
        Doorkeeper(tokens=((None, "team-token"),)).visitor(header)


def test_letters_beyond_ascii_are_a_wrong_token_and_no_crash() -> None:
    assert Doorkeeper(tokens=((None, "team-token"),)).visitor("Bearer töken") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "holds no token"), ("# none\n", "holds no token"), ("a b c\n", "line 1: a line is a token")],
)
def test_a_file_without_tokens_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(ClusterError, match=words):
        read_tokens(tmp_path / "tokens")


def test_who_speaks_for_themselves_changes_their_own_only() -> None:
    ann, team = Visitor(user="ann"), Visitor(user=None)
    assert (ann.speaks_as("bob"), team.speaks_as("bob")) == ("ann", "bob")
    assert (ann.may_change_what_is_of("bob"), team.may_change_what_is_of("bob")) == (False, True)

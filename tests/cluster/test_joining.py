"""Why a cluster cannot be joined, said at once and in words that help."""

import socket
from collections.abc import Iterator

import pytest

from cluster.errors import ClusterError
from cluster.joining import check_address, explain_refusal
from spaces.errors import SpecError


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_what_can_be_joined_is_let_through(listening: int) -> None:
    check_address("auto")
    check_address(f"127.0.0.1:{listening}")


def test_where_nobody_listens_is_known_within_seconds(listening: int) -> None:
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at `127\.0\.0\.1:9`: connection refused"):
        check_address("127.0.0.1:9")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ray://head:10001", r"does not run over Ray Client.*submit SPEC --address http://head:8265"),
        ("http://head:8265", r"`tunesmith submit SPEC --address http://head:8265`"),
        ("head", r"`auto` or `HOST:PORT`"),
        ("head:port", r"`auto` or `HOST:PORT`"),
    ],
)
def test_other_kinds_of_addresses_say_what_to_do_instead(address: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        check_address(address)


# What Ray 2.60 says, as it was seen.
@pytest.mark.parametrize(
    ("address", "reason", "words"),
    [
        ("auto", "Could not find any running Ray instance. Please specify", "no Ray runs on this"),
        (
            "h:6379",
            "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\nThis process",
            "runs other versions: The cluster was started with: Ray: 2.60.0 Python: 3.12.1",
        ),
        ("h:6379", "RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty: /x. Ensure", "asks for a token"),
        ("h:6379", "Failed to connect to Ray cluster at 192.0.2.2:6395", "does not take this process in. Perhaps"),
        ("h:6379", "15", "does not take this process in. Perhaps"),
        ("h:6379", "something new", "cannot join the Ray cluster at `h:6379`: something new"),
    ],
)  # fmt: skip
def test_a_refusal_is_explained(address: str, reason: str, words: str) -> None:
    assert words in explain_refusal(address, reason, has_token=True)

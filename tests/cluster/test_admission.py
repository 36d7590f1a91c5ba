"""Whether a head takes us in is known at once, and without Ray: asked of servers that speak as a head does."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from cluster.admission import check_admission
from cluster.errors import ClusterError
from cluster.tokens import Token

RIGHT = Token(value="right", source="--token-file token")
WRONG = Token(value="wrong", source="environment variable RAY_AUTH_TOKEN")


class _Head(grpc.GenericRpcHandler):
    """Answers as Ray 2.60 was seen to."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        given = dict(details.invocation_metadata).get("authorization")
        assert details.method == "/ray.rpc.NodeInfoGcsService/GetClusterId"

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            if given != "Bearer right":
                words = "InvalidAuthToken: Authentication token is missing or incorrect"
                context.abort(grpc.StatusCode.UNAUTHENTICATED, words)
            return b"\n\x00"

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def head() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[_Head()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture
def web_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_token_is_told_right_from_wrong_and_missing(head: str) -> None:
    check_admission(head, RIGHT, environment={})
    with pytest.raises(ClusterError, match=r"does not accept the token from environment variable RAY_AUTH_TOKEN\."):
        check_admission(head, WRONG, environment={})
    with pytest.raises(ClusterError, match="asks for a token, and there is none here"):
        check_admission(head, None, environment={})


def test_the_answer_comes_within_a_second(head: str) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError):
        check_admission(head, WRONG, environment={})
    assert time.monotonic() - began < 1.0


def test_a_web_server_is_no_head(web_server: str) -> None:
    with pytest.raises(ClusterError, match="is no head of a Ray cluster"):
        check_admission(web_server, RIGHT, environment={})


@pytest.mark.parametrize("named_by", ["environment", "note"])
def test_auto_asks_the_cluster_of_this_machine(head: str, tmp_path: Path, named_by: str) -> None:
    environment = {"RAY_TMPDIR": str(tmp_path)}
    if named_by == "environment":
        environment["RAY_ADDRESS"] = head
    else:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(f"{head}\n")
    check_admission("auto", RIGHT, environment=environment)
    with pytest.raises(ClusterError, match=f"{head} does not accept"):
        check_admission("auto", WRONG, environment=environment)


UNKNOWN: dict[str, Callable[[str], tuple[str, dict[str, str]]]] = {
    "nobody listens": lambda head: ("127.0.0.1:9", {}),
    "no cluster is noted here": lambda head: ("auto", {"RAY_TMPDIR": "/nowhere"}),
    "a client's address": lambda head: ("auto", {"RAY_ADDRESS": "ray://head:10001"}),
    "it is asked with TLS": lambda head: (head, {"RAY_USE_TLS": "1"}),
}


@pytest.mark.parametrize("case", UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_asked_is_left_to_ray(
    case: Callable[[str], tuple[str, dict[str, str]]], head: str
) -> None:  # fmt: skip
    address, environment = case(head)
    check_admission(address, WRONG, environment=environment)

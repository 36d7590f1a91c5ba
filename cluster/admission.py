"""Whether the head of a cluster would take this process in: one question with our token, answered at once. Ray itself
asks for half a minute, line by line on standard error, and says in the end that it could not connect.

Knows nothing of what comes after. Imports no ray.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import ClusterError
from cluster.tokens import Token, wrong_token

_QUESTION = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_TIMEOUT_SECONDS = 5.0
_NO_RAY = ("http1.x", "Failed parsing HTTP/2", "UNIMPLEMENTED")
_CURRENT = Path("ray") / "ray_current_cluster"
"""Where `ray start` notes the address of the cluster that a machine belongs to."""


def check_admission(address: str, token: Token | None, *, environment: Mapping[str, str] = os.environ) -> None:
    """Ask the head at `address` (`HOST:PORT`; `auto` is the one of this machine). Where it does not answer, or is asked
    with TLS, it is for Ray to find out.

    Raises:
        ClusterError: it wants a token, or another one; or what answers is no head.
    """
    place = _head_here(environment) if address == "auto" else address
    if not place or "://" in place or environment.get("RAY_USE_TLS", "0") not in ("", "0"):
        return
    import grpc

    headers = (("authorization", token.headers["Authorization"]),) if token else ()
    try:
        with grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)]) as channel:
            channel.unary_unary(_QUESTION)(b"", metadata=headers, timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise _missing_token(place) if token is None else wrong_token(place, token) from None
        if any(words in (error.details() or "") for words in _NO_RAY) or error.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise ClusterError(
                f"what answers at `{place}` is no head of a Ray cluster. A head listens at port 6379, unless `ray "
                "start --port` said otherwise; its dashboard is another port, for `tunesmith submit`."
            ) from None


def _head_here(environment: Mapping[str, str]) -> str:
    """The cluster of this machine, as Ray looks for it first; empty where there is no word of one."""
    if found := environment.get("RAY_ADDRESS", ""):
        return "" if found in ("auto", "local") else found
    try:
        return (Path(environment.get("RAY_TMPDIR", "/tmp")) / _CURRENT).read_text("utf-8").strip()
    except OSError:
        return ""


def _missing_token(address: str) -> ClusterError:
    return ClusterError(
        f"the cluster at {address} asks for a token, and there is none here: `RAY_AUTH_TOKEN_PATH` names the file with "
        "it; `ray get-auth-token` on the head shows it."
    )

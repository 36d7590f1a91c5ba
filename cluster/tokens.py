"""The token that a Ray cluster asks for: where it is looked for, and what to do when it is missing or wrong.

Knows the order in which Ray itself looks; knows no ray and sends nothing.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import ClusterError

_VALUE, _FILE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_DEFAULT_FILE = Path(".ray") / "auth_token"
_WHERE_TO_GET_IT = (
    "Whoever runs the cluster has it: `ray get-auth-token` on its head, or on Kubernetes "
    "`kubectl get secret CLUSTER --template='{{.data.auth_token | base64decode}}'`."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A cluster's token. Its value is never printed."""

    value: str = field(repr=False)
    """The secret."""
    source: str
    """Where it was found, for messages."""
    file: Path | None = None
    """The file that holds it."""

    @property
    def headers(self) -> dict[str, str]:
        """What an HTTP request carries."""
        return {"Authorization": f"Bearer {self.value}"}


def find_token(
    file: Path | None = None, *, environment: Mapping[str, str] = os.environ, home: Path | None = None
) -> Token | None:
    """The token, or None where there is none: from `file`, then as Ray looks for it.

    Raises:
        ClusterError: a file that was named cannot be read, holds no token, or one that cannot be sent.
    """
    if file is not None:
        return _from_file(file, named_by=f"--token-file {file}")
    if value := environment.get(_VALUE, "").strip():
        return _checked(value, source=f"environment variable {_VALUE}")
    if place := environment.get(_FILE):
        return _from_file(Path(place), named_by=f"{_FILE}={place}")
    default = (home or Path.home()) / _DEFAULT_FILE
    if default.is_file():
        return _from_file(default, named_by=str(default))
    return None


def warning_of(token: Token) -> str | None:
    """What a person should know: Ray writes its token so that all users of the machine can read it."""
    if token.file is None or not token.file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return None
    return f"other users of this machine can read the cluster's token: chmod 600 {token.file}"


def missing_token(address: str) -> ClusterError:
    """The cluster wants a token, and none was sent."""
    return ClusterError(
        f"the cluster at {address} asks for a token, and there is none here: looked at --token-file, {_VALUE}, "
        f"{_FILE} and ~/{_DEFAULT_FILE}. {_WHERE_TO_GET_IT}"
    )


def wrong_token(address: str, token: Token) -> ClusterError:
    """The cluster does not accept the token that was sent."""
    return ClusterError(f"the cluster at {address} does not accept the token from {token.source}. {_WHERE_TO_GET_IT}")


def _from_file(file: Path, *, named_by: str) -> Token:
    try:
        value = file.expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ClusterError(f"cannot read the token that {named_by} names: {reason}.") from None
    if not value:
        raise ClusterError(f"the token file is empty ({named_by}). {_WHERE_TO_GET_IT}")
    return _checked(value, source=named_by, file=file.expanduser())


def _checked(value: str, *, source: str, file: Path | None = None) -> Token:
    if not value.isascii() or any(letter.isspace() for letter in value):
        raise ClusterError(f"what {source} holds is no token: a token is one line of letters and digits.")
    return Token(value=value, source=source, file=file)

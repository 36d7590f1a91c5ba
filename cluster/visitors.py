"""Who may speak to a service, and as whom: bearer tokens, one for all or one a person. Knows no HTTP."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import ClusterError

_SCHEME = "bearer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Visitor:
    """Somebody with a token."""

    user: str | None
    """Whose token it is. None: the team's, whose holders say their names themselves and may do everything."""

    def speaks_as(self, claimed: str) -> str:
        """The name that counts."""
        return self.user or claimed

    def may_change_what_is_of(self, user: str) -> bool:
        """Whether a search of `user` is theirs to change."""
        return self.user is None or self.user == user


@dataclass(frozen=True, kw_only=True, slots=True)
class Doorkeeper:
    """Knows all tokens."""

    tokens: Sequence[tuple[str | None, str]] = field(repr=False)
    """User, or None for the team's, and token."""

    def visitor(self, authorization: str | None) -> Visitor | None:
        """Who sends this `Authorization` header; None when the token is none of ours.

        Raises:
            LookupError: there is no token in it.
        """
        scheme, _, sent = (authorization or "").partition(" ")
        if scheme.lower() != _SCHEME or not sent.strip():
            raise LookupError("no token")
        found = None
        for user, token in self.tokens:  # all of them, so that the time tells nothing
            if hmac.compare_digest(sent.strip().encode(), token.encode()):
                found = Visitor(user=user)
        return found


def read_tokens(file: Path) -> Doorkeeper:
    """From a file: a line is a token for the whole team, or `NAME TOKEN`. `#` begins a remark.

    Raises:
        ClusterError: it cannot be read, or holds none.
    """
    try:
        lines = file.expanduser().read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ClusterError(f"cannot read the service's tokens from {file}: {reason}.") from None
    tokens: list[tuple[str | None, str]] = []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if len(words) > 2:
            raise ClusterError(f"{file}, line {number}: a line is a token, or a name and a token.")
        if words:
            tokens.append((words[0] if len(words) == 2 else None, words[-1]))
    if not tokens:
        raise ClusterError(f"{file} holds no token.")
    return Doorkeeper(tokens=tuple(tokens))

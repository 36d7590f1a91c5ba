"""The queue's API from outside: one method a request, errors in our words. Knows no ray."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cluster.errors import ClusterError
from cluster.jobs import checked_address
from cluster.tokens import Token
from spaces.errors import SpecError
from spaces.store import is_store

if TYPE_CHECKING:
    from search.submission import Submission

_TIMEOUT_SECONDS = 60.0


class QueueClient:
    """Speaks to one queue."""

    def __init__(self, address: str, token: Token | None) -> None:
        self.address = checked_address(address)
        self._token = token

    def hand_in(
        self, submission: "Submission", *, place: Path, overrides: list[str], priority: int, user: str, checks: bool,
        environment: list[str], secret_files: list[str],
    ) -> dict[str, Any]:  # fmt: skip
        """Hand in a search that was prepared here."""
        bundle = submission.bundle
        body: dict[str, Any] = {
            "files": {str(name): base64.b64encode((bundle.root / name).read_bytes()).decode() for name in bundle.names},
            "overrides": overrides,
            "resume": submission.resumes,
            "action": list(submission.action),
            "environment": environment,
            "secret_files": secret_files,
            "priority": priority,
            "user": user,
            "check": checks,
        }
        if place.is_dir() or is_store(place):
            body["directory"] = submission.directory
        else:
            body["spec_file"] = (place.absolute().parent.resolve() / place.name).relative_to(bundle.root).as_posix()
        return dict(self._ask("POST", "/searches", body))

    def searches(self, *, active: bool) -> list[dict[str, Any]]:
        """The queue."""
        return list(self._ask("GET", f"/searches?active={str(active).lower()}"))

    def search(self, name: str) -> dict[str, Any]:
        """One search."""
        return dict(self._ask("GET", f"/searches/{quote(name, safe='')}"))

    def cancel(self, name: str) -> dict[str, Any]:
        """Take it out of the queue, or stop it."""
        return dict(self._ask("DELETE", f"/searches/{quote(name, safe='')}"))

    def bump(self, name: str, priority: int | None) -> dict[str, Any]:
        """Move it up."""
        return dict(self._ask("POST", f"/searches/{quote(name, safe='')}/bump", {"priority": priority}))

    def quotas(self) -> dict[str, dict[str, float | None]]:
        """All quotas."""
        return dict(self._ask("GET", "/quotas"))

    def set_quota(self, user: str, quota: Mapping[str, float | None]) -> dict[str, float | None]:
        """Set one."""
        return dict(self._ask("PUT", f"/quotas/{quote(user, safe='')}", dict(quota)))

    def remove_quota(self, user: str) -> None:
        """Remove one."""
        self._ask("DELETE", f"/quotas/{quote(user, safe='')}")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        import requests

        headers = self._token.headers if self._token is not None else {}
        try:
            answer = requests.request(
                method, f"{self.address}{path}", json=body, headers=headers, timeout=_TIMEOUT_SECONDS
            )
        except requests.exceptions.RequestException as error:
            reason = "connection refused" if "refused" in str(error) else type(error).__name__
            raise ClusterError(
                f"no queue answers at {self.address}: {reason}. Is one kept (`tunesmith queue start`)? It listens on "
                "the head only; a tunnel: `ssh -L 8270:localhost:8270 HEAD`."
            ) from None
        if not answer.ok:
            raise self._refusal(answer.status_code, answer)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise self._is_no_queue(answer.status_code) from None

    def _is_no_queue(self, status: int) -> ClusterError:
        return ClusterError(f"what answers at {self.address} is no queue (status {status}).")

    def _refusal(self, status: int, answer: Any) -> Exception:
        try:
            detail = answer.json()["detail"]
        except (ValueError, KeyError, TypeError):
            return self._is_no_queue(status)
        if status == 401:
            return ClusterError(
                f"the queue at {self.address} asks for a token: `--token-file`, or RAY_AUTH_TOKEN_PATH."
            )
        if status == 403 and self._token is not None and "does not know" in str(detail):
            return ClusterError(f"the queue at {self.address} does not know the token from {self._token.source}.")
        if not isinstance(detail, list):
            return SpecError(str(detail))
        first = detail[0]
        if "message" in first:
            return SpecError(first["message"], path=first["path"], line=first["line"])
        return SpecError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

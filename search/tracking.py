"""The report stream -> W&B: one run a trial, one for the search.

W&B is a copy, and `history.jsonl` is the truth. All calls go through an unbounded queue to one background
thread, so the search never waits for W&B and never dies with it.
"""

import contextlib
import logging
import netrc
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from analysis.records import SearchRecord
from search.spec import WandbConfig
from search.tracker import NOTHING, NullTracker, Row, RunFacts, SearchIdentity, Tracker, TrainedModel
from search.wandb_folders import sync_command
from search.wandb_runs import ERROR, STATE, SearchRuns
from spaces.errors import SpecError

log = logging.getLogger(__name__)

INIT_TIMEOUT_SECONDS = 20.0
FINISH_TIMEOUT_SECONDS = 60.0
QUEUE_TIMEOUT_SECONDS = 60.0


def make_tracker(tracking: WandbConfig, identity: SearchIdentity, facts: RunFacts | None = None) -> Tracker:
    """The tracker that a spec asks for.

    Raises:
        SpecError: online without an API key.
    """
    if tracking.mode == "disabled":
        return NullTracker()
    check_credentials(tracking)
    return WandbTracker(tracking, identity, facts or RunFacts())


def check_credentials(tracking: WandbConfig) -> None:
    """Whether runs can be sent as the spec asks. Asks no server.

    Raises:
        SpecError: online without an API key.
    """
    if tracking.mode == "online" and not has_credentials():
        raise SpecError(
            "`online` needs an API key, and there is none: run `wandb login`, set WANDB_API_KEY, "
            "or use `mode: offline`.",
            path="tracking.wandb.mode",
        )


class WandbTracker:
    """Hands every call to the thread that writes runs."""

    def __init__(
        self,
        tracking: WandbConfig,
        identity: SearchIdentity,
        facts: RunFacts,
        *,
        init_timeout_seconds: float = INIT_TIMEOUT_SECONDS,
        finish_timeout_seconds: float = FINISH_TIMEOUT_SECONDS,
        queue_timeout_seconds: float = QUEUE_TIMEOUT_SECONDS,
    ) -> None:
        self._runs = SearchRuns(tracking, identity, facts, init_timeout_seconds, finish_timeout_seconds)
        self._directory = identity.directory
        self._close_timeout_seconds = queue_timeout_seconds + finish_timeout_seconds
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wandb-tracker", daemon=True)
        self._has_started = False

    def start_search(self, config: Mapping[str, Any], *, summary: Mapping[str, Any] = NOTHING) -> None:
        self._later(lambda: self._runs.start(None, config, (), summary))

    def start_trial(
        self,
        number: int,
        document: Mapping[str, Any],
        *,
        history: Sequence[Row],
        summary: Mapping[str, Any] = NOTHING,
    ) -> None:
        rows = list(history)
        self._later(lambda: self._runs.start(number, document, rows, summary))

    def log_rows(self, number: int, rows: Sequence[Row]) -> None:
        rows = list(rows)
        self._later(lambda: self._runs.log(number, rows))

    def log_samples(self, number: int, samples: Sequence[Mapping[str, str]]) -> None:
        entries = list(samples)
        self._later(lambda: self._runs.log_table(number, "samples", entries))

    def end_trial(self, number: int, *, state: str, summary: Mapping[str, Any], error: str | None) -> None:
        values = {**summary, STATE: state, ERROR: error}
        self._later(lambda: self._runs.end(number, values, exit_code=int(state == "FAIL")))

    def end_search(self, record: SearchRecord, summary: Mapping[str, Any]) -> None:
        self._later(lambda: self._runs.show_results(record, summary))

    def log_model(self, model: TrainedModel) -> None:
        self._later(lambda: self._runs.log_model(model))

    def close(self, *, interrupted: bool = False) -> None:
        if not self._has_started:
            return
        deadline = time.monotonic() + self._close_timeout_seconds
        self._later(lambda: self._runs.end_all(interrupted=interrupted))
        self._calls.put(None)
        self._thread.join(self._close_timeout_seconds)
        if self._thread.is_alive() or not self._runs.wait_until(deadline):
            log.warning("W&B took more than %.0f s to end; history.jsonl has every row.", self._close_timeout_seconds)

    def pending(self) -> list[str]:
        return [str(directory) for directory in self._runs.pending()]

    @property
    def sync_command(self) -> str | None:
        return sync_command(self._directory) if self._runs.pending() else None

    def _later(self, call: Callable[[], None]) -> None:
        if not self._has_started:
            self._has_started = True
            self._thread.start()
        self._calls.put(call)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if self._runs.mode == "disabled":
                continue
            try:
                call()
            except Exception as error:  # whatever W&B does, the search goes on
                self._runs.give_up()
                log.warning("W&B tracking ends here, the search goes on: %s: %s", type(error).__name__, error)
                with contextlib.suppress(Exception):
                    self._runs.end_all(interrupted=True)


def has_credentials() -> bool:
    """Whether the client finds a key. Asks no server."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import wandb

    settings = wandb.setup(wandb.Settings(silent=True)).settings
    if settings.api_key:
        return True
    host = urlsplit(settings.base_url).netloc
    try:
        return netrc.netrc(os.environ.get("NETRC") or None).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False

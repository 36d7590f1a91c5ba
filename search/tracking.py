"""The report stream -> W&B: one run a trial, one for the search. The only file of `search` that knows wandb.

W&B is a copy, and `history.jsonl` is the truth. All calls go through an unbounded queue to one background
thread, so the search never waits for W&B and never dies with it. Row k of a trial's history is step k of its
run: a resumed run is sent the rows it misses, and no row twice.
"""

import contextlib
import json
import logging
import netrc
import os
import queue
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from search.spec import WandbConfig
from search.tracker import NullTracker, Row, SearchIdentity, Tracker
from search.wandb_folders import OFF, mark_as_sent, remove_superseded, sync_command, unsent
from spaces.errors import SpecError
from spaces.redaction import redact
from spaces.reports import Scalar

log = logging.getLogger(__name__)

Mode = Literal["offline", "online", "disabled"]

INIT_TIMEOUT_SECONDS = 20.0
OFFLINE_INIT_TIMEOUT_SECONDS = 120.0
FINISH_TIMEOUT_SECONDS = 60.0
QUEUE_TIMEOUT_SECONDS = 60.0
STEP_AXIS = "progress/step"
STATE = "tunesmith/state"
ERROR = "tunesmith/error"


def make_tracker(tracking: WandbConfig, identity: SearchIdentity) -> Tracker:
    """The tracker that a spec asks for.

    Raises:
        SpecError: online without an API key.
    """
    if tracking.mode == "disabled":
        return NullTracker()
    if tracking.mode == "online" and not _has_credentials():
        raise SpecError(
            "`online` needs an API key, and there is none: run `wandb login`, set WANDB_API_KEY, "
            "or use `mode: offline`.",
            path="tracking.wandb.mode",
        )
    return WandbTracker(tracking, identity)


class WandbTracker:
    """Hands every call to the thread that writes runs."""

    def __init__(
        self,
        tracking: WandbConfig,
        identity: SearchIdentity,
        *,
        init_timeout_seconds: float = INIT_TIMEOUT_SECONDS,
        finish_timeout_seconds: float = FINISH_TIMEOUT_SECONDS,
        queue_timeout_seconds: float = QUEUE_TIMEOUT_SECONDS,
    ) -> None:
        self._runs = _Runs(tracking, identity, init_timeout_seconds, finish_timeout_seconds)
        self._close_timeout_seconds = queue_timeout_seconds + finish_timeout_seconds
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="wandb-tracker", daemon=True)
        self._has_started = False

    def start_search(self, config: Mapping[str, Any]) -> None:
        self._later(lambda: self._runs.start(None, config, ()))

    def start_trial(self, number: int, document: Mapping[str, Any], *, history: Sequence[Row]) -> None:
        rows = list(history)
        self._later(lambda: self._runs.start(number, document, rows))

    def log_rows(self, number: int, rows: Sequence[Row]) -> None:
        rows = list(rows)
        self._later(lambda: self._runs.log(number, rows))

    def log_samples(self, number: int, samples: Sequence[Mapping[str, str]]) -> None:
        entries = list(samples)
        self._later(lambda: self._runs.log_table(number, "samples", entries))

    def end_trial(self, number: int, *, state: str, summary: Mapping[str, Any], error: str | None) -> None:
        values = {**summary, STATE: state, ERROR: error}
        self._later(lambda: self._runs.end(number, values, exit_code=int(state == "FAIL")))

    def end_search(self, leaderboard: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
        entries = list(leaderboard)
        self._later(lambda: self._runs.summarise(entries, summary))

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
        return sync_command(self._runs.pending())

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
                self._runs.mode = "disabled"
                log.warning("W&B tracking ends here, the search goes on: %s: %s", type(error).__name__, error)
                with contextlib.suppress(Exception):
                    self._runs.end_all(interrupted=True)


# --- what happens in the background thread ---------------------------------------------------------------


@dataclass
class _LiveRun:
    """A run that takes rows."""

    run: Any
    id: str
    next_step: int
    """First step that W&B does not have."""
    num_rows: int = 0
    """Rows of the history handed over so far; below `next_step` when W&B has more."""


@dataclass
class _Runs:
    """The runs of a search. Used by one thread; each finish, which may wait for the server, has its own."""

    tracking: WandbConfig
    identity: SearchIdentity
    init_timeout_seconds: float
    finish_timeout_seconds: float
    live: dict[int | None, _LiveRun] = field(default_factory=dict)
    finishing: dict[int | None, threading.Thread] = field(default_factory=dict)
    mode: Mode = "disabled"

    def __post_init__(self) -> None:
        self.mode = self.tracking.mode

    @property
    def folder(self) -> Path:
        return self.identity.directory / "wandb"

    def start(self, number: int | None, config: Mapping[str, Any], history: Iterable[Row]) -> None:
        if number in self.finishing:  # a trial that is tried again: its id is taken until then
            self.finishing.pop(number).join()
        if number not in self.live:
            self.live[number] = self._open(number, redact(config))
        self.live[number].num_rows = 0
        self.log(number, history)

    def log(self, number: int | None, rows: Iterable[Row]) -> None:
        live = self.live[number]
        for row in rows:
            if live.num_rows >= live.next_step:
                live.run.log(_named(row), step=live.num_rows, commit=True)
                live.next_step = live.num_rows + 1
            live.num_rows += 1

    def summarise(self, leaderboard: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
        if leaderboard:
            self.log_table(None, "leaderboard", [_flat(entry) for entry in leaderboard])
        self.live[None].run.summary.update(_without_none(summary))

    def log_table(self, number: int | None, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        import wandb

        columns = list(dict.fromkeys(column for row in rows for column in row))
        cells = [[row.get(column) for column in columns] for row in rows]
        table = wandb.Table(columns=columns, data=cells, allow_mixed_types=True)
        self.live[number].run.log({name: table})

    def end(self, number: int | None, summary: Mapping[str, Any], *, exit_code: int) -> None:
        live = self.live.pop(number)
        live.run.summary.update(_without_none(summary))
        thread = threading.Thread(target=self._finish, args=(live, exit_code), name=f"finish-{live.id}", daemon=True)
        self.finishing[number] = thread
        thread.start()

    def end_all(self, *, interrupted: bool) -> None:
        for number, live in list(self.live.items()):
            if number is None and not interrupted:
                self.end(number, {STATE: "COMPLETE"}, exit_code=0)
            else:
                live.run.mark_preempting()  # W&B then shows `preempted`, not `failed`
                self.end(number, {}, exit_code=1)

    def wait_until(self, deadline: float) -> bool:
        """Whether all runs have finished by then."""
        for thread in list(self.finishing.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self.finishing.values())

    def pending(self) -> list[Path]:
        return unsent(self.folder)

    def _open(self, number: int | None, config: dict[str, Any]) -> _LiveRun:
        run_id = self.identity.run_id(number)
        facts = {
            "name": self.identity.run_name(number),
            "job_type": self.identity.job_type(number),
            "config": config,
        }
        run = self._init(run_id, facts)
        run.define_metric("*", step_metric=STEP_AXIS)
        run.summary[STATE] = "RUNNING"
        return _LiveRun(run=run, id=run_id, next_step=run.starting_step)

    def _init(self, run_id: str, facts: dict[str, Any]) -> Any:
        import wandb

        common: dict[str, Any] = {
            "project": self.tracking.project,
            "entity": self.tracking.entity,
            "group": self.identity.group,
            "tags": self.tracking.tags,
            "dir": self.identity.directory,
            "reinit": "create_new",
            "settings": _settings(self.init_timeout_seconds, self.finish_timeout_seconds),
            **facts,
        }
        if self.mode == "online" and self._reach_server():
            try:
                return wandb.init(id=run_id, mode="online", resume="allow", **common)
            except Exception as error:
                self._go_offline(error, note=f" (with `--id {run_id}` for `*{run_id}{OFF}`)")
                run_id += OFF  # an id whose init failed stays taken in this process
        # No server answers late here, only a busy machine: giving up would leave the run without its rows.
        patient = max(self.init_timeout_seconds, OFFLINE_INIT_TIMEOUT_SECONDS)
        common["settings"] = _settings(patient, self.finish_timeout_seconds)
        return wandb.init(id=run_id, mode="offline", **common)

    def _reach_server(self) -> bool:
        """Whether the server answers. Asked before each init, because an init that fails spoils its run id."""
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        try:
            return wandb.Api(timeout=max(1, round(self.init_timeout_seconds))).viewer is not None
        except Exception as error:
            self._go_offline(error)
            return False

    def _go_offline(self, error: Exception, *, note: str = "") -> None:
        self.mode = "offline"
        log.warning(
            "W&B cannot be used (%s). The search goes on and writes new runs to disk; send them later by `%s`%s.",
            str(error).strip() or type(error).__name__,
            f"wandb sync {shlex.quote(str(self.folder))}/offline-run-*",
            note,
        )

    def _finish(self, live: _LiveRun, exit_code: int) -> None:
        directory = Path(live.run.settings.sync_dir)
        try:
            live.run.finish(exit_code=exit_code)
        except Exception as error:
            log.warning("W&B did not take all of run %s, kept in %s: %s", live.id, directory, error)
            return
        if live.run.settings.mode != "offline":
            mark_as_sent(directory)
        remove_superseded(self.folder, live.id, by=directory)  # their rows are in this run, too


# --- details ---------------------------------------------------------------------------------------------


def _settings(init_timeout_seconds: float, finish_timeout_seconds: float) -> Any:
    """Settings of a driver: silent, quick, and at most a second of rows lost when it is killed."""
    import wandb

    return wandb.Settings(
        console="off",
        silent=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        x_transaction_log_flush_interval=1.0,
        init_timeout=init_timeout_seconds,
        finish_timeout=finish_timeout_seconds,
        finish_timeout_raises=True,
    )


def _has_credentials() -> bool:
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


def _named(row: Row) -> dict[str, Scalar]:
    """A row under the names that W&B shows: `step` is `progress/step`, metrics keep theirs."""
    return {name if "/" in name else f"progress/{name}": value for name, value in row.items() if value is not None}


def _flat(entry: Mapping[str, Any]) -> dict[str, Scalar]:
    """A leaderboard entry as table cells: a column for each parameter, lists as JSON text."""
    cells: dict[str, Scalar] = {}
    for name, value in entry.items():
        if isinstance(value, Mapping):
            cells |= _flat(value)
        else:
            cells[name] = json.dumps(value) if isinstance(value, list | tuple) else value
    return cells


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}

"""The report stream -> W&B: one run a trial and one for the search. The only file of `search` that knows wandb.

W&B is a copy, and `history.jsonl` is the truth. All calls go through an unbounded queue to one background thread, so
the search never waits for W&B and never dies with it. Row k of a trial's history is step k of its run: a resumed run
is sent the rows it misses, and no row twice.
"""

import json
import logging
import netrc
import os
import queue
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from search.spec import WandbConfig
from spaces.errors import SpecError
from spaces.redaction import redact
from spaces.reports import Scalar

log = logging.getLogger(__name__)

Row = Mapping[str, Scalar]
"""One line of history.jsonl: `step`, `epoch`, `tokens` and metrics by name, such as `train/loss`."""
Mode = Literal["offline", "online", "disabled"]

INIT_TIMEOUT_SECONDS = 20.0
FINISH_TIMEOUT_SECONDS = 60.0
QUEUE_TIMEOUT_SECONDS = 60.0
STEP_AXIS = "progress/step"
STATE = "tunesmith/state"
ERROR = "tunesmith/error"
_OFF = "-off"


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchIdentity:
    """What W&B runs of one search have in common."""

    name: str
    """Name of the search; the runs' group."""
    fingerprint: str
    """Its first twelve characters begin each run id."""
    directory: Path
    """The search's folder. Runs lie in `wandb/` below it."""

    def run_id(self, number: int | None) -> str:
        """The id of a trial's run, or of the search's own for None. The same after every resume."""
        return f"{self.fingerprint[:12]}-{'search' if number is None else f'{number:04d}'}"


class Tracker(Protocol):
    """Shows a search elsewhere while it runs. No call waits, none raises; only `close` takes its bounded time."""

    def start_search(self, config: Mapping[str, Any]) -> None:
        """The search begins, or goes on."""

    def start_trial(self, number: int, document: Mapping[str, Any], *, history: Sequence[Row]) -> None:
        """A trial begins, or goes on: then `history` has the rows that were recorded already."""

    def log_rows(self, number: int, rows: Sequence[Row]) -> None:
        """The next rows of a trial's history."""

    def end_trial(self, number: int, *, state: str, summary: Mapping[str, Any], error: str | None) -> None:
        """A trial is COMPLETE, PRUNED or FAIL. `summary` is shown as it is."""

    def end_search(self, leaderboard: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
        """The search is over, or interrupted."""

    def close(self, *, interrupted: bool = False) -> None:
        """Finish all runs. Trials that have not ended stay marked RUNNING and can go on later."""

    def pending(self) -> list[str]:
        """Run directories that W&B does not have yet."""

    @property
    def sync_command(self) -> str | None:
        """The command line that sends what is pending; None when nothing is."""


class NullTracker:
    """Tracking is off: never imports wandb."""

    sync_command: str | None = None

    def start_search(self, config: Mapping[str, Any]) -> None: ...

    def start_trial(self, number: int, document: Mapping[str, Any], *, history: Sequence[Row]) -> None: ...

    def log_rows(self, number: int, rows: Sequence[Row]) -> None: ...

    def end_trial(self, number: int, *, state: str, summary: Mapping[str, Any], error: str | None) -> None: ...

    def end_search(self, leaderboard: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None: ...

    def close(self, *, interrupted: bool = False) -> None: ...

    def pending(self) -> list[str]:
        return []


def make_tracker(tracking: WandbConfig, identity: SearchIdentity) -> Tracker:
    """The tracker that a spec asks for.

    Raises:
        SpecError: online without an API key.
    """
    if tracking.mode == "disabled":
        return NullTracker()
    if tracking.mode == "online" and not _has_credentials():
        raise SpecError(
            "`online` needs an API key, and there is none: run `wandb login`, set WANDB_API_KEY, or use `mode: offline`.",
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
        return _sync_command(self._runs.pending())

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


# --- what happens in the background thread ---------------------------------------------------------------


@dataclass
class _LiveRun:
    """A run that takes rows."""

    run: Any
    id: str
    superseded: list[Path]
    """Directories of earlier sessions. What they hold is in this run, too, once it has finished."""
    next_step: int
    """First step that W&B does not have."""
    num_rows: int = 0
    """Rows of the history handed over so far; below `next_step` when W&B has more."""


@dataclass
class _Runs:
    """The runs of a search. Used by one thread; finishing, which may wait for the server, has a thread for each run."""

    tracking: WandbConfig
    identity: SearchIdentity
    init_timeout_seconds: float
    finish_timeout_seconds: float
    live: dict[int | None, _LiveRun] = field(default_factory=dict)
    finishing: dict[int | None, threading.Thread] = field(default_factory=dict)
    not_sent: list[Path] = field(default_factory=list)
    """Online runs that the server did not take to the end."""
    mode: Mode = "disabled"

    def __post_init__(self) -> None:
        self.mode = self.tracking.mode

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
        import wandb

        run = self.live[None].run
        if leaderboard:
            rows = [_flat(entry) for entry in leaderboard]
            columns = list(dict.fromkeys(name for row in rows for name in row))
            cells = [[row.get(name) for name in columns] for row in rows]
            run.log({"leaderboard": wandb.Table(columns=columns, data=cells, allow_mixed_types=True)})
        run.summary.update(_without_none(summary))

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
        files = (self.identity.directory / "wandb").glob("offline-run-*/run-*.wandb")
        return sorted({file.parent for file in files if not _is_synced(file)} | set(self.not_sent))

    def _open(self, number: int | None, config: dict[str, Any]) -> _LiveRun:
        run_id = self.identity.run_id(number)
        is_trial = number is not None
        facts = {
            "name": f"{self.identity.name}-{number:04d}" if is_trial else self.identity.name,
            "job_type": "trial" if is_trial else "search",
            "config": config,
        }
        folder = self.identity.directory / "wandb"
        superseded = [file.parent for end in ("", _OFF) for file in folder.glob(f"*run-*/run-{run_id}{end}.wandb")]
        run = self._init(run_id, facts)
        run.define_metric("*", step_metric=STEP_AXIS)
        run.summary[STATE] = "RUNNING"
        return _LiveRun(run=run, id=run_id, superseded=superseded, next_step=run.starting_step)

    def _init(self, run_id: str, facts: dict[str, Any]) -> Any:
        import wandb

        common = {
            "project": self.tracking.project,
            "entity": self.tracking.entity,
            "group": self.identity.name,
        }
        common |= {
            "tags": self.tracking.tags,
            "dir": self.identity.directory,
            "reinit": "create_new",
            **facts,
        }
        common["settings"] = _settings(self.init_timeout_seconds, self.finish_timeout_seconds)
        if self.mode == "online" and self._is_reachable():
            try:
                return wandb.init(id=run_id, mode="online", resume="allow", **common)
            except Exception as error:
                self._go_offline(error, note=f" (run {run_id} with `--id {run_id}`)")
                run_id += _OFF  # an id whose init failed stays taken in this process
        return wandb.init(id=run_id, mode="offline", **common)

    def _is_reachable(self) -> bool:
        """Asked before each init, because an init that fails spoils its run id."""
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        try:
            return wandb.Api(timeout=max(1, round(self.init_timeout_seconds))).viewer is not None
        except Exception as error:
            self._go_offline(error)
            return False

    def _go_offline(self, error: Exception, *, note: str = "") -> None:
        self.mode = "offline"
        command = f"wandb sync {shlex.quote(str(self.identity.directory))}/wandb/offline-run-*"
        log.warning(
            "W&B cannot be used (%s). The search goes on, and new runs are written to disk. Send them later by `%s`%s.",
            str(error).strip() or type(error).__name__,
            command,
            note,
        )

    def _finish(self, live: _LiveRun, exit_code: int) -> None:
        directory = Path(live.run.settings.sync_dir)
        try:
            live.run.finish(exit_code=exit_code)
        except Exception as error:
            self.not_sent.append(directory)
            log.warning("W&B did not take all of run %s, which is kept in %s: %s", live.id, directory, error)
            return
        for older in live.superseded:
            shutil.rmtree(older, ignore_errors=True)


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


def _is_synced(file: Path) -> bool:
    return file.with_name(f"{file.name}.synced").exists()


def _sync_command(directories: Sequence[Path]) -> str | None:
    renamed = [directory for directory in directories if directory.name.endswith(_OFF)]
    online = [directory for directory in directories if directory.name.startswith("run-")]
    commands = []
    for directory in renamed:
        run_id = next(directory.glob("run-*.wandb")).stem.removeprefix("run-").removesuffix(_OFF)
        commands.append(f"wandb sync --id {run_id} {shlex.quote(str(directory))}")
    if len(directories) > len(renamed) + len(online):
        folder = next(directory.parent for directory in directories)
        commands.append(f"wandb sync {shlex.quote(str(folder))}/offline-run-*")
    if online:
        commands.append(f"wandb sync --include-online {shlex.join(map(str, online))}")
    return " && ".join(commands) or None

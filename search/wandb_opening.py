"""Opens the runs of one search: on the server, or on disk once the server cannot be used. Knows no rows."""

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from search.spec import WandbConfig
from search.tracker import SearchIdentity
from search.wandb_folders import OFF

log = logging.getLogger(__name__)

Mode = Literal["offline", "online", "disabled"]

OFFLINE_INIT_TIMEOUT_SECONDS = 120.0


@dataclass
class RunOpener:
    """Used by one thread. Stays offline for the rest of the session once the server was not there."""

    tracking: WandbConfig
    identity: SearchIdentity
    init_timeout_seconds: float
    finish_timeout_seconds: float
    mode: Mode = "disabled"

    def __post_init__(self) -> None:
        self.mode = self.tracking.mode

    @property
    def folder(self) -> Path:
        """Where run directories lie."""
        return self.identity.directory / "wandb"

    def open(self, run_id: str, facts: dict[str, Any]) -> Any:
        """The run of this id, gone on with if the server has it. `facts` are further arguments of `wandb.init`."""
        import wandb

        common: dict[str, Any] = {
            "project": self.tracking.project,
            "entity": self.tracking.entity,
            "group": self.identity.group,
            "tags": self.tracking.tags,
            "dir": self.identity.directory,
            "reinit": "create_new",
            "settings": run_settings(self.init_timeout_seconds, self.finish_timeout_seconds),
            **facts,
        }
        if self.mode == "online" and self._reach_server():
            try:
                return wandb.init(id=run_id, mode="online", resume="allow", **common)
            except Exception as error:
                self._go_offline(error)
                run_id += OFF  # an id whose init failed stays taken in this process
        # No server answers late here, only a busy machine: giving up would leave the run without its rows.
        patient = max(self.init_timeout_seconds, OFFLINE_INIT_TIMEOUT_SECONDS)
        common["settings"] = run_settings(patient, self.finish_timeout_seconds)
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

    def _go_offline(self, error: Exception) -> None:
        self.mode = "offline"
        log.warning(
            "W&B cannot be used (%s). The search goes on and writes new runs to disk; send them later by "
            "`tunesmith sync %s`.",
            str(error).strip() or type(error).__name__,
            shlex.quote(str(self.identity.directory)),
        )


def run_settings(init_timeout_seconds: float, finish_timeout_seconds: float) -> Any:
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

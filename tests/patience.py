"""How long tests wait for what must come. Ends what hangs; a test that is right passes on a machine of any speed.

Nothing is to be proved by these limits: what a test says of time it makes visible (a gate, a line of a log) instead.
"""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HANG_SECONDS = 1000.0
"""Below the limit of a whole test (pyproject.toml), so that what hangs is told by its name."""

BOUNDED_SECONDS = 300.0
"""Far above any bound that a test sets, far below what is waited for where there is none (wandb tries for days)."""


def wait_until(is_so: Callable[[], bool], what: str, *, meanwhile: "subprocess.Popen[Any] | None" = None) -> None:
    """Wait for `what`; it never comes when the process that should bring it about has ended."""
    deadline = time.monotonic() + HANG_SECONDS
    while not is_so():
        if meanwhile is not None and meanwhile.poll() is not None and not is_so():
            raise AssertionError(f"the process ended before this: {what}\n{meanwhile.communicate()}")
        assert time.monotonic() < deadline, f"it hangs before this: {what}"
        time.sleep(0.05)


class Gate:
    """A place where the functions of a test's trials wait, so that what is done to them meets them there.

    They wait behind the line that they wrote into `log`, when it has as many lines as the gate says.
    """

    FUNCTION = """
def wait_at_gate(log):
    import pathlib, time
    log = pathlib.Path(log)
    try:
        while len(log.read_text().splitlines()) >= int(log.with_name("gate").read_text()):
            time.sleep(0.05)
    except FileNotFoundError:
        pass  # it is open
"""
    """What such a function's module has."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def close_after(self, lines: int) -> None:
        """Whoever comes when the log has so many lines waits."""
        coming = self.log.with_name("gate.new")
        coming.write_text(str(lines))
        coming.replace(self.log.with_name("gate"))

    def open(self) -> None:
        """Nobody waits any more."""
        self.log.with_name("gate").rename(self.log.with_name("gate.old"))

    def wait_for(self, lines: int, driver: "subprocess.Popen[Any]") -> None:
        """Until the log has so many lines."""
        wait_until(
            lambda: self.log.exists() and len(self.log.read_text().splitlines()) >= lines,
            f"{lines} lines in {self.log.name}",
            meanwhile=driver,
        )

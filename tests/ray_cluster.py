"""A real Ray cluster for tests: its own head with a dashboard and a token, ended by its process and never by name."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import requests
from patience import HANG_SECONDS

RAY = Path(sysconfig.get_path("scripts")) / "ray"
_OBJECT_STORE_BYTES = 100 * 1024**2


@dataclass(frozen=True, kw_only=True)
class RayHead:
    """A cluster that runs."""

    url: str
    """Of its dashboard."""
    address: str
    """Of its head, for drivers and nodes."""
    token_file: Path
    """What holds its token."""
    process_group: int = 0
    """Of all its processes."""

    @property
    def token(self) -> str:
        """Its token."""
        return self.token_file.read_text()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to talk to it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{RAY.parent}{os.pathsep}{os.environ['PATH']}"  # as in an activated environment
        return {**kept, "PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}


@contextmanager
def running_head(folder: Path, *, cpus: int = 2) -> Iterator[RayHead]:
    """A head of `cpus` CPUs for the time of the block. All that it writes lies below `folder`."""
    port, dashboard, agent, client = _free_ports(4)
    token_file = folder / "token"
    token_file.write_text(secrets.token_hex(32))
    token_file.chmod(0o600)
    # On a long path the sockets of Ray do not fit into what the system allows for their names.
    head = RayHead(url=f"http://127.0.0.1:{dashboard}", address=f"127.0.0.1:{port}", token_file=token_file)
    scratch = Path("/tmp") / f"tunesmith-ray-{os.getpid()}"
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            [
                str(RAY), "start", "--head", "--block", "--port", str(port), "--dashboard-host", "127.0.0.1",
                "--dashboard-port", str(dashboard), "--dashboard-agent-listen-port", str(agent),
                "--ray-client-server-port", str(client), "--num-cpus", str(cpus), "--temp-dir", str(scratch),
                "--object-store-memory", str(_OBJECT_STORE_BYTES),
            ],
            env={**head.environment, "RAY_USAGE_STATS_ENABLED": "0"},
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder,
        )  # fmt: skip
    try:
        _wait_until_it_answers(head, process, folder / "head.log")
        yield replace(head, process_group=process.pid)
    finally:
        # `ray start --block` ends what it started; what is left of its session goes with it.
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        _kill_all_of(scratch)
        subprocess.run(["rm", "-rf", str(scratch)], check=False)


def _kill_all_of(scratch: Path) -> None:
    """Drivers and trials have groups of their own, and live on for a while: they would miss the files they run from."""
    ours = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(f"{scratch}/"):
                process.kill()
                ours.append(process)
    psutil.wait_procs(ours, timeout=HANG_SECONDS)


def _wait_until_it_answers(head: RayHead, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    headers = {"Authorization": f"Bearer {head.token}"}
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Ray did not start:\n{log.read_text()}")
        try:
            # A job needs the dashboard and an agent; the list of jobs is there when both are.
            if requests.get(f"{head.url}/api/jobs/", headers=headers, timeout=30).ok:
                return
        except requests.exceptions.RequestException:
            pass
        time.sleep(0.3)
    raise RuntimeError(f"Ray's dashboard did not answer:\n{log.read_text()}")


def _free_ports(count: int) -> list[int]:
    """Ports that nobody uses, outside of those that Ray gives to its workers (10002 to 19999)."""
    found: list[int] = []
    candidate = 20000 + os.getpid() % 5000
    while len(found) < count:
        candidate += 1
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", candidate)) != 0:
                found.append(candidate)
    return found

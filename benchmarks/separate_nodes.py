"""Ray nodes on this machine that share nothing but the disk: network, processes and temporary files are their own.

A node is a real `ray start` in its own namespaces of Linux. So it has its own address, all of its processes can be
ended at once as a machine that loses power ends them, and it can be cut off from the network while its processes go on.
All is done in namespaces of this process, started by `in_own_namespaces`: the machine's own network is not touched, and
nothing outlives the process.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

_INSIDE = "TUNESMITH_BENCHMARK_IS_INSIDE"
_NETWORK = "10.213.0"
_PRIVATE = "/run"  # a folder in memory of each node's own: what its Ray, its caches and its temporary files need
_START_SECONDS = 120.0
_OBJECT_STORE_BYTES = 80 * 1024**2
NODE_NAME = "NODE_NAME"
"""The variable that tells a process on which node it runs."""


def can_separate() -> str | None:
    """Why nodes cannot be separated here; None when they can."""
    if not sys.platform.startswith("linux"):
        return "namespaces are a thing of Linux"
    probe = [*_unshare(), "sh", "-c", "mount -t tmpfs tmpfs /run && ip link add probe type bridge"]
    try:
        tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return f"there is no `{error.filename}`"
    return tried.stderr.strip() or f"unshare ended with {tried.returncode}" if tried.returncode else None


def is_inside() -> bool:
    """Whether this process runs in namespaces of its own."""
    return _INSIDE in os.environ


def in_own_namespaces(command: Sequence[str]) -> int:
    """Run `command` in new namespaces. All that it starts ends with it. Gives its exit code."""
    return subprocess.run([*_unshare(), *command], env={**os.environ, _INSIDE: "1"}, check=False).returncode


def _unshare() -> list[str]:
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *as_root, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


class SeparateNodes:
    """A head and its nodes. Their names are `head`, `node-1`, `node-2`, ..."""

    def __init__(self, folder: Path, token_file: Path) -> None:
        self.address = f"http://{_NETWORK}.1:8265"
        """Where jobs are sent to."""
        self.names: list[str] = []
        """Of the nodes that train."""
        self._folder = folder
        self._token_file = token_file
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, num_nodes: int, *, cpus: int) -> None:
        """Start a head without CPUs, then the nodes, and wait until all have joined.

        Raises:
            RuntimeError: one did not start; with what it wrote.
        """
        _run("mount", "-t", "tmpfs", "tmpfs", "/run")
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "nodes", "type", "bridge")
        _run("ip", "address", "add", f"{_NETWORK}.254/24", "dev", "nodes")
        _run("ip", "link", "set", "nodes", "up")
        self._start(
            "head", 1, "--head", "--port", "6379", "--dashboard-host", f"{_NETWORK}.1", "--num-cpus", "0",
            "--temp-dir", f"{_PRIVATE}/ray",
        )  # fmt: skip
        self._wait_for(1)
        self.names = [f"node-{index}" for index in range(1, num_nodes + 1)]
        # One after another: all at once they take the machine's cores from each other until Ray loses its patience.
        for index, name in enumerate(self.names, start=2):
            self._start(name, index, "--address", f"{_NETWORK}.1:6379", "--num-cpus", str(cpus))
            self._wait_for(index)

    def kill(self, name: str) -> None:
        """End all processes of a node at once, without notice."""
        process = self._processes[name]
        process.kill()
        process.wait()

    def cut_off(self, name: str) -> None:
        """Take a node off the network. Its processes go on."""
        _run("ip", "link", "set", name, "down")

    def join_again(self, name: str) -> None:
        """Put a node back on the network."""
        _run("ip", "link", "set", name, "up")

    def is_alive(self, name: str) -> bool:
        """Whether the processes of a node go on."""
        return self._processes[name].poll() is None

    def close(self) -> None:
        """End all nodes."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def _start(self, name: str, number: int, *options: str) -> None:
        address = f"{_NETWORK}.{number}"
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", name, "master", "nodes", "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "eth0", "up")
        ray = [
            str(Path(sys.executable).parent / "ray"), "start", "--block", "--node-ip-address", address,
            "--object-store-memory", str(_OBJECT_STORE_BYTES), *options,
        ]  # fmt: skip
        # Ray looks its own name up; without an answer from this file it waits for a name server that is not there.
        own = f"mount -t tmpfs tmpfs {_PRIVATE} && mount -t tmpfs tmpfs /dev/shm && hostname {name} && "
        own += f"echo 127.0.0.1 localhost > {_PRIVATE}/hosts && echo {address} {name} >> {_PRIVATE}/hosts && "
        own += f"mount --bind {_PRIVATE}/hosts /etc/hosts && mount --bind /dev/null /etc/resolv.conf && "
        own += f'mkdir {_PRIVATE}/home {_PRIVATE}/tmp && exec "$@"'
        # `ip netns exec` becomes `unshare`, whose only child is the node's first process: with that all others end.
        separate = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc", "sh", "-c", own]
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", name, *separate, "sh", *ray],
                env=self._environment(name), stdout=log, stderr=subprocess.STDOUT, cwd=self._folder,
            )  # fmt: skip

    def _environment(self, name: str) -> Mapping[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        return kept | {
            NODE_NAME: name, "HOME": f"{_PRIVATE}/home", "TMPDIR": f"{_PRIVATE}/tmp",
            "TUNESMITH_CACHE": f"{_PRIVATE}/cache", "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._token_file), "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip

    def _wait_for(self, num_nodes: int) -> None:
        """Until the head answers and knows so many living nodes."""
        deadline = time.monotonic() + _START_SECONDS
        headers = {"Authorization": f"Bearer {self._token_file.read_text()}"}
        while True:
            for name in self._processes:
                if not self.is_alive(name):
                    raise RuntimeError(f"{name} did not start:\n{self._log(name)}")
            try:
                # Jobs need an agent beside the dashboard: it answers later than the list of nodes.
                jobs = requests.get(f"{self.address}/api/jobs/", headers=headers, timeout=5)
                nodes = requests.get(f"{self.address}/api/v0/nodes", headers=headers, timeout=5)
                if jobs.ok and nodes.ok:
                    known = nodes.json()["data"]["result"]["result"]
                    if sum(node["state"] == "ALIVE" for node in known) >= num_nodes:
                        return
            except requests.exceptions.RequestException:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError("\n".join(f"{name}:\n{self._log(name)}" for name in self._processes))
            time.sleep(0.5)

    def _log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")


@contextmanager
def separate_nodes(num_nodes: int, *, folder: Path, token_file: Path, cpus: int = 1) -> Iterator[SeparateNodes]:
    """Nodes for the time of the block. `folder` takes what they write to their terminals."""
    nodes = SeparateNodes(folder, token_file)
    try:
        nodes.start(num_nodes, cpus=cpus)
        yield nodes
    finally:
        nodes.close()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr}")

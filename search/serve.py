"""Serve the model of a trial over HTTP: export it, load it in one or several processes, answer until stopped."""

import multiprocessing
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.http_server import Endpoint, Listening, serve
from search.export import BEST, Exported, export
from spaces.errors import SpecError
from trainables.answering import loader
from trainables.export import ExportedModel

TOKEN = "TUNESMITH_SERVE_TOKEN"
"""Environment variable: what clients must send as a bearer token."""
_CHATS = ("instruction_tuning", "preference")
_JOIN_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """What one serving process needs; travels to it."""

    folder: Path
    """The exported model."""
    model: ExportedModel
    """How it is loaded."""
    facts: dict[str, Any]
    """What `GET /` says."""
    listening: Listening
    """Where it listens."""


def serve_trial(
    directory: Path, *, trial: str = BEST, host: str, port: int, num_replicas: int = 1, console: Console
) -> None:
    """Serve until SIGINT or SIGTERM. Nothing is left running or lying about.

    Raises:
        SpecError: there is no such model, or the port is taken.
    """
    token = os.environ.get(TOKEN) or None
    port = _free_port(host, port)
    # What stops it before it listens goes the same way as Ctrl-C: nothing is left lying about.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tunesmith-serve-") as folder:
        done = export(directory, Path(folder) / "model", trial=trial, console=console)
        if done.model.is_adapter:
            raise SpecError(
                f"an adapter that cannot be merged is not served: export trial {done.trial.number} instead."
            )
        replica = Replica(
            folder=done.folder,
            model=done.model,
            facts=_facts(directory, done),
            listening=Listening(host=host, port=port, is_shared=num_replicas > 1, token=token),
        )
        console.print(
            f"trial {done.trial.number} of {directory.resolve().name} at http://{_shown(host)}:{port}: POST /predict, "
            "GET /health; Ctrl-C stops it", highlight=False, soft_wrap=True,
        )  # fmt: skip
        if token is None and not _is_loopback(host):
            console.print(
                f"anybody who reaches {host} may ask: set {TOKEN} to want a token", style="yellow", highlight=False
            )
        if num_replicas == 1:
            _serve_here(replica, on_ready=lambda: console.print("ready", highlight=False))
        else:
            _serve_in_processes(replica, num_replicas)
    console.print("stopped", highlight=False)


def _serve_here(replica: Replica, *, on_ready: Callable[[], None] = lambda: None) -> None:
    load = loader(replica.folder, replica.model, is_chat=bool(replica.facts["chat"]))
    endpoint = Endpoint(load, facts=replica.facts, token=replica.listening.token, on_ready=on_ready)
    serve(endpoint, replica.listening)


def _serve_in_processes(replica: Replica, number: int) -> None:
    """Replicas share the port: the system gives each of them its part of the connections."""
    import dataclasses

    context = multiprocessing.get_context("spawn")
    shared = dataclasses.replace(replica, listening=dataclasses.replace(replica.listening, parent=os.getpid()))
    processes: list[BaseProcess] = [context.Process(target=_serve_here, args=(shared,)) for _ in range(number)]
    is_stopping = False

    def stop(*_: object) -> None:
        nonlocal is_stopping
        is_stopping = True
        for process in processes:
            if process.pid is not None and process.is_alive():
                process.terminate()

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    finally:
        stop()
        for process in processes:
            process.join(_JOIN_SECONDS)
            if process.is_alive():
                process.kill()
        for each, handler in before.items():
            signal.signal(each, handler)
    if not is_stopping:
        raise SpecError("the replicas have ended by themselves.")


def _facts(directory: Path, done: Exported) -> dict[str, Any]:
    return {
        "search": directory.resolve().name,
        "trial": done.trial.number,
        "value": done.trial.value,
        "pipeline": done.model.pipeline,
        "model_type": done.model.model_type,
        "chat": done.task in _CHATS,
    }


def _free_port(host: str, port: int) -> int:
    """`port` if it is free; of 0 one that is."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise SpecError(
            f"cannot listen at {host}:{port}: {error.strerror}. Give another `--port` or `--host`."
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host

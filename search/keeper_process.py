"""The process of a queue's keeper: the rounds, and beside them the HTTP API. Started on a cluster's head by

    python -m search.keeper_process start '{"database": ..., "port": 8270, ...}'

which is what `tunesmith queue start` submits. Lives as a detached actor: Ray begins it again when it dies.
"""

import json
import logging
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.connect import ClusterError, connected, set_environment
from cluster.detached import arguments_of, cluster_room, dashboard_address, process_of, start_detached, stop_detached
from cluster.queueing import Amount
from cluster.tokens import find_token
from cluster.visitors import Doorkeeper, read_tokens
from spaces.errors import SpecError

log = logging.getLogger(__name__)

DEFAULT_PORT = 8270
_TARGET = "search.keeper_process:keep"
_ROUND_SECONDS = 1.0
_TROUBLE_SECONDS = 5.0
_START_SECONDS = 120.0
_EXIT_CODES = {SpecError: 2, ClusterError: 4}


@dataclass(frozen=True, kw_only=True, slots=True)
class KeeperOrder:
    """How a queue is kept."""

    database: str
    """A SQLite file on the head, or the URL of a PostgreSQL database without a password."""
    name: str = "default"
    """Name of the queue: a cluster may have several, over different databases."""
    host: str = "127.0.0.1"
    """Where the API listens."""
    port: int = DEFAULT_PORT
    """Where the API listens."""
    token_file: str | None = None
    """File on the head with the API's tokens. None: the cluster's token."""
    most_cpus: float | None = None
    """What the queue may use. None: all that the cluster has."""
    most_gpus: float | None = None
    """What the queue may use. None: all that the cluster has."""
    is_installed: bool = False
    """Whether the nodes have tunesmith installed."""

    @property
    def actor(self) -> str:
        """Its name on the cluster."""
        return f"tunesmith-keeper-{self.name}"


def keep(**facts: object) -> None:
    """Keep the queue until another keeper takes over."""
    set_environment()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    from cluster.jobs import open_jobs
    from cluster.queue_jobs import QueueJobs
    from cluster.queue_records import NoLongerKeeperError
    from cluster.queue_store import open_store
    from search.keeper import Keeper
    from search.service import Pulse

    order = KeeperOrder(**facts)  # type: ignore[arg-type]  # what asdict has made of one
    store = open_store(order.database)
    pulse = Pulse()
    _serve(order, store, pulse)
    jobs = open_jobs(dashboard_address(), find_token())
    most = Amount(
        cpus=float("inf") if order.most_cpus is None else order.most_cpus,
        gpus=float("inf") if order.most_gpus is None else order.most_gpus,
    )
    cluster = QueueJobs(jobs, room=cluster_room, most=most, is_installed=order.is_installed)
    keeper = Keeper(store, cluster)
    log.info("keeping the queue in %s, as process %d", order.database, os.getpid())
    while True:
        try:
            keeper.round()
        except NoLongerKeeperError as error:
            log.info("%s: ending", error)
            return
        except Exception as error:  # an outage of the database or the dashboard: nothing is lost, try again
            pulse.trouble = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            log.warning("this round did not go well, and is repeated: %s", pulse.trouble, exc_info=True)
            time.sleep(_TROUBLE_SECONDS)
            continue
        pulse.trouble, pulse.beat = "", time.monotonic()
        time.sleep(_ROUND_SECONDS)


def doorkeeper_of(order: KeeperOrder) -> Doorkeeper:
    """Who may use the API: holders of its own tokens, else those of the cluster's.

    Raises:
        ClusterError: there is no token.
    """
    if order.token_file is not None:
        return read_tokens(Path(order.token_file))
    if (token := find_token()) is None:
        raise ClusterError(
            "the queue's API runs what it is handed, so it asks for a token; the cluster has none: give a file on the "
            "head that holds one (`--service-token-file`)."
        )
    return Doorkeeper(tokens=((None, token.value),))


def _serve(order: KeeperOrder, store: object, pulse: object) -> None:
    import uvicorn

    from cluster.queue_store import QueueStore
    from search.service import Pulse, make_app

    assert isinstance(store, QueueStore)
    assert isinstance(pulse, Pulse)
    app = make_app(store, doorkeeper_of(order), pulse=pulse)
    config = uvicorn.Config(app, host=order.host, port=order.port, log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # this thread is not the main one

    def listen() -> None:
        try:
            server.run()
        except SystemExit:
            log.error("cannot listen at %s:%d", order.host, order.port)
        time.sleep(_TROUBLE_SECONDS)
        os._exit(1)  # without its API a keeper is of no use; Ray begins it again

    threading.Thread(target=listen, name="api", daemon=True).start()


def main() -> None:
    """On the head: start or stop the keeper."""
    set_environment()
    wanted, order = sys.argv[1], KeeperOrder(**json.loads(sys.argv[2]))
    try:
        if wanted == "start":
            _check(order)
            with connected("auto"):
                is_new = start_detached(order.actor, _TARGET, asdict(order))
                kept = order if is_new else KeeperOrder(**(arguments_of(order.actor) or asdict(order)))
                _wait_for_api(kept)
                place = {"database": kept.database, "host": kept.host, "port": kept.port}
                print(json.dumps({"started": is_new, "process": process_of(order.actor), **place}))
        else:
            with connected("auto"):
                print(json.dumps({"stopped": stop_detached(order.actor)}))
    except (SpecError, ClusterError) as error:
        print(f"error: {error}")
        sys.exit(next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)))


def _check(order: KeeperOrder) -> None:
    """What would keep the keeper from coming up, said here and not in a log of an actor."""
    import importlib.util

    from cluster.queue_store import open_store

    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise ClusterError(
            f"the head lacks {' and '.join(missing)}: install tunesmith there as `tunesmith[service]`, or add them."
        )
    doorkeeper_of(order)
    open_store(order.database)


def _wait_for_api(order: KeeperOrder) -> None:
    import requests

    host = "127.0.0.1" if order.host in ("0.0.0.0", "::") else order.host
    deadline, trouble = time.monotonic() + _START_SECONDS, "is the port taken?"
    while time.monotonic() < deadline:
        try:
            health = requests.get(f"http://{host}:{order.port}/health", timeout=2).json()
            if health["process"] != process_of(order.actor):  # or it has just been begun again
                trouble = f"process {health['process']} listens there, which is another keeper"
            elif health["status"] == "ok":
                return
            else:
                trouble = health["trouble"] or trouble
        except (requests.exceptions.RequestException, ValueError, KeyError, TypeError):
            pass
        time.sleep(0.3)
    raise ClusterError(
        f"the keeper does not come up at {host}:{order.port} ({trouble}): look at the log of the actor `{order.actor}` "
        "in Ray's dashboard."
    )


if __name__ == "__main__":
    main()

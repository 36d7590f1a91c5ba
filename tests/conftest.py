"""What every test stands on: no network, no user folders, one cache of prepared data for the whole run."""

import contextlib
import io
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hypothesis
import pytest
from gcs_server import GcsServer
from patience import HANG_SECONDS
from s3_server import S3Server
from store_server import StoreServer

from cluster.connect import set_environment

set_environment()  # before any test module imports ray, which reads it then
# Before torch and numpy are imported, which read it then: the models of tests gain nothing from a second thread, and
# two pytest processes with a thread a core each spend their time waiting for each other's threads at barriers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No property speaks of time, and an example that took long because others used the machine is no failure.
hypothesis.settings.register_profile("tunesmith", deadline=None)
hypothesis.settings.load_profile("tunesmith")

TUNESMITH = Path(sysconfig.get_path("scripts")) / "tunesmith"


@pytest.fixture(scope="session", autouse=True)
def _closed_world(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ.update(
        TUNESMITH_CACHE=str(tmp_path_factory.mktemp("cache")),
        HF_HUB_OFFLINE="1",
        WANDB_ERROR_REPORTING="false",
        WANDB_MODE="offline",
        WANDB_ARTIFACT_DIR=str(tmp_path_factory.mktemp("artifacts")),
        TOKENIZERS_PARALLELISM="false",
    )
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        os.environ.pop(name, None)


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tunesmith(tmp_path: Path) -> Run:
    """Run the real command in `tmp_path`."""

    def run(*arguments: str, timeout: float = HANG_SECONDS) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


@pytest.fixture
def tunesmith_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same command in this process: an answer at once, where a new one first imports what it needs.

    For commands that read and write files. What a start of Python could change (warnings, imports, signals) is seen
    by `tunesmith` only.
    """

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        from search.cli.main import main

        out, errors = io.StringIO(), io.StringIO()
        before = set(sys.modules)
        with monkeypatch.context() as changed, contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            changed.chdir(tmp_path)
            changed.setattr(sys, "argv", ["tunesmith", *arguments])
            changed.setattr(sys, "path", [*sys.path])
            with pytest.raises(SystemExit) as ended:  # as a console script always ends
                main()
        for name in set(sys.modules) - before:  # modules of the test's own: the next test has others of their names
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
                del sys.modules[name]
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.getvalue(), errors.getvalue())

    return run


def command(*arguments: str) -> Sequence[str]:
    """The command line that starts the installed console script with this Python."""
    return [sys.executable, str(TUNESMITH), *arguments]


@pytest.fixture(scope="session")
def _s3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    yield from _running(S3Server(tmp_path_factory.mktemp("s3") / "log"))


@pytest.fixture(scope="session")
def _gcs_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    yield from _running(GcsServer(tmp_path_factory.mktemp("gcs") / "log"))


def _running(server: StoreServer) -> Iterator[StoreServer]:
    yield server
    server.close()


@pytest.fixture
def s3(_s3_process: StoreServer, monkeypatch: pytest.MonkeyPatch) -> StoreServer:
    """A server that speaks S3, with an empty `s3://bucket`, as this process and those that it starts find it."""
    return _entered(_s3_process, monkeypatch)


@pytest.fixture
def gcs(_gcs_process: StoreServer, monkeypatch: pytest.MonkeyPatch) -> StoreServer:
    """The same for Google Cloud Storage: `gs://bucket`."""
    return _entered(_gcs_process, monkeypatch)


def _entered(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> StoreServer:
    server.empty()
    server.make_bucket("bucket")
    server.enter(monkeypatch)
    return server


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before anything is left out by its markers."""
    _leave_the_rest_to_the_slow_tests(config, items)
    _sort_by_length(items)


def _leave_the_rest_to_the_slow_tests(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a test that is marked `quick("...", "...")` only these combinations of parameters are quick."""
    unknown: dict[str, set[str]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and (marker := item.get_closest_marker("quick")) is not None:
            case = item.callspec.id
            unknown.setdefault(f"{item.path}::{item.originalname}", set(marker.args)).discard(case)
            if case not in marker.args:
                item.add_marker(pytest.mark.slow)
    if any(unknown.values()) and not any("::" in argument for argument in config.args):
        raise pytest.UsageError(f"marked as quick, and no case of it: {[*filter(all, unknown.items())]}")


# Of the files that start a Ray those that take longest: they begin first, so that none is left over at the end.
_LONGEST_FIRST = (
    "test_interruptions", "test_custom_story", "test_never_starting_over", "test_jobs", "test_story",
    "test_cross_validation", "test_confirm", "test_short_trials", "test_population", "test_examples", "test_lanes",
)  # fmt: skip


def _sort_by_length(items: list[pytest.Item]) -> None:
    """Sort the tests with a Ray by their files; `--no-loadscope-reorder` keeps the order."""
    ranks = {name: rank for rank, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)) if item.get_closest_marker("ray") else len(ranks))

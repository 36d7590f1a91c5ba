"""A real PostgreSQL on a free port of loopback, from Debian's packages: started, cut off and ended by tests."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from patience import HANG_SECONDS

PASSWORD = "swordfish-4711"
"""Of the only user. No output of tunesmith may hold it."""
_USER = "tuner"


def programs() -> Path:
    """Where initdb and postgres are. Skips the test where they are not."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3].zfill(3))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt-get install postgresql)")
    return found[-1].parent if found else Path(str(on_path)).parent


class PostgresServer:
    """One server with one user, who needs a password."""

    def __init__(self) -> None:
        self._programs = programs()
        # Not below pytest's folder, which no other user may enter.
        folder = self._folder = Path(tempfile.mkdtemp(prefix="tunesmith-postgres-"))
        self._as_user: dict[str, object] = {}
        if os.getuid() == 0:  # PostgreSQL does not run as root
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("PostgreSQL does not run as root, and there is no user `postgres`")
            self._as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._call("initdb", "-D", "data", "-U", _USER, "--auth=scram-sha-256", "--pwfile", "password", "-E", "UTF8")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Of the database, without the password."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/postgres"

    @property
    def url_with_password(self) -> str:
        """For libraries that are handed all they need."""
        return f"postgresql+psycopg://{_USER}:{quote(PASSWORD)}@127.0.0.1:{self.port}/postgres"

    def fresh_database(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        name = f"fresh_{time.monotonic_ns()}"
        with psycopg.connect(self.url, password=PASSWORD, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ("-D", "data", "-p", str(self.port), "-h", "127.0.0.1", "-k", "", "-c", "shared_buffers=16MB")
        self._process = subprocess.Popen(
            [str(self._programs / "postgres"), *options], cwd=self._folder, **self._as_user,  # type: ignore[call-overload]
            stdout=subprocess.DEVNULL, stderr=(self._folder / "log").open("ab"),
        )  # fmt: skip
        deadline = time.monotonic() + HANG_SECONDS
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.1)

    def stop(self) -> None:
        """Cut off all that are connected, and end."""
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: what PostgreSQL calls a fast shutdown
            self._process.wait(HANG_SECONDS)
            self._process = None

    def close(self) -> None:
        """Stop it, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments], cwd=self._folder, capture_output=True, text=True,
            check=False, **self._as_user,  # type: ignore[call-overload]
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

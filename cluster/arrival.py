"""What a submitted search does first on the cluster: lay down what came with it where all nodes see it, read its
secrets from files, and become `tunesmith run` or `resume`.

    python -m cluster.arrival '{"shelf": "/shared/searches/.submitted/NAME-HASH", "command": ["run", "spec.yaml"]}'

It must be able to say that the cluster's Python is too old, so it keeps to what an old one understands.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

_OLDEST_PYTHON = (3, 11)
_BAD_INPUT = 2


def main() -> NoReturn:
    """Carry out the order in the first argument: this process becomes tunesmith."""
    order = json.loads(sys.argv[1])
    if sys.version_info < _OLDEST_PYTHON:
        _refuse("the cluster runs Python {}.{}, and tunesmith needs {}.{} or newer".format(
            *sys.version_info[:2], *_OLDEST_PYTHON))  # fmt: skip
    environment = dict(os.environ)
    for name, place in order.get("secret_files", {}).items():
        environment[name] = _secret(name, Path(place))
    shelf = Path(order["shelf"])
    _lay_down(Path.cwd(), shelf)
    os.chdir(str(shelf))
    command = [sys.executable, "-m", "search.cli.main", *order["command"]]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def _secret(name: str, place: Path) -> str:
    try:
        value = place.read_text(encoding="utf-8").strip()
    except OSError as error:
        _refuse(f"cannot read {name} from {place} on this node: {error.strerror}")
    if not value:
        _refuse(f"the file for {name} is empty: {place}")
    return value


def _lay_down(source: Path, shelf: Path) -> None:
    """Copy all files to `shelf`, all or nothing. What lies there already has the same content: its name says so."""
    if shelf.is_dir():
        return
    unfinished = shelf.with_name(f"{shelf.name}.{os.getpid()}")
    try:
        shelf.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(str(source), str(unfinished))
        unfinished.rename(shelf)
    except OSError as error:
        shutil.rmtree(str(unfinished), ignore_errors=True)
        if not shelf.is_dir():  # else another one was quicker
            _refuse(f"cannot write to the storage of the search, {shelf.parent}: {error.strerror}")


def _refuse(reason: str) -> NoReturn:
    print(f"error: {reason}.", file=sys.stderr)
    sys.exit(_BAD_INPUT)


if __name__ == "__main__":
    main()

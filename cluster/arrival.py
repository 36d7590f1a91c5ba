"""What a submitted search does first on the cluster: lay down what came with it where all nodes see it, in a folder or
an object store, read its secrets from files, and become `tunesmith run` or `resume`.

    python -m cluster.arrival '{"shelf": "/shared/searches/.submitted/NAME-HASH", "command": ["run", "spec.yaml"]}'

It must be able to say that the cluster's Python is too old, so it keeps to what an old one understands.
"""

import importlib.util
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import NoReturn

_OLDEST_PYTHON = (3, 11)
_NEEDED = ("ray", "torch", "transformers", "datasets", "optuna", "peft", "wandb", "pydantic", "typer", "rich", "yaml")
_BAD_INPUT = 2


def main() -> NoReturn:
    """Carry out the order in the first argument: this process becomes tunesmith."""
    order = json.loads(sys.argv[1])
    _check_python()
    environment = dict(os.environ)
    for name, place in order.get("secret_files", {}).items():
        environment[name] = _secret(name, Path(place))
    if "://" in order["shelf"]:
        environment["TUNESMITH_SHELF"] = order["shelf"]
        shelf = _lay_down_in_store(Path.cwd(), order["shelf"])
    else:
        shelf = Path(order["shelf"])
        _lay_down(Path.cwd(), shelf)
    os.chdir(str(shelf))
    command = [sys.executable, "-m", "search.cli.main", *order["command"]]
    print(f"starting on {socket.gethostname()}")  # to import and to join Ray takes its time
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def _check_python() -> None:
    if sys.version_info < _OLDEST_PYTHON:
        found, wanted = (".".join(map(str, version[:2])) for version in (sys.version_info, _OLDEST_PYTHON))
        _refuse(f"the cluster runs Python {found}, and tunesmith needs {wanted} or newer")
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if "ray" in missing:
        _refuse(f"`python` means {sys.executable} on the cluster's head, which has no ray: give the interpreter that "
                "runs Ray there, `--python PATH`")  # fmt: skip
    if missing:
        _refuse(f"the cluster lacks {', '.join(missing)}: install tunesmith on its nodes, or use an image that has it "
                "(`tunesmith cluster init` writes a Dockerfile)")  # fmt: skip


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


def _lay_down_in_store(source: Path, url: str) -> Path:
    """Copy all files to an object store, from where all nodes bring them to the place here that is given."""
    from spaces.shelf import lay_down

    try:
        return lay_down(source, url)
    except Exception as error:  # whatever a store's library raises
        _refuse(f"cannot write to the storage of the search, {url}: {str(error).strip() or type(error).__name__}")


def _refuse(reason: str) -> NoReturn:
    print(f"error: {reason}.", file=sys.stderr)
    sys.exit(_BAD_INPUT)


if __name__ == "__main__":
    main()

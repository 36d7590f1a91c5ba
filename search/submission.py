"""From a spec to what is submitted: which of its files travel, which are expected on the cluster, and what runs there.

Knows no ray and sends nothing; `cluster.jobs` does.
"""

import glob
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.kept import NESTED, brought_here, kept_in
from analysis.records import SearchFiles
from cluster.packaging import MOST_MEGABYTES, Bundle, code_of, make_bundle
from search.actions import check_action
from search.load import LoadedSpec, load_spec
from search.plan import make_plan
from search.spec import SearchSpec
from spaces.errors import SpecError
from spaces.redaction import is_secret_name
from spaces.shelf import noted_place
from spaces.store import is_store
from trainables.user_functions import UserFunction

SHELF = ".submitted"
"""Folder in the storage, beside the searches, that keeps what came with them."""
_PLACES = ("files", "pretrained")
"""Keys whose values name files or folders."""
_ELSEWHERE = ("package:", "search:")
_WANDB_KEY = "WANDB_API_KEY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A search on its way to a cluster."""

    name: str
    """The search's name."""
    directory: str
    """Its folder, as the nodes see it."""
    bundle: Bundle
    """What travels."""
    shelf: str
    """Where that is laid down."""
    command: tuple[str, ...]
    """Arguments of `tunesmith` on the cluster."""
    expected: tuple[str, ...] = ()
    """What the nodes must have themselves: paths, modules, a W&B key."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all processes, not secret."""
    secret_files: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the search's process, by the file on the cluster that holds their value."""
    spec: SearchSpec
    """What it means here."""

    @property
    def resumes(self) -> bool:
        """Whether it goes on with a search."""
        return self.command[0] != "run"

    @property
    def action(self) -> tuple[str, ...]:
        """How it goes on, without the folder and the address; empty when it begins."""
        name, _, *options = self.command
        return (name, *options[:-2]) if self.resumes else ()


def prepare_submission(
    place: Path,
    *,
    overrides: Sequence[str] = (),
    resumes: bool = False,
    action: Sequence[str] = (),
    include: Sequence[Path] = (),
    environment: Sequence[str] = (),
    secret_files: Sequence[str] = (),
    most_megabytes: float = MOST_MEGABYTES,
    checks: bool = True,
    root: Path | None = None,
) -> Submission:
    """What is submitted for the spec, or the search's folder, at `place`.

    Args:
        place: A spec; or the folder of a search, which is resumed.
        overrides: `PATH=VALUE` for the spec.
        resumes: Whether the search goes on.
        action: How it goes on: `retry`, `extend` or `confirm`, with options. Default: `resume`.
        include: Files and folders that travel, too.
        environment: `NAME=VALUE`, not secret.
        secret_files: `NAME=PATH`, a file on the cluster.
        most_megabytes: Of all files that travel.
        checks: Whether the spec is checked here as `tunesmith check` does. What only the cluster has fails here.
        root: What names of files are relative to. Default: the folder one starts from.

    Raises:
        SpecError: the spec is wrong, its storage is not one that a cluster sees, or a file cannot travel.
    """
    files = SearchFiles((brought_here(place) if is_store(place) else place).expanduser().absolute())
    if is_folder := files.path.is_dir():
        if not (recorded := _recorded_spec(files)).is_file():
            raise SpecError(f"`{place}` is no search: it has no {files.spec.name}.")
        resumes, overrides = True, [f"storage={json.dumps(kept_in(files))}", *overrides]
    if action:
        check_action(action)
        if not resumes:
            raise SpecError(
                f"`{action[0]}` is for a search that is there: name its folder, or add `--resume` to its spec."
            )
    loaded = load_spec(recorded if is_folder else place, overrides=overrides)
    check_storage(loaded.spec.storage.path)
    if checks and not resumes:
        make_plan(loaded)
    spec, root = loaded.spec, root or Path.cwd()
    travels, expected = _places(loaded, root)
    if is_folder:  # what came with it is on the shelf already
        shelf = noted_place(files.path) or Path(spec.storage.path) / SHELF
        travels = [file for file in travels if not file.is_relative_to(shelf)]
        expected = [name for name in expected if not Path(name).is_relative_to(shelf)]
    bundle = make_bundle(
        root, [*([] if is_folder else [place]), *travels, *include], most_megabytes=most_megabytes
    )  # fmt: skip
    directory = f"{spec.storage.path.rstrip('/')}/{spec.name}"
    settings = _named(environment, option="--env")
    for name in settings:
        if is_secret_name(name):
            raise SpecError(
                f"everyone who may list the cluster's jobs reads `--env`, and `{name}` looks like a secret: put it "
                f"into a file on the cluster, and give `--secret-file {name}=PATH`."
            )
    secrets = _named(secret_files, option="--secret-file")
    if spec.tracking.wandb.mode == "online" and _WANDB_KEY not in secrets:
        expected.append(f"{_WANDB_KEY} in the environment of the head, or its ~/.netrc (else `--secret-file`)")
    given = [word for override in overrides for word in ("--set", override)]
    name, *options = action or ("resume",)
    command = (
        (name, directory, *options) if resumes else ("run", _relative(place, root), *given)
    )  # fmt: skip
    return Submission(
        name=spec.name,
        directory=directory,
        bundle=bundle,
        shelf=f"{spec.storage.path.rstrip('/')}/{SHELF}/{spec.name}-{bundle.fingerprint()}",
        command=(*command, "--address", "auto"),
        expected=tuple(expected),
        environment=settings,
        secret_files=secrets,
        spec=spec,
    )


def _recorded_spec(files: SearchFiles) -> Path:
    """What a search is gone on with by; a nested cross-validation has its own."""
    nested = files.path / NESTED
    return nested if nested.is_file() else files.spec


def check_storage(storage: str) -> None:
    """Whether `storage` means the same folder on all nodes of a cluster.

    Raises:
        SpecError: it is relative, or belongs to one user of one machine.
    """
    if not is_store(storage) and not Path(storage).is_absolute():
        raise SpecError(
            "a submitted search keeps its folder where all nodes of the cluster see it: give the absolute path of "
            "shared storage (`--storage /shared/searches`), or an object store (`--storage s3://bucket/searches`), "
            f"but got `{storage}`.",
            path="storage",
        )


# --- what travels ----------------------------------------------------------------------------------------


def _places(loaded: LoadedSpec, root: Path) -> tuple[list[Path], list[str]]:
    """Files and folders that travel, and what is expected on the cluster."""
    travels, expected = [], []
    if loaded.spec.trainable is not None:
        module = _module(loaded.spec.trainable, root)
        if module is None:
            expected.append(f"the module of `trainable: {loaded.spec.trainable}`, installed")
        else:
            travels += code_of(module)
    else:
        for key, place in dict.fromkeys(_named_places(loaded.raw)):
            if "://" in place or place.startswith(_ELSEWHERE):
                continue
            if place.startswith(("/", "~")):
                expected.append(place)
                continue
            found = [Path(name) for name in sorted(glob.glob(str(root / place), recursive=True))]  # noqa: PTH207  # as data files are matched
            if not found and key == "files":
                raise SpecError(f"no file matches `{place}` (looked from {root}).", path="data.source.files")
            travels += found  # else it is a hub's id
    for warm in loaded.spec.search.warm_start:
        if not Path(warm.search).is_absolute() and not is_store(warm.search):
            raise SpecError(
                f"another search does not travel: give the absolute path of its folder, as the nodes see it, not "
                f"`{warm.search}`.",
                path="search.warm_start",
            )
        expected.append(warm.search)
    return travels, list(dict.fromkeys(expected))


def _module(trainable: str, root: Path) -> Path | None:
    """The file or package folder of a user's function; None when it is installed."""
    wanted = UserFunction.parse(trainable)
    if wanted.file is not None:
        return wanted.file.absolute()
    top = wanted.module.partition(".")[0]
    return next((place for place in (root / f"{top}.py", root / top) if place.exists()), None)


def _named_places(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts below keys that name places, also those that a space chooses from, with the kind of key."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            last = str(name).rpartition(".")[2]
            yield from _named_places(value, key or (last if last in _PLACES else ""))
    elif isinstance(node, list):
        for item in node:
            yield from _named_places(item, key)
    elif isinstance(node, str) and key:
        yield key, node


def _relative(place: Path, root: Path) -> str:
    return (place.absolute().parent.resolve() / place.name).relative_to(root.resolve()).as_posix()


def _named(given: Iterable[str], *, option: str) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or not value:
            raise SpecError(f"`{option}` takes NAME=VALUE, but got `{text}`.")
        pairs[name] = value
    return pairs

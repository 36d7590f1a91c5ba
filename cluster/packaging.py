"""What travels with a submitted search: its spec, own code and small data as one folder, and tunesmith itself.

What lies on a shared path travels as that path. Knows no ray and nothing of what a spec means.
"""

import ast
import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from spaces.errors import SpecError

PACKAGES = ("spaces", "trainables", "cluster", "analysis", "search")
"""Our own, which travel unless they are installed on the cluster."""
DISTRIBUTION = "tunesmith"
MOST_MEGABYTES = 50.0
"""Of all files that travel. Ray takes 100 in all."""
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".gitignore", ".rayignore", ".DS_Store")
_MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """The files that travel with a search."""

    root: Path
    """The folder that their names are relative to: where tunesmith was started."""
    names: tuple[PurePosixPath, ...]
    """Files, sorted."""

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum((self.root / name).stat().st_size for name in self.names)

    def fingerprint(self) -> str:
        """Equal for bundles of the same files with the same content."""
        digest = hashlib.sha256()
        for name in self.names:
            content = (self.root / name).read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()[:12]

    def copy_to(self, folder: Path) -> None:
        """Lay all files down in `folder`."""
        for name in self.names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / name, folder / name)


def make_bundle(root: Path, places: Iterable[Path], *, most_megabytes: float = MOST_MEGABYTES) -> Bundle:
    """The bundle of files and folders, which must lie below `root`.

    Raises:
        SpecError: one lies elsewhere or is not there, or all together are too large to travel.
    """
    root = root.resolve()
    files: dict[PurePosixPath, int] = {}
    for place in places:
        for file in _files_in(place.absolute()):
            files[_name_in(file, root)] = file.stat().st_size
    total = sum(files.values()) / _MEGABYTE
    if total > most_megabytes:
        largest = sorted(files, key=files.__getitem__, reverse=True)[:3]
        shown = ", ".join(f"{name} ({files[name] / _MEGABYTE:.1f} MB)" for name in largest)
        raise SpecError(
            f"at most {most_megabytes:g} MB travel with a search, but its files are {total:.1f} MB: {shown}. Put large "
            "ones where all nodes of the cluster see them and give their absolute path, or raise `--most-megabytes`."
        )
    return Bundle(root=root, names=tuple(sorted(files)))


def code_of(module: Path) -> list[Path]:
    """A user's module and all that it imports from beside it, found in the sources; nothing is run."""
    found: list[Path] = []
    waiting = [module]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.append(file)
        folder = file.parent if file.is_file() else file
        for source in [file] if file.is_file() else sorted(file.rglob("*.py")):
            beside = folder if file.is_file() else folder.parent
            waiting += [place for name in _imported(source) if (place := _place_of(name, beside)) is not None]
    return sorted(found)


def copy_tunesmith(folder: Path) -> list[Path]:
    """Copy our own packages, and what says their version, into `folder`. Gives the copies."""
    copies = []
    for name in PACKAGES:
        shutil.copytree(_folder_of(name), folder / name, ignore=_LEFT_OUT)
        copies.append(folder / name)
    # A folder that is only importable has no version: the record of a search could not say what ran it.
    metadata = folder / f"{DISTRIBUTION}-{own_version()}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {own_version()}\n")
    return [*copies, metadata]


def _folder_of(package: str) -> Path:
    # On a cluster, where we have travelled ourselves, each package lies in a folder of its own.
    found = find_spec(package)
    assert found is not None, "it is one of ours"
    assert found.origin is not None, "each has an __init__.py"
    return Path(found.origin).resolve().parent


def own_version() -> str:
    """The version of tunesmith here."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0"


def _files_in(place: Path) -> Sequence[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise SpecError(f"there is no `{place}` that could travel with the search.")
    left_out = _LEFT_OUT
    found: list[Path] = []
    for entry in sorted(place.iterdir()):
        if entry.name in left_out(str(place), [entry.name]):
            continue
        found += _files_in(entry) if entry.is_dir() else [entry] if entry.is_file() else []
    return found


def _name_in(file: Path, root: Path) -> PurePosixPath:
    # The name counts, not where a link leads: on the cluster it is looked for by its name.
    name = Path(file.parent.resolve() / file.name)
    if not name.is_relative_to(root):
        raise SpecError(
            f"`{file}` lies outside of `{root}`, where tunesmith was started, so it cannot travel with the search: "
            "start tunesmith in a folder above it, or give the absolute path of a place that all nodes see."
        )
    return PurePosixPath(name.relative_to(root).as_posix())


def _imported(source: Path) -> list[str]:
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):
        return []  # the check of the spec says so
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.append(node.module)
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _place_of(name: str, folder: Path) -> Path | None:
    for place in (folder / f"{name}.py", folder / name):
        if place.is_file() or (place.is_dir() and any(place.glob("*.py"))):
            return place
    return None

"""Where a pretrained model or tokenizer lies: a folder, a hub id, or a folder inside an installed package.

Reads no weights and asks no hub.
"""

import importlib.util
from pathlib import Path

from spaces.errors import SpecError

_PACKAGE = "package:"


def resolve_pretrained(place: str) -> str:
    """The folder on disk of `place`, or `place` itself when it is a hub id.

    `package:import_name/folder` is a folder inside an installed package, found without importing it.
    """
    if place.startswith(_PACKAGE):
        return str(_package_folder(place))
    folder = Path(place).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    if place.startswith(("/", "./", "../", "~")):
        raise SpecError(f"there is no folder `{place}`. Give a folder, a hub id or `package:import_name/folder`.")
    return place


def _package_folder(place: str) -> Path:
    name, _, inside = place.removeprefix(_PACKAGE).partition("/")
    if not name.isidentifier():
        raise SpecError(f"expected `package:import_name/folder`, but got `{place}`.")
    found = importlib.util.find_spec(name)
    if found is None:
        raise SpecError(f"no package `{name}` is installed here. Try `pip install {name.replace('_', '-')}`.")
    roots = list(found.submodule_search_locations or [])
    if not roots:
        raise SpecError(f"`{name}` is a single file, not a package with folders.")
    folder = Path(roots[0]) / inside
    if not folder.is_dir():
        raise SpecError(f"the package `{name}` has no folder `{inside}`. It holds: {_folders_in(Path(roots[0]))}.")
    return folder


def _folders_in(root: Path) -> str:
    names = [path.name for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith("__")]
    return ", ".join(f"`{name}`" for name in names) or "no folders"

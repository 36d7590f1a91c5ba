"""Where a pretrained model or tokenizer lies: a folder, a GGUF file, a hub id, or inside an installed package.

Reads no weights and asks no hub.
"""

import importlib.util
from pathlib import Path

from spaces.errors import SpecError

_PACKAGE = "package:"
_SEARCH = "search:"


def resolve_pretrained(place: str) -> str:
    """The folder or GGUF file on disk of `place`, or `place` itself when it is a hub id.

    `package:import_name/folder` is a folder or GGUF file inside an installed package, found without importing it.
    """
    if place.startswith(_SEARCH):
        raise SpecError(f"`{place}` is looked up when a spec is loaded; here the folder of the checkpoint is needed.")
    if place.startswith(_PACKAGE):
        return str(_package_folder(place))
    folder = Path(place).expanduser()
    if folder.is_dir() or (is_gguf(place) and folder.is_file()):
        return str(folder.resolve())
    if is_gguf(place):
        raise SpecError(f"there is no file `{place}`. A GGUF file is given by its path or in a package.")
    if place.startswith(("/", "./", "../", "~")):
        raise SpecError(f"there is no folder `{place}`. Give a folder, a hub id or `package:import_name/folder`.")
    return place


def is_gguf(place: str) -> bool:
    """Whether `place` names a GGUF file."""
    return place.endswith(".gguf")


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
    if is_gguf(inside) and not folder.is_file():
        files = ", ".join(f"`{path.name}`" for path in sorted(folder.parent.glob("*.gguf"))) or "none"
        raise SpecError(f"the package `{name}` has no file `{inside}`. GGUF files there: {files}.")
    if not folder.exists():
        raise SpecError(f"the package `{name}` has no folder `{inside}`. It holds: {_folders_in(Path(roots[0]))}.")
    return folder


def _folders_in(root: Path) -> str:
    names = [path.name for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith("__")]
    return ", ".join(f"`{name}`" for name in names) or "no folders"

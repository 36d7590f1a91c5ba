"""Text that every CPython carries: its language reference, and the docstrings of its standard library.

Reads the standard library as files and imports none of it. Knows no tokens and no splits.
"""

import ast
import re
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from spaces.errors import SpecError
from trainables.config import BuiltinSourceName

# Label -> file or folder below the standard library. Each exists in every CPython from 3.11 on with more
# than a hundred docstrings; tkinter (a package of its own on Debian) and distutils (gone in 3.12) do not.
DOCSTRING_PACKAGES = {
    "asyncio": "asyncio",
    "decimal": "_pydecimal.py",
    "email": "email",
    "importlib": "importlib",
    "logging": "logging",
    "multiprocessing": "multiprocessing",
    "unittest": "unittest",
    "xml": "xml",
}

# Large enough to hold an argument, small enough that a tenth of the prose is some fifty documents.
_SECTION_CHARACTERS = 600
_SHORTEST_DOCSTRING = 20

# What each source has, by the role of the column that would hold it in a file.
_ROLES: dict[BuiltinSourceName, tuple[str, ...]] = {"stdlib-docs": ("text",), "stdlib-docstrings": ("text", "label")}


def builtin_rows(name: BuiltinSourceName, roles: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The values for `roles` of every document, always in the same order."""
    available = _ROLES[name]
    for role in roles:
        if role not in available:
            others = [f"`{other}`" for other, known in _ROLES.items() if set(roles) <= set(known)]
            advice = f" {' and '.join(others)} would fit." if others else ""
            raise SpecError(f"`{name}` has no {role}.{advice}", path="data.source.builtin")
    places = [available.index(role) for role in roles]
    rows: Iterator[tuple[str, ...]] = (
        ((text,) for text in prose_sections()) if name == "stdlib-docs" else labelled_docstrings()
    )
    return (tuple(row[place] for place in places) for row in rows)


def prose_sections() -> Iterator[str]:
    """The language reference in sections of six hundred characters or more, none crossing a topic."""
    from pydoc_data.topics import topics

    # Topics quote whole chapters of each other: without this, validation text would stand in train too.
    seen: set[str] = set()
    for topic in sorted(topics):
        section: list[str] = []
        for paragraph in re.split(r"\n\s*\n", topics[topic]):
            key = " ".join(paragraph.split())
            if not key or key in seen:
                continue
            seen.add(key)
            section.append(paragraph.strip("\n"))
            if sum(map(len, section)) >= _SECTION_CHARACTERS:
                yield "\n\n".join(section)
                section = []
        if section:
            yield "\n\n".join(section)


def labelled_docstrings() -> Iterator[tuple[str, str]]:
    """(docstring, package) of the standard library; a text that occurs twice is given once."""
    seen: set[str] = set()
    for label, place in DOCSTRING_PACKAGES.items():
        for text in _docstrings_in(_standard_library() / place):
            if len(text) >= _SHORTEST_DOCSTRING and text not in seen:
                seen.add(text)
                yield text, label


def _docstrings_in(place: Path) -> Iterator[str]:
    for file in _python_files(place):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text


def _python_files(place: Path) -> list[Path]:
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    if not files:
        raise SpecError(
            f"this Python carries no source of its standard library (looked for {place}).",
            path="data.source.builtin",
        )
    # Some versions keep a package's own tests inside it.
    return [file for file in files if not {"test", "tests"} & set(file.parts[len(place.parts) :])]


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))

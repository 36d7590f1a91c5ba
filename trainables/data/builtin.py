"""Text that every CPython carries: its language reference, and the docstrings of its standard library.

Reads the standard library as files and imports none of it. Knows no tokens and no splits.
"""

import ast
import io
import keyword
import math
import re
import sysconfig
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spaces.errors import SpecError
from trainables.config import BuiltinSourceName
from trainables.data.columns import Column, Kind

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
_LONGEST_SUMMARY = 120
_LONGEST_PARAGRAPH = 300
# Modules in plain style; few enough that a pass over them takes a second.
_CODE = ("collections", "logging", "argparse.py", "textwrap.py", "shutil.py", "statistics.py", "random.py")
_FEWEST_TOKENS, _MOST_TOKENS = 8, 400

# What each source has: role of the column that would hold it in a file -> its kind.
_HAS: dict[BuiltinSourceName, dict[str, Kind]] = {
    "stdlib-docs": {"text": "text"},
    "stdlib-docstrings": {"text": "text", "label": "label"},
    "stdlib-summaries": {"text": "text", "target": "text"},
    "stdlib-code": {"text": "words", "label": "tags"},
    "stdlib-statements": {"text": "text", "label": "labels"},
    "stdlib-lengths": {"text": "text", "label": "number"},
    "stdlib-instructions": {"prompt": "text", "response": "text"},
    "stdlib-preferences": {"prompt": "text", "chosen": "text", "rejected": "text"},
}


def check_builtin(name: BuiltinSourceName, columns: Sequence[Column]) -> None:
    """Raise SpecError when the source does not have the `columns` of a task."""
    for column in columns:
        if column.kind in ("group", "time"):
            raise SpecError(f"`{name}` has no column to split by {column.kind}. Use your own files.", path=column.path)
        if _HAS[name].get(column.role) != column.kind:
            fitting = [other for other, has in _HAS.items() if all(has.get(each.role) == each.kind for each in columns)]
            advice = f" `{'` or `'.join(fitting)}` would fit." if fitting else " Use your own files."
            raise SpecError(f"`{name}` has no {column.described} for this task.{advice}", path="data.source.builtin")


def builtin_rows(name: BuiltinSourceName, columns: Sequence[Column]) -> Iterator[tuple[Any, ...]]:
    """The values of `columns` of every document, always in the same order."""
    check_builtin(name, columns)
    roles = list(_HAS[name])
    places = [roles.index(column.role) for column in columns]
    return (tuple(row[place] for place in places) for row in _ROWS[name]())


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


def summaries() -> Iterator[tuple[str, str]]:
    """(docstring without its first line, first line) of the standard library; each first line is given once."""
    seen: set[str] = set()
    for text, _ in labelled_docstrings():
        first, _, rest = text.partition("\n\n")
        line, body = " ".join(first.split()), rest.strip()
        if _SHORTEST_DOCSTRING <= len(line) <= _LONGEST_SUMMARY and len(body) > len(line) and line not in seen:
            seen.add(line)
            yield body, line


def labelled_code() -> Iterator[tuple[list[str], list[str]]]:
    """(tokens, kinds) of functions of the standard library: keyword, name, number, operator, string."""
    seen: set[str] = set()
    for place in _CODE:
        for file in _python_files(_standard_library() / place):
            source = file.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(source)):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                text = textwrap.dedent(ast.get_source_segment(source, node, padded=True) or "")
                words, tags = _tokens(text)
                if len(words) >= _FEWEST_TOKENS and text not in seen:
                    seen.add(text)
                    yield words, tags


def functions() -> Iterator[tuple[str, list[str], float]]:
    """(docstring, kinds of statements in the body, log2 of its lines) of functions of the standard library."""
    seen: set[str] = set()
    for place in DOCSTRING_PACKAGES.values():
        for file in _python_files(_standard_library() / place):
            for node in ast.walk(ast.parse(file.read_bytes())):
                text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None
                if not text or len(text) < _SHORTEST_DOCSTRING or text in seen:
                    continue
                seen.add(text)
                assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                present = {type(inner) for inner in ast.walk(node)}
                body = node.body[1:] or node.body
                lines = (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1
                yield text, [name for name, kind in _STATEMENTS.items() if kind in present], math.log2(lines)


def instructions() -> Iterator[tuple[str, str]]:
    """("What does asyncio.runners.run do?", first paragraph of its docstring) of functions and classes."""
    for name, paragraph, _ in _described():
        yield f"What does {name} do?", paragraph


def preferences() -> Iterator[tuple[str, str, str]]:
    """(the same question, first sentence of the docstring, first sentence of something in another package)."""
    described = [(name, _first_sentence(paragraph), package) for name, paragraph, package in _described()]
    for number, (name, sentence, package) in enumerate(described):
        # Half the list away, and further until the package is another one.
        others = (described[(number + len(described) // 2 + step) % len(described)] for step in range(len(described)))
        yield f"What does {name} do?", sentence, next(other for _, other, place in others if place != package)


def _described() -> Iterator[tuple[str, str, str]]:
    """(qualified name, first paragraph of the docstring, package) of what is public; each paragraph once."""
    seen: set[str] = set()
    for package, place in DOCSTRING_PACKAGES.items():
        root = _standard_library() / place
        for file in _python_files(root):
            inside = file.relative_to(root).with_suffix("").parts if root.is_dir() else ()
            module = ".".join((package, *(part for part in inside if part != "__init__")))
            for name, text in _documented(ast.parse(file.read_bytes()).body, module):
                paragraph = " ".join(text.partition("\n\n")[0].split())
                is_short = _SHORTEST_DOCSTRING <= len(paragraph) <= _LONGEST_PARAGRAPH
                if is_short and "._" not in name and paragraph not in seen:
                    seen.add(paragraph)
                    yield name, paragraph, package


def _documented(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}.{node.name}"
            if text := ast.get_docstring(node):
                yield name, text
            if isinstance(node, ast.ClassDef):
                yield from _documented(node.body, name)


def _first_sentence(paragraph: str) -> str:
    return re.split(r"(?<=[.!?])\s", paragraph, maxsplit=1)[0]


_STATEMENTS = {"assign": ast.Assign, "for": ast.For, "if": ast.If, "raise": ast.Raise, "return": ast.Return,
               "try": ast.Try, "while": ast.While, "with": ast.With}  # fmt: skip
_KINDS = {tokenize.NAME: "name", tokenize.NUMBER: "number", tokenize.OP: "operator", tokenize.STRING: "string"}


def _tokens(text: str) -> tuple[list[str], list[str]]:
    words: list[str] = []
    tags: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _KINDS and len(words) < _MOST_TOKENS:
            words.append(token.string)
            tags.append("keyword" if keyword.iskeyword(token.string) else _KINDS[token.type])
    return words, tags


_ROWS: dict[BuiltinSourceName, Callable[[], Iterator[tuple[Any, ...]]]] = {
    "stdlib-docs": lambda: ((text,) for text in prose_sections()),
    "stdlib-docstrings": labelled_docstrings,
    "stdlib-summaries": summaries,
    "stdlib-code": labelled_code,
    "stdlib-statements": lambda: ((text, statements) for text, statements, _ in functions()),
    "stdlib-lengths": lambda: ((text, lines) for text, _, lines in functions()),
    "stdlib-instructions": instructions,
    "stdlib-preferences": preferences,
}


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

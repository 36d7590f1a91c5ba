"""YAML text <-> plain values, with the line of each key. Safe, YAML 1.2 scalars, doubled keys refused.

YAML 1.1, which PyYAML reads, makes `no` a boolean and `1e-4` a text; a spec means neither.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from spaces.errors import SpecError

Lines = dict[str, int]
"""Dotted path -> 1-based line of its key."""

_CORE_SCHEMA = {
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", "~nN\0"),
    "tag:yaml.org,2002:merge": (r"<<", "<"),
}


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would read as something else."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat values instead of pointing at them: specs are for people."""
        return True


for _class in (_Loader, _Dumper):
    for _tag, (_pattern, _first) in _CORE_SCHEMA.items():
        # int before float: the first pattern that fits decides
        _class.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first])  # type: ignore[no-untyped-call]  # stubs lack it
_Loader.add_constructor(
    "tag:yaml.org,2002:int",
    lambda loader, node: int(str(node.value).replace("_", ""), 0 if node.value[:2] in ("0o", "0x") else 10),
)


def parse_yaml(text: str) -> tuple[Any, Lines]:
    """The value that `text` means, and where each key stands.

    Raises:
        SpecError: with the line, for a syntax error, a doubled key or a tag that asks for Python objects.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines: Lines = {}
        _collect_lines(node, "", lines)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise SpecError(f"this is no valid YAML: {error.problem or error.context}.", line=line) from None
    except yaml.YAMLError as error:
        raise SpecError(f"this is no valid YAML: {str(error).splitlines()[0]}.") from None
    finally:
        loader.dispose()


def to_yaml(value: Mapping[str, Any]) -> str:
    """Readable YAML that `parse_yaml` reads back equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _collect_lines(node: yaml.Node, path: str, lines: Lines) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect_lines(item, f"{path}.{index}" if path else str(index), lines)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in seen and key != "<<":
            where = f" in `{path}`" if path else ""
            raise SpecError(f"the key `{key}` stands twice{where}: on lines {seen[key]} and {line}.", line=line)
        seen[key] = line
        child = f"{path}.{key}" if path else key
        lines.setdefault(child, line)
        _collect_lines(value_node, child, lines)

"""YAML text <-> plain values, with the line of each key. Safe, YAML 1.2 scalars, doubled keys and tags refused.

YAML 1.1, which PyYAML reads, makes `no` a boolean and `1e-4` a text; a spec means neither.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from spaces.errors import SpecError

Lines = dict[str, int]
"""Dotted path -> 1-based line of its key or list item."""

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

_PLAIN_TAGS = {
    yaml.ScalarNode: {"tag:yaml.org,2002:str", *_CORE_SCHEMA},
    yaml.SequenceNode: {"tag:yaml.org,2002:seq"},
    yaml.MappingNode: {"tag:yaml.org,2002:map"},
}
_MERGE = "tag:yaml.org,2002:merge"
_MAX_DEPTH = 50
_MAX_DIGITS = 300  # beyond, Python refuses to read or to convert it to a float
_MAX_NODES = 200_000
"""Values in a spec, those that `*aliases` repeat counted each time: aliases of aliases grow without end."""

# What PyYAML says -> what a person can do about it.
_ADVICE = {
    "found character '\\t' that cannot start any token": "a tab stands where YAML wants spaces",
    "mapping values are not allowed here": "a colon stands where none can: indent the lines of a section alike, "
    "and put a text that holds `: ` in quotes",
    "but found another document": "a second document begins here (`---`), but a spec is one document",
    "could not find expected ':'": "a key needs a colon and its value, `key: value`",
    "expected <block end>, but found": "this line is indented unlike the lines above it",
    "found unexpected end of stream": "a quote or bracket is opened here, or above, and never closed",
    "but got '<stream end>'": "a `{` or `[` is opened and never closed",
    "special characters are not allowed": "a control character stands here: write its escape in quotes (`\"\\x07\"`)",
}  # fmt: skip


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # typed as in the base class


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would read as something else."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # typed as in the base class

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat values instead of pointing at them: specs are for people."""
        return True

    def analyze_scalar(self, scalar: str) -> Any:
        """Only double quotes, which escape them, keep the characters that YAML 1.1 reads as line breaks."""
        analysis = super().analyze_scalar(scalar)
        if any(character in scalar for character in "\x85\u2028\u2029"):
            analysis.allow_flow_plain = analysis.allow_block_plain = False
            analysis.allow_single_quoted = analysis.allow_block = False
        return analysis


for _class in (_Loader, _Dumper):
    for _tag, (_pattern, _first) in _CORE_SCHEMA.items():
        # int before float: the first pattern that fits decides
        _class.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first])
_Loader.add_constructor(
    "tag:yaml.org,2002:int",
    lambda loader, node: int(str(node.value).replace("_", ""), 0 if node.value[:2] in ("0o", "0x") else 10),
)


def parse_yaml(text: str) -> tuple[Any, Lines]:
    """The value that `text` means, and where each key stands. An empty text is null.

    Raises:
        SpecError: with the line, for a syntax error, a doubled key, a key that is no text, a tag (`!!python/...`), or
            aliases that repeat too much.
    """
    try:
        loader = _Loader(text)  # reads ahead, so it may fail already
        try:
            node = loader.get_single_node()
            if node is None:
                return None, {}
            lines: Lines = {}
            _Walk(lines).visit(node, "", 0)
            return loader.construct_document(node), lines
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecError(
            f"this is no valid YAML: {_advice(error.problem or error.context or '')}.",
            line=mark.line + 1 if mark else None,
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"this is no valid YAML: {_advice(error.reason)}.", line=line) from None
    except RecursionError:
        raise SpecError(_TOO_DEEP) from None


def to_yaml(value: Mapping[str, Any]) -> str:
    """Readable YAML that `parse_yaml` reads back equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


_TOO_DEEP = f"values are nested more than {_MAX_DEPTH} deep; does an `*alias` contain itself?"


def to_flow_yaml(value: Any) -> str:
    """`value` in one line, such as `{log_uniform: [1.0e-05, 0.001]}`, which `parse_yaml` reads back."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()


def _advice(problem: str) -> str:
    return next((words for part, words in _ADVICE.items() if part in problem), problem)


class _Walk:
    """Visits every value once for each place where it stands, so that what is checked is what will be built."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._num_nodes = 0

    def visit(self, node: yaml.Node, path: str, depth: int) -> None:
        """Check `node` and what is in it, and note the lines of its keys."""
        line = node.start_mark.line + 1
        self._num_nodes += 1
        if self._num_nodes > _MAX_NODES:
            raise SpecError(f"a spec may hold {_MAX_NODES:,} values, but aliases (`*name`) make more of it.", line=line)
        if depth > _MAX_DEPTH:
            raise SpecError(_TOO_DEEP, line=line)
        _check_tag(node)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                child = f"{path}.{index}" if path else str(index)
                self._lines.setdefault(child, item.start_mark.line + 1)
                self.visit(item, child, depth + 1)
        elif isinstance(node, yaml.MappingNode):
            self._visit_mapping(node, path, depth)

    def _visit_mapping(self, node: yaml.MappingNode, path: str, depth: int) -> None:
        seen: dict[str, int] = {}
        merged = []
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged.append(value_node)
                continue
            key, line = _key(key_node), key_node.start_mark.line + 1
            if key in seen:
                where = f" in `{path}`" if path else ""
                raise SpecError(f"the key `{key}` stands twice{where}: on lines {seen[key]} and {line}.", line=line)
            seen[key] = line
            child = f"{path}.{key}" if path else key
            self._lines.setdefault(child, line)
            self.visit(value_node, child, depth + 1)
        for value_node in merged:
            # `<<: *base` or `<<: [*base, *other]`; own keys win, so their lines were noted first
            for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                if not isinstance(source, yaml.MappingNode):
                    raise SpecError(
                        "`<<` takes a mapping, such as `<<: *name`.", path=path, line=value_node.start_mark.line + 1
                    )
                self.visit(source, path, depth + 1)


def _key(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str":
        return str(node.value)
    shown = f"`{node.value}`" if isinstance(node, yaml.ScalarNode) and node.value else "this key"
    raise SpecError(f"keys are texts: put {shown} in quotes.", line=node.start_mark.line + 1)


def _check_tag(node: yaml.Node) -> None:
    pattern = _CORE_SCHEMA.get(node.tag, (".*", ""))[0]
    if node.tag in _PLAIN_TAGS[type(node)] and (
        not isinstance(node, yaml.ScalarNode) or re.fullmatch(pattern, node.value, re.DOTALL)
    ):
        if node.tag.endswith(":int") and len(node.value) > _MAX_DIGITS:
            raise SpecError(f"a number may have {_MAX_DIGITS} digits.", line=node.start_mark.line + 1)
        return
    tag = node.tag.replace("tag:yaml.org,2002:", "!!")
    raise SpecError(f"tags such as `{tag}` are not allowed: write the plain value.", line=node.start_mark.line + 1)

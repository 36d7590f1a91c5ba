"""YAML text: scalars as YAML 1.2 has them, what is refused and on which line, and the way there and back."""

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.yaml_text import parse_yaml, to_yaml
from spaces.errors import SpecError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("+.5", 0.5),
        ("-3", -3),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", 1000),
        ("-.inf", -math.inf),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'1e-4'", "1e-4"),
        ("2020-01-01", "2020-01-01"),
        ("12:30:45", "12:30:45"),
        ("=", "="),
        ("1.5e", "1.5e"),
        ("0x", "0x"),
        ("!!str 1", "1"),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    found, _ = parse_yaml(f"key: {text}")
    assert found["key"] == value
    assert type(found["key"]) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_yaml(".nan")[0])


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\ufeff"])
def test_an_empty_text_is_null(text: str) -> None:
    assert parse_yaml(text) == (None, {})


def test_every_key_has_its_line() -> None:
    _, lines = parse_yaml("a: 1\nb:\n  c: [{d: 1}]\n\n  a.b: 2\n")
    assert lines == {"a": 1, "b": 2, "b.c": 3, "b.c.0": 3, "b.c.0.d": 3, "b.a.b": 5}


@pytest.mark.parametrize(
    ("text", "line", "fragments"),
    [
        ("a: 1\nb: 2\na: 3", 3, ("`a` stands twice", "lines 1 and 3")),
        ("a:\n  b: 1\n  'b': 2", 3, ("`b` stands twice in `a`", "lines 2 and 3")),
        ("a: {b: 1, b: 1}", 1, ("`b` stands twice in `a`",)),
        ("a:\n\tb: 1", 2, ("a tab stands where YAML wants spaces",)),
        ("a: 1\nb: c: d", 2, ("a colon stands where none can", "quotes")),
        ("a: 1\n b: 2", 2, ("a colon stands where none can", "indent")),
        ("a:\n  - 1\n b: 2", 3, ("indented unlike the lines above",)),
        ("a: 1\n---\nb: 2", 2, ("a second document begins here",)),
        ("a: 1\nb: 'open", 2, ("never closed",)),
        ("a: {b: 1", 1, ("never closed",)),
        ("a: *gone", 1, ("undefined alias",)),
        ("a: 1\nb: \x00", 2, ("control character",)),
        ("1: one", 1, ("keys are texts", "put `1` in quotes")),
        ("a:\n  true: one", 2, ("put `true` in quotes",)),
        ("? [a, b]\n: one", 1, ("keys are texts",)),
        ("a: 1\nb: !!python/object/apply:os.system ['true']", 2, ("tags such as", "os.system", "not allowed")),
        ("a: !mine 1", 1, ("tags such as `!mine`",)),
        ("a: !!int many", 1, ("tags such as `!!int`",)),
        ("a: !!bool maybe", 1, ("tags such as `!!bool`",)),
        ("a: !!timestamp 2020-01-01", 1, ("tags such as `!!timestamp`",)),
        ("a: !!set {b}", 1, ("tags such as `!!set`",)),
        ("a: " + "9" * 5000, 1, ("digits",)),
        ("a: 1\n<<: 5", 2, ("`<<` takes a mapping",)),
    ],
)
def test_bad_yaml_is_refused_with_its_line(text: str, line: int, fragments: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text)
    assert caught.value.line == line
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


def test_aliases_and_merge_keys_work_and_keep_their_lines() -> None:
    value, lines = parse_yaml("base: &base\n  a: 1\n  b: 2\nother:\n  <<: *base\n  b: 3\nlist: [*base]\n")
    assert value == {"base": {"a": 1, "b": 2}, "other": {"a": 1, "b": 3}, "list": [{"a": 1, "b": 2}]}
    assert (lines["other.a"], lines["other.b"]) == (2, 6)


def test_a_quoted_merge_sign_is_a_key() -> None:
    assert parse_yaml('"<<": 1')[0] == {"<<": 1}


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(
            ["a0: &a0 [1, 1]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 30))]
        ),
        "\n".join(
            ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}]}}" for i in range(1, 30))]
        ),
        "a: &a [*a]",
        "a: &a {<<: *a}",
        "[" * 5000,
        "[" * 80 + "]" * 80,
    ],
    ids=["lists of lists", "merges of merges", "list in itself", "merge of itself", "open brackets", "deep"],
)
def test_a_small_text_cannot_become_endless(text: str) -> None:
    started = time.process_time()  # the machine may have others to serve
    with pytest.raises(SpecError):
        parse_yaml(text)
    assert time.process_time() - started < 5


_TRAPS = [
    "1e-4", "no", "null", "1_000", "", "~", "true", "0x1F", "0o7", "=", "<<", ".nan", "- a", "a: b", "# c", "1:30",
    "two\nlines", "ends\n", "\n\n", "  padded  ", "tab\there", "é", "日本語", "🙂", "\u2028", "\x85", "\ufeff",
    "'", '"', "*alias", "&anchor", "!tag", "%", "@", "`", "?", "|", ">", "---", "...",
]  # fmt: skip
_texts = st.sampled_from(_TRAPS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | _texts
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_texts, _values, max_size=4))
def test_what_was_written_is_read_back_equal(value: dict[str, Any]) -> None:
    found, _ = parse_yaml(to_yaml(value))
    assert repr(found) == repr(value)


@pytest.mark.parametrize("text", [*_TRAPS, "word " * 60, "word " * 60 + "\n" + " indented " * 30])
def test_a_tricky_text_survives_as_key_and_value(text: str) -> None:
    assert parse_yaml(to_yaml({text: [text, {text: text}]}))[0] == {text: [text, {text: text}]}

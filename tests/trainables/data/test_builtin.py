"""Text that every Python carries: enough of it, always in the same order."""

from collections import Counter

import pytest

from spaces.errors import SpecError
from trainables.data.builtin import DOCSTRING_PACKAGES, builtin_rows, labelled_docstrings, prose_sections
from trainables.data.columns import Column

TEXT = Column(role="text", name="text")


@pytest.fixture(scope="module")
def docstrings() -> list[tuple[str, str]]:
    """Texts with their labels. To read them takes a second or two."""
    return list(labelled_docstrings())


def test_docstrings_have_six_labels_or_more_with_a_hundred_texts_each(docstrings: list[tuple[str, str]]) -> None:
    counts = Counter(label for _, label in docstrings)
    assert set(counts) == set(DOCSTRING_PACKAGES)
    assert len(counts) >= 6
    assert min(counts.values()) >= 100
    assert sum(counts.values()) >= 1000


def test_docstrings_are_distinct_and_long_enough(docstrings: list[tuple[str, str]]) -> None:
    texts = [text for text, _ in docstrings]
    assert len(set(texts)) == len(texts)
    assert min(map(len, texts)) >= 20


def test_prose_is_enough_for_a_tenth_to_be_meaningful() -> None:
    sections = list(prose_sections())
    assert len(sections) >= 300
    assert sum(map(len, sections)) > 300_000


def test_prose_repeats_no_paragraph() -> None:
    paragraphs = [" ".join(part.split()) for text in prose_sections() for part in text.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)


@pytest.mark.parametrize("name", ["stdlib-docs", "stdlib-docstrings"])
def test_order_is_the_same_each_time(name: str) -> None:
    assert list(builtin_rows(name, (TEXT,))) == list(builtin_rows(name, (TEXT,)))


def test_language_models_get_the_same_docstrings_without_labels(docstrings: list[tuple[str, str]]) -> None:
    unlabelled = list(builtin_rows("stdlib-docstrings", (TEXT,)))
    assert unlabelled == [(text,) for text, _ in docstrings]


def test_prose_has_no_labels_to_classify() -> None:
    with pytest.raises(SpecError, match="stdlib-docstrings"):
        builtin_rows("stdlib-docs", (TEXT, Column(role="label", name="label", kind="label")))


QUESTIONS = tuple(Column(role=role, name=role) for role in ("prompt", "response"))
PAIRS = tuple(Column(role=role, name=role) for role in ("prompt", "chosen", "rejected"))


def test_instructions_are_enough_and_each_answer_is_given_once() -> None:
    rows = list(builtin_rows("stdlib-instructions", QUESTIONS))
    assert len(rows) >= 800
    assert len({answer for _, answer in rows}) == len(rows)
    assert dict(rows)["What does asyncio.runners.run do?"] == "Execute the coroutine and return the result."


def test_a_rejected_answer_belongs_to_another_package() -> None:
    rows = list(builtin_rows("stdlib-preferences", PAIRS))
    package_of = {chosen: prompt.split()[2].split(".")[0] for prompt, chosen, _ in rows}
    assert len(rows) >= 800
    assert rows == list(builtin_rows("stdlib-preferences", PAIRS))
    assert all(prompt.split()[2].split(".")[0] != package_of[rejected] for prompt, _, rejected in rows)

"""Cleaning: what each step does to a text, which documents stay, and what is counted."""

import time
from typing import Any, get_args

import pytest

from spaces.errors import SpecError
from trainables.config import DataConfig
from trainables.data.cleaning import _CHANGES, _JUDGES, Cleaner
from trainables.data.columns import Column
from trainables.data.deduplication import NearDuplicates
from trainables.data_sections import STEP_ARGUMENTS, STEPS_FOR_WORDS, StepName

TEXT = Column(role="text", name="text")
LABEL = Column(role="label", name="label", kind="label")
WORDS = Column(role="text", name="text", kind="words")
STORY = "The harbour lay still under a low sky, and nobody on the quay had seen the boats come home that night."


def cleaned(steps: list[Any], *texts: str) -> list[str]:
    return [text for (text,) in Cleaner(steps, [TEXT]).clean([(text,) for text in texts])]


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        ("strip_html", "<p>Salt &amp; <b>sea</b></p><script>x=1</script><p>wind</p>", "Salt & sea\nwind"),
        ("strip_html", "a < b and c > d", "a < b and c > d"),
        ("strip_html", "one<br/>two <!-- hidden -->three", "one\ntwo three"),
        ("strip_html", "<b>x</b><![foo bar]>y <!-- open", "xy  open"),
        ("normalize_unicode", "itâ€™s cafe\u0301", "it's café"),
        ("strip_symbols", "wind ☃🙂 = 5 \u200bknots, café!", "wind   5 knots, café!"),
        ("collapse_whitespace", "  a \t b\u00a0c \n\n\n  d ", "a b c\nd"),
        ("lowercase", "The SEA Ä", "the sea ä"),
        ("remove_stop_words", "The boat is on the sea, and it sails.", "boat sea, sails."),
        ("lemmatize", "boats were sailing", "boat be sail"),
        ({"lemmatize": "de"}, "zwei Häuser", "zwei Haus"),
    ],
)
def test_a_step_changes_a_text(step: Any, text: str, expected: str) -> None:
    assert cleaned([step], text) == [expected]


@pytest.mark.parametrize(
    ("step", "stays", "goes"),
    [
        ({"min_characters": 4}, "four", "six"),
        ({"max_characters": 4}, "four", "seven"),
        ({"language": "en"}, STORY, "Das Wetter ist heute schön, und wir gehen zusammen an den Strand."),
        ("strip_symbols", "word", "☃ ☃"),
    ],
)
def test_a_step_removes_whole_documents(step: Any, stays: str, goes: str) -> None:
    cleaner = Cleaner([step], [TEXT, LABEL])
    assert list(cleaner.clean([(goes, "x"), (stays, "y")])) == [(stays, "y")]
    assert cleaner.counts[0].removed == 1


@pytest.mark.parametrize(
    "piece", [" ", "\t", "\u00a0 ", "<b>", "<!--", "<!-- x -->", "1 ", "a@", "a.", "AB12 ", "0-", "+1 ", "::"]
)
def test_no_text_takes_long(piece: str) -> None:
    steps = ["strip_html", "redact_personal_data", "strip_symbols", "remove_stop_words", "collapse_whitespace"]
    begun = time.process_time()  # the machine may have others to serve
    cleaned([*steps, "lowercase", "lemmatize"], f"<i>{piece * 50_000}</i>!")
    assert time.process_time() - begun < 20


def test_steps_work_in_the_order_of_the_list() -> None:
    texts = ["<b>Sea</b>", "sea"]
    assert cleaned(["strip_html", "lowercase", "deduplicate"], *texts) == ["sea"]
    assert cleaned(["deduplicate", "strip_html", "lowercase"], *texts) == ["sea", "sea"]


def test_the_first_of_equal_texts_stays_with_its_label() -> None:
    rows = [("sea", "a"), ("sky", "b"), ("sea", "c")]
    cleaner = Cleaner(["deduplicate"], [TEXT, LABEL])
    assert list(cleaner.clean(rows)) == rows[:2]
    assert cleaner.counts[0].as_json() == {"step": "deduplicate", "removed": 1, "changed": 0}


def test_pairs_are_equal_only_when_both_texts_are() -> None:
    rows = [("sea", "Meer"), ("sea", "See"), ("sea", "Meer"), ("seaMe", "er")]
    columns = [TEXT, Column(role="target", name="target")]
    assert list(Cleaner(["deduplicate"], columns).clean(rows)) == [rows[0], rows[1], rows[3]]


def test_every_text_column_is_changed_and_no_other() -> None:
    columns = [TEXT, LABEL, Column(role="target", name="target")]
    assert list(Cleaner(["lowercase"], columns).clean([("SEA", "SEA", "SEE")])) == [("sea", "SEA", "see")]


def test_near_duplicates_go_and_other_texts_stay() -> None:
    near = STORY.replace("night", "evening")
    other = "Nobody reads the manual of a compass until the needle points the wrong way."
    assert cleaned([{"near_deduplicate": 0.7}], STORY, near, STORY.upper(), other) == [STORY, other]
    assert cleaned([{"near_deduplicate": 0.95}], STORY, near) == [STORY, near]


def test_near_duplicates_are_told_by_their_similarity() -> None:
    words = [f"word{n}" for n in range(200)]
    known = NearDuplicates(0.8)
    assert known.is_new(" ".join(words))
    assert not known.is_new(" ".join(words[:190]))  # about 0.95 of all pieces are common
    assert known.is_new(" ".join(words[:80]))  # about 0.4


def test_counts_say_what_each_step_did() -> None:
    cleaner = Cleaner(["lowercase", {"min_characters": 3}], [TEXT])
    list(cleaner.clean([("SEA",), ("sky",), ("A",)]))
    assert [(count.step, count.removed, count.changed) for count in cleaner.counts] == [
        ("lowercase", 0, 2),
        ("min_characters: 3", 1, 0),
    ]


def test_words_stay_with_their_tags() -> None:
    rows = [(["The", "\u200b", "Boats"], ["O", "O", "B"])]
    tags = Column(role="label", name="label", kind="tags")
    kept = list(Cleaner(["normalize_unicode", "lowercase", "lemmatize"], [WORDS, tags]).clean(rows))
    assert len(kept[0][0]) == 3
    assert kept[0][0][2] == "boat"
    assert kept[0][1] == ["O", "O", "B"]


def test_documents_are_read_one_after_another() -> None:
    read = []

    def rows() -> Any:
        for number in range(3):
            read.append(number)
            yield (f"text {number}",)

    stream = Cleaner(["lowercase", "deduplicate", "near_deduplicate"], [TEXT]).clean(rows())
    next(stream)
    assert read == [0]


def test_every_named_step_is_built() -> None:
    assert {*_CHANGES, *_JUDGES, "lemmatize"} == set(get_args(StepName))
    assert set(get_args(StepName)) >= STEPS_FOR_WORDS | set(STEP_ARGUMENTS)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["strip_htm"], "Did you mean `strip_html`"),
        (["min_characters"], "needs a number of characters"),
        ([{"min_characters": 0}], "but got 0"),
        ([{"near_deduplicate": 1.5}], "between 0.1 and 0.95"),
        ([{"lowercase": True}], "takes no argument"),
        ([{"language": "en", "lowercase": 1}], "one key"),
        (["lowercase", "lowercase"], "stands twice"),
        ("lowercase", "a list of steps"),
    ],
)
def test_a_step_that_does_not_exist_is_refused(steps: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(source={"builtin": "stdlib-docs"}, clean=steps)


@pytest.mark.parametrize("step", ["language", "lemmatize"])
def test_an_unknown_language_is_refused(step: str) -> None:
    with pytest.raises(SpecError, match="knows no language `xq`"):
        cleaned([{step: "xq"}], "text")


def test_steps_survive_being_written_and_read() -> None:
    data = DataConfig(source={"builtin": "stdlib-docs"}, clean=["lowercase", {"language": "en"}])
    assert DataConfig(**data.model_dump(mode="json")) == data
    assert data.model_dump(mode="json")["clean"] == ["lowercase", {"language": "en"}]

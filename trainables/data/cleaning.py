"""Cleans documents one after another, as a list of steps says, and counts what each step did.

A step changes every text of a document, or judges it: then the whole document stays or goes. Holds no document; knows
no files and no tokens.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from html.parser import HTMLParser
from typing import Any

from spaces.errors import SpecError, did_you_mean
from trainables.data.columns import Column
from trainables.data.deduplication import ExactDuplicates, NearDuplicates
from trainables.data.redaction import redact
from trainables.data_sections import CleaningStep, StepName, step_and_argument

Change = Callable[[str], str]
Judge = Callable[[Sequence[str]], bool]
"""The texts of a document, the main one first -> whether it stays."""


@dataclass(kw_only=True)
class StepCount:
    """What one step did to all documents."""

    step: str
    """Its name, with its argument."""
    removed: int = 0
    """Documents that it removed, or left nothing of."""
    changed: int = 0
    """Documents that it changed."""

    def __str__(self) -> str:
        return f"{self.step} removed {self.removed:,} documents and changed {self.changed:,}"

    def as_json(self) -> dict[str, Any]:
        """For the card."""
        return {"step": self.step, "removed": self.removed, "changed": self.changed}


class Cleaner:
    """The steps of one preparation. Give it held-out parts first: of duplicates, the first one stays."""

    def __init__(self, steps: Sequence[CleaningStep], columns: Sequence[Column]) -> None:
        named = [step_and_argument(step) for step in steps]
        self.counts = [StepCount(step=name if argument is None else f"{name}: {argument}") for name, argument in named]
        self._steps = [_built(name, argument) for name, argument in named]
        self._places = [place for place, column in enumerate(columns) if column.kind in ("text", "words")]

    def clean(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """The rows that stay, in their order; values of other columns as they were."""
        if not self._steps:
            yield from rows
            return
        for row in rows:
            cleaned = self._cleaned([row[place] for place in self._places])
            if cleaned is not None:
                values = list(row)
                for place, text in zip(self._places, cleaned, strict=True):
                    values[place] = text
                yield tuple(values)

    def _cleaned(self, texts: list[Any]) -> list[Any] | None:
        for step, count in zip(self._steps, self.counts, strict=True):
            if isinstance(step, _Judgement):
                if not step.stays([text if isinstance(text, str) else " ".join(text) for text in texts]):
                    count.removed += 1
                    return None
                continue
            changed = [_changed(text, step.change) for text in texts]
            if any(_is_blank(text) for text in changed):
                count.removed += 1
                return None
            count.changed += changed != texts
            texts = changed
        return texts


def _changed(text: Any, change: Change) -> Any:
    if isinstance(text, str):
        return change(text)
    return [change(word) or word for word in text]  # a word that vanished would leave its tag alone


def _is_blank(text: Any) -> bool:
    return isinstance(text, str) and not text.strip()


# --- the steps -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Change:
    change: Change


@dataclass(frozen=True, slots=True)
class _Judgement:
    stays: Judge


class _TextOfPage(HTMLParser):
    """Collects what a browser would show; blocks end a line."""

    _HIDDEN = frozenset({"script", "style", "template", "noscript"})
    _BLOCKS = frozenset(
        {"address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure", "footer",
         "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section",
         "table", "td", "th", "title", "tr", "ul"}
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._hidden += tag in self._HIDDEN
        if tag in self._BLOCKS:
            self.pieces.append("\n")

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        if tag in self._BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._HIDDEN:
            self._hidden = max(self._hidden - 1, 0)
        if tag in self._BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data)

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:  # `<![` of no known kind, for which the parser has no other answer
            return self.parse_bogus_comment(i)


_LOOKS_LIKE_HTML = re.compile(r"</?[A-Za-z][^<>]*>|<!--|<!DOCTYPE|&(?:#\d+|#x[0-9a-f]+|[a-z]+\d*);", re.IGNORECASE)


def _strip_html(text: str) -> str:
    if not _LOOKS_LIKE_HTML.search(text):
        return text  # `a < b` is no tag
    page = _TextOfPage()
    page.feed(_without_comments(text))
    page.close()
    lines = (line.strip() for line in "".join(page.pieces).split("\n"))
    return "\n".join(filter(None, lines))


def _without_comments(text: str) -> str:
    # The parser looks for the end of each comment anew, which takes minutes where many have none.
    kept, place = [], 0
    while (begin := text.find("<!--", place)) >= 0 and (end := text.find("-->", begin)) >= 0:
        kept.append(text[place:begin])
        place = end + 3
    return "".join([*kept, text[place:].replace("<!--", "")])


def _normalize_unicode(text: str) -> str:
    import ftfy

    return str(ftfy.fix_text(text, normalization="NFC", unescape_html=False))


@lru_cache(maxsize=4096)
def _unless_symbol(character: str) -> str:
    # Unicode's categories: letters, marks, numbers, punctuation and spaces stay; symbols, control and private
    # characters go.
    return character if character in "\n\t" or unicodedata.category(character)[0] in "LMNPZ" else ""


def _strip_symbols(text: str) -> str:
    return "".join(map(_unless_symbol, text))


def _collapse_whitespace(text: str) -> str:
    # No regular expression: one that looks for spaces before a line's end takes minutes for a page of spaces.
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.split("\n"))))


_WORD = re.compile(r"\w+(?:['’]\w+)*")
# The space before a word that is taken out goes with it.
_SPACED_WORD = re.compile(r"[^\S\n]?\b\w+(?:['’]\w+)*")


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)


def _remove_stop_words(text: str) -> str:
    stop = _stop_words()
    return _SPACED_WORD.sub(lambda found: "" if found[0].strip().lower() in stop else found[0], text).strip()


def _lemmatizer(language: str) -> Change:
    simplemma = _optional("simplemma", step="lemmatize")
    from simplemma.strategies.dictionaries.dictionary_factory import SUPPORTED_LANGUAGES

    _check_language(language, sorted(SUPPORTED_LANGUAGES), step="lemmatize")
    lemma = lru_cache(maxsize=65536)(partial(simplemma.lemmatize, lang=language))
    return lambda text: _WORD.sub(lambda found: lemma(found[0]), text)


def _language_judge(language: str) -> Judge:
    langid = _optional("py3langid.langid", step="language")
    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    _check_language(language, sorted(map(str, identifier.labels)), step="language")
    return lambda texts: str(identifier.classify(texts[0])[0]) == language


def _optional(module: str, *, step: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SpecError(
            f"`{step}` needs the package {module.partition('.')[0]}: pip install 'tunesmith[cleaning]'.",
            path="data.clean",
        ) from error


def _check_language(language: str, known: Sequence[str], *, step: str) -> None:
    if language not in known:
        raise SpecError(
            f"`{step}` knows no language `{language}`.{did_you_mean(language, known)} Languages: {', '.join(known)}.",
            path="data.clean",
        )


def _judge_of_pairs(is_new: Callable[[str], bool]) -> Judge:
    return lambda texts: is_new("\x00".join(texts))


_CHANGES: Mapping[StepName, Change] = {
    "strip_html": _strip_html,
    "normalize_unicode": _normalize_unicode,
    "strip_symbols": _strip_symbols,
    "collapse_whitespace": _collapse_whitespace,
    "lowercase": str.lower,
    "redact_personal_data": redact,
    "remove_stop_words": _remove_stop_words,
}
_JUDGES: Mapping[StepName, Callable[[Any], Judge]] = {
    "min_characters": lambda fewest: lambda texts: len(texts[0]) >= fewest,
    "max_characters": lambda most: lambda texts: len(texts[0]) <= most,
    "language": _language_judge,
    "deduplicate": lambda _: _judge_of_pairs(ExactDuplicates().is_new),
    "near_deduplicate": lambda similarity: _judge_of_pairs(NearDuplicates(similarity).is_new),
}


def _built(name: StepName, argument: Any) -> "_Change | _Judgement":
    if name in _CHANGES:
        return _Change(_CHANGES[name])
    if name == "lemmatize":
        return _Change(_lemmatizer(argument))
    return _Judgement(_JUDGES[name](argument))

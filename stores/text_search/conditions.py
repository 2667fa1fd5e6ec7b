"""Search terms, the searched fields of a call with their words, and the conditions for calls that contain the terms.

The tokenizer folds letter case. Compound words (`ConnectionTimeout`, `read_timeout`) yield the whole word and its
parts. Scripts without spaces between words (such as Chinese, Japanese, Korean and Thai) yield single characters and
adjacent pairs.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, islice, pairwise
from typing import Final

from stores.database import Document
from stores.errors import BadInputError
from stores.input_checks import check_length
from stores.json import codec
from stores.query import text_expressions

MAX_WORD_LENGTH: Final = 40
"""Maximum characters of a word; longer words, mostly data, are indexed by this prefix."""

MAX_WORDS: Final = 2_000
"""Maximum different words of one text; further ones are ignored."""

_SLICE_LENGTH: Final = 20_000
"""Characters tokenized in one step; a longer step would block other threads."""

_ESCAPE_OR_WORD: Final = re.compile(r"\\u[0-9a-f]{4}|\\.|(\w+)")
_WORD: Final = re.compile(r"\w+")
_BETWEEN_PARTS: Final = re.compile(r"_+|(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_UNSPACED: Final = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3105-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+)"
)


def words_of(text: str, *, is_json: bool = False) -> list[str]:
    """Return the different words of a text (or JSON text with keys), up to `MAX_WORDS` and one more."""
    pattern = _ESCAPE_OR_WORD if is_json else _WORD
    forms = chain.from_iterable(map(_forms, chain.from_iterable(map(pattern.findall, _slices(text)))))
    return list(islice(dict.fromkeys(forms), MAX_WORDS + 1)) if len(text) <= _SLICE_LENGTH else _first_words(forms)


def words_to_find(text: str) -> tuple[list[str], bool]:
    """Return the words of texts that contain this text, and True if one word decides."""
    words = _WORD.findall(text)
    forms = [each for word in words for each in _specific_forms(word)]
    is_exact = len(forms) == 1 and words == [text] and len(text) <= MAX_WORD_LENGTH and not _UNSPACED.search(text)
    return list(dict.fromkeys(forms)), is_exact


def _first_words(forms: Iterable[str]) -> list[str]:
    first: dict[str, None] = {}
    for word in forms:
        first[word] = None
        if len(first) > MAX_WORDS:
            break
    return list(first)


def _slices(text: str) -> Iterator[str]:
    """Yield the text in slices that do not cut words or JSON escapes."""
    start = 0
    while len(text) - start > _SLICE_LENGTH:
        end = start + _SLICE_LENGTH
        while end < len(text) and end - start < 2 * _SLICE_LENGTH and text[end] != " ":
            end += 1
        yield text[start:end]
        start = end
    yield text[start:]


@lru_cache(50_000)  # programs repeat their words
def _forms(word: str) -> tuple[str, ...]:
    """Return the indexed forms of a word; none for JSON escapes."""
    if not word.isascii() and _UNSPACED.search(word):
        pieces = _UNSPACED.split(word)
        unspaced = (form for run in pieces[1::2] for form in (*run, *map("".join, pairwise(run))))
        return (*unspaced, *chain.from_iterable(map(_forms, filter(None, pieces[::2]))))
    whole = word[:MAX_WORD_LENGTH].casefold()
    if "_" not in word and word[1:].casefold() == word[1:]:
        return (whole,) if whole else ()
    parts = (part[:MAX_WORD_LENGTH].casefold() for part in _BETWEEN_PARTS.split(word) if len(part) > 1)
    return tuple(dict.fromkeys((whole, *parts)))


def _specific_forms(word: str) -> Iterator[str]:
    """Yield the most specific forms of a word: the whole word, or pairs of characters."""
    if word.isascii() or not _UNSPACED.search(word):
        yield word[:MAX_WORD_LENGTH].casefold()
        return
    pieces = _UNSPACED.split(word)
    for run in pieces[1::2]:
        yield from map("".join, pairwise(run)) if len(run) > 1 else run
    for piece in filter(None, pieces[::2]):
        yield piece[:MAX_WORD_LENGTH].casefold()


MAX_TEXT: Final = 1_000
"""Maximum characters of a search text."""
MAX_TERMS: Final = 20
MAX_IN_PATTERNS: Final = 200
"""Maximum characters of all terms that become regular expressions.

If a text nearly matches everywhere, MongoDB compares each of its characters with all of them: 900 took 8 seconds for
3.5 MB. Other terms use fast substring search (`Terms.substrings`), which ignores letter case for ASCII only.
"""
_MAX_SHORT: Final = 8
"""Maximum length of terms that always become regular expressions; all terms may be that short."""

_TERM: Final = re.compile(r'(-(?=[^\s-]))?(?:"([^"]*)(?:"|\Z)|(\S+))')


@dataclass(frozen=True)
class Term:
    """A word or phrase, which matches anywhere in a text, ignoring letter case."""

    text: str
    is_negative: bool = False

    @cached_property
    def words(self) -> list[str]:
        """Words that a call must contain to contain the term."""
        return words_to_find(self.text)[0]

    @cached_property
    def is_word(self) -> bool:
        """True if the term is a single indexed word, so that the index alone decides."""
        return words_to_find(self.text)[1]

    @cached_property
    def length(self) -> int:
        """Length of the term in JSON, its longest form."""
        return len(codec.encode(self.text)) - 2


@dataclass(frozen=True)
class Terms:
    """All terms of a search."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...] = ()

    @property
    def have_words(self) -> bool:
        """True if a wanted term contains a word, so that an index can be used."""
        return any(term.words for term in self.wanted)

    @cached_property
    def substrings(self) -> frozenset[Term]:
        """Terms that are searched as lowercase substrings instead of regular expressions."""
        every = (*self.wanted, *self.unwanted)
        if sum(term.length for term in every) <= MAX_IN_PATTERNS:
            return frozenset()
        return frozenset(term for term in every if term.length > _MAX_SHORT and term.text.isascii())

    @property
    def length_in_patterns(self) -> int:
        """Total length of the terms that become regular expressions."""
        return sum(term.length for term in (*self.wanted, *self.unwanted) if term not in self.substrings)


def parse(text: str) -> Terms:
    """Parse search text such as `timeout "no answer" -retry`.

    Raises:
        BadInputError: if no term is wanted, a limit is exceeded, or the text contains a lone surrogate.
    """
    check_length(text, MAX_TEXT, "text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadInputError("contains a lone surrogate, which no stored text has; remove it", "text")
    terms_found = [Term(phrase or word, bool(minus)) for minus, phrase, word in _TERM.findall(text)]
    wanted = [term for term in dict.fromkeys(terms_found) if term.text.strip() and not term.is_negative]
    unwanted = [term for term in dict.fromkeys(terms_found) if term.text.strip() and term.is_negative]
    if not wanted:
        problem = "has only excluded terms" if unwanted else "is empty"
        raise BadInputError(f'{problem}; add a word to search for, or a "phrase in quotes"', "text")
    if len(wanted) + len(unwanted) > MAX_TERMS:
        raise BadInputError(
            f"has {len(wanted) + len(unwanted)} words and phrases; the limit is {MAX_TERMS} "
            "(quoted text counts as one phrase)",
            "text",
        )
    terms = Terms(tuple(wanted), tuple(unwanted))
    if terms.length_in_patterns > MAX_IN_PATTERNS:
        raise BadInputError(
            f"has {terms.length_in_patterns} characters in words and phrases with non-ASCII letters; the limit is "
            f"{MAX_IN_PATTERNS} in total; remove some",
            "text",
        )
    return terms


@dataclass(frozen=True, slots=True)
class SearchedField:
    """A searched field: name, path, bit in index entries, weight of a term in it, and whether it is JSON.

    `wanted` is the row field that reads it.
    """

    name: str
    path: str
    bit: int
    weight: int
    wanted: str
    is_json: bool = False

    def text(self, call: Document) -> str:
        """Return the field's text in a call that was read with `PATHS`; empty if missing."""
        text = call.get("json", {}).get(self.path.partition(".")[2]) if self.is_json else call.get(self.path)
        return text or ""

    def as_written(self, term: Term) -> str:
        """Return a term as it is written in this field."""
        return codec.encode(term.text)[1:-1] if self.is_json else term.text

    def pattern(self, term: Term) -> str:
        """Return MongoDB's regular expression for a term in this field."""
        return text_expressions.escaped(self.as_written(term))


SEARCHED_FIELDS: Final = (
    SearchedField("op_name", "op_trace_name", 1, 8, "op_trace_name"),
    SearchedField("display_name", "display_name", 2, 8, "display_name"),
    SearchedField("exception", "exception", 4, 4, "exception"),
    SearchedField("output", "json.output", 8, 2, "output", is_json=True),
    SearchedField("inputs", "json.inputs", 16, 1, "inputs", is_json=True),
)
"""In the order of search and highlights."""

ALL_BITS: Final = sum(field.bit for field in SEARCHED_FIELDS)

WEIGHTS: Final = tuple(
    sum(field.weight for field in SEARCHED_FIELDS if bits & field.bit) for bits in range(ALL_BITS + 1)
)
"""Score of a term by the bits of the fields that contain it."""

PATHS: Final = {field.path: 1 for field in SEARCHED_FIELDS}
"""The projection of all searched fields."""


_CASE_EQUIVALENTS: Final = {"k": "\N{KELVIN SIGN}", "s": "\N{LATIN SMALL LETTER LONG S}"}
"""Non-ASCII characters that equal an ASCII letter when letter case is ignored."""


def matching(terms: Terms, *, by_words: bool) -> list[Document]:
    """Return the conditions for calls; with `by_words`, only those that the index has not checked."""
    conditions = [_contains(terms, term) for term in terms.wanted if not (by_words and term.is_word)]
    unwanted = [_contains(terms, term) for term in terms.unwanted if not (by_words and term.is_word)]
    return [*conditions, *([{"$nor": unwanted}] if unwanted else [])]


def possibly_matching(terms: Terms) -> list[Document]:
    """Return the conditions for calls that may contain the words, before these are compared."""
    return matching(Terms(terms.wanted, tuple(term for term in terms.unwanted if not term.is_word)), by_words=False)


def _contains(terms: Terms, term: Term) -> Document:
    if term in terms.substrings:
        return {"$expr": _contains_expression(terms, term)}
    return {"$or": [{field.path: {"$regex": field.pattern(term), "$options": "i"}} for field in SEARCHED_FIELDS]}


def hit(terms: Terms) -> Document:
    """Return the expression that is true for calls with all wanted and no unwanted terms."""
    wanted = [_contains_expression(terms, term) for term in terms.wanted]
    unwanted = [{"$not": [_contains_expression(terms, term)]} for term in terms.unwanted]
    return {"$and": [*wanted, *unwanted]}


def score_expression(terms: Terms) -> Document:
    """Return the expression of the score, by the fields that contain each term."""
    return {
        "$add": [
            {"$cond": [_is_in_field(field, terms, term), field.weight, 0]}
            for term in terms.wanted
            for field in SEARCHED_FIELDS
        ]
    }


def _contains_expression(terms: Terms, term: Term) -> Document:
    return {"$or": [_is_in_field(field, terms, term) for field in SEARCHED_FIELDS]}


def _is_in_field(field: SearchedField, terms: Terms, term: Term) -> Document:
    if term in terms.substrings:
        return _contains_lowered(f"${field.path}", field.as_written(term).lower())
    return {"$regexMatch": {"input": f"${field.path}", "regex": field.pattern(term), "options": "i"}}


def _contains_lowered(text: Document | str, lowered: str) -> Document:
    """Return the expression that a text contains an ASCII text in lower case, ignoring letter case."""
    for letter, equivalent in _CASE_EQUIVALENTS.items():
        if letter in lowered:
            text = {"$replaceAll": {"input": text, "find": equivalent, "replacement": letter}}
    # MongoDB's `$toLower` changes ASCII only.
    return {"$gte": [{"$indexOfBytes": [{"$toLower": text}, {"$literal": lowered}]}, 0]}


def words_by_field(call: Document) -> tuple[dict[str, int], bool]:
    """Return a call's words with the bits of their fields, and True if a field has too many words."""
    bits: dict[str, int] = {}
    is_cut = False
    for field in SEARCHED_FIELDS:
        conditions = words_of(field.text(call), is_json=field.is_json)
        is_cut = is_cut or len(conditions) > MAX_WORDS
        for word in conditions[:MAX_WORDS]:
            bits[word] = bits.get(word, 0) | field.bit
    return bits, is_cut

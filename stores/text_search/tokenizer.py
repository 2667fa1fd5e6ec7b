"""Tokenizer of the text index, for stored texts and for search terms.

Letter case is folded. Compound words (`ConnectionTimeout`, `read_timeout`) yield the whole word and its parts. Scripts
without spaces between words (such as Chinese, Japanese, Korean and Thai) yield single characters and adjacent pairs.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice, pairwise
from typing import Final

MAX_WORD_LENGTH: Final = 40
"""Maximum characters of a word; longer words, mostly data, are indexed by this prefix."""

MAX_WORDS: Final = 2_000
"""Maximum different words of one text; further ones are ignored."""

_SLICE_LENGTH: Final = 20_000
"""Characters tokenized in one step; a longer step would block other threads."""

_CACHE_SIZE: Final = 50_000
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


@lru_cache(_CACHE_SIZE)  # programs repeat their words
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

"""Words: what an index of texts is made of, and what is looked for in it.

Letter case is folded. A word of several parts (`ConnectionTimeout`, `read_timeout`) is there as a whole and by its
parts. Scripts that put no spaces between words (Chinese, Japanese, Korean, Thai and their like) are there by their
characters and by each two of them that stand together.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice, pairwise
from typing import Final

LONGEST: Final = 40
"""Characters of a word that count: longer ones, mostly data, are there by so many of their first."""

MOST: Final = 2_000
"""Different words of one text that count: the first."""

_MANY: Final = 20_000
"""Characters that are taken apart at once: what takes longer would keep other threads waiting."""

_KEPT: Final = 50_000
_ESCAPE_OR_WORD: Final = re.compile(r"\\u[0-9a-f]{4}|\\.|(\w+)")
_WORD: Final = re.compile(r"\w+")
_BETWEEN_PARTS: Final = re.compile(r"_+|(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_UNSPACED: Final = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3105-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+)"
)


def words_of(text: str, *, is_json: bool = False) -> list[str]:
    """The different words of a text, or of a JSON text with its keys: one more than `MOST` where there are more."""
    pattern = _ESCAPE_OR_WORD if is_json else _WORD
    found = chain.from_iterable(map(_forms, chain.from_iterable(map(pattern.findall, _slices(text)))))
    return list(islice(dict.fromkeys(found), MOST + 1)) if len(text) <= _MANY else _first(found)


def words_to_find(text: str) -> tuple[list[str], bool]:
    """The words that a call must have to have a text in it, and whether that is all there is to it."""
    words = _WORD.findall(text)
    found = [each for word in words for each in _to_find(word)]
    is_exact = len(found) == 1 and words == [text] and len(text) <= LONGEST and not _UNSPACED.search(text)
    return list(dict.fromkeys(found)), is_exact


def _first(found: Iterable[str]) -> list[str]:
    first: dict[str, None] = {}
    for word in found:
        first[word] = None
        if len(first) > MOST:
            break
    return list(first)


def _slices(text: str) -> Iterator[str]:
    """The text, a long one in slices that end where no word does, nor an escape in JSON."""
    start = 0
    while len(text) - start > _MANY:
        end = start + _MANY
        while end < len(text) and end - start < 2 * _MANY and text[end] != " ":
            end += 1
        yield text[start:end]
        start = end
    yield text[start:]


@lru_cache(_KEPT)  # programs say much the same again and again
def _forms(word: str) -> tuple[str, ...]:
    """What a word is found by; nothing for what is no word but an escape."""
    if not word.isascii() and _UNSPACED.search(word):
        pieces = _UNSPACED.split(word)
        unspaced = (form for run in pieces[1::2] for form in (*run, *map("".join, pairwise(run))))
        return (*unspaced, *chain.from_iterable(map(_forms, filter(None, pieces[::2]))))
    whole = word[:LONGEST].casefold()
    if "_" not in word and word[1:].casefold() == word[1:]:
        return (whole,) if whole else ()
    parts = (part[:LONGEST].casefold() for part in _BETWEEN_PARTS.split(word) if len(part) > 1)
    return tuple(dict.fromkeys((whole, *parts)))


def _to_find(word: str) -> Iterator[str]:
    """The forms that tell a word best: as a whole, or by each two of its characters."""
    if word.isascii() or not _UNSPACED.search(word):
        yield word[:LONGEST].casefold()
        return
    pieces = _UNSPACED.split(word)
    for run in pieces[1::2]:
        yield from map("".join, pairwise(run)) if len(run) > 1 else run
    for piece in filter(None, pieces[::2]):
        yield piece[:LONGEST].casefold()

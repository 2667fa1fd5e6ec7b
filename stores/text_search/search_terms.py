"""Parsing of search text into words and phrases, wanted or unwanted."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from stores.errors import BadInputError
from stores.json import codec
from stores.text_search.tokenizer import words_to_find

MAX_TEXT: Final = 1_000
"""Maximum characters of a search text."""
MAX_TERMS: Final = 20
MAX_IN_PATTERNS: Final = 200
"""Maximum characters of all terms that become regular expressions.

If a text nearly matches everywhere, MongoDB compares each of its characters with all of them: 900 took 8 seconds for
3.5 MB. Other terms use fast substring search (`searched_fields`), which ignores letter case for ASCII only.
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
    if len(text) > MAX_TEXT:
        raise BadInputError(f"has {len(text):,} characters; the limit is {MAX_TEXT:,}", "text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadInputError("contains a lone surrogate, which no stored text has; remove it", "text")
    terms_found = [Term(phrase or word, bool(minus)) for minus, phrase, word in _TERM.findall(text)]
    wanted = [term for term in dict.fromkeys(terms_found) if term.text.strip() and not term.is_negative]
    unwanted = [term for term in dict.fromkeys(terms_found) if term.text.strip() and term.is_negative]
    if not wanted:
        what = "has only excluded terms" if unwanted else "is empty"
        raise BadInputError(f'{what}; add a word to search for, or a "phrase in quotes"', "text")
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

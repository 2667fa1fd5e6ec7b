"""What people look for, taken apart: words and phrases, all of which a call must have, and those that it must not."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from stores.errors import BadInputError
from stores.json import codec
from stores.text_search.tokenizer import words_to_find

MAX_TEXT: Final = 1_000
"""Characters of what is looked for."""
MAX_TERMS: Final = 20
MAX_IN_PATTERNS: Final = 200
"""Characters of all that is looked for by regular expressions.

Where a text nearly matches everywhere, MongoDB compares each of its characters with all of them: 900 took it 8 seconds
for 3.5 MB. Other texts are found in as good as no time (`parts`), but only ASCII has a letter case there.
"""
_SHORT: Final = 8
"""Characters of a term that is left to a regular expression; all terms may be so short."""

_TERM: Final = re.compile(r'(-(?=[^\s-]))?(?:"([^"]*)(?:"|\Z)|(\S+))')


@dataclass(frozen=True)
class Term:
    """One word, or a phrase: a text that stands in a call as it is, but for letter case."""

    text: str
    is_negative: bool = False

    @cached_property
    def words(self) -> list[str]:
        """The words that a call must have to have it, at least."""
        return words_to_find(self.text)[0]

    @cached_property
    def is_word(self) -> bool:
        """Whether it is a word, and nothing is to be looked at but whether a call has that."""
        return words_to_find(self.text)[1]

    @cached_property
    def length(self) -> int:
        """Characters of it in JSON, where it is longest."""
        return len(codec.encode(self.text)) - 2


@dataclass(frozen=True)
class Terms:
    """All that is looked for at once."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...] = ()

    @property
    def have_words(self) -> bool:
        """Whether there is a word in them, so that an index of words leads to the calls."""
        return any(term.words for term in self.wanted)

    @cached_property
    def compared(self) -> frozenset[Term]:
        """Those that are compared as they are, in lower case; no regular expression looks for them."""
        every = (*self.wanted, *self.unwanted)
        if sum(term.length for term in every) <= MAX_IN_PATTERNS:
            return frozenset()
        return frozenset(term for term in every if term.length > _SHORT and term.text.isascii())

    @property
    def length_in_patterns(self) -> int:
        """Characters of all others."""
        return sum(term.length for term in (*self.wanted, *self.unwanted) if term not in self.compared)


def parse(text: str) -> Terms:
    """The terms of a text as people write it: `timeout "no answer" -retry`.

    Raises:
        BadInputError: nothing is looked for, or too much, or what is no text.
    """
    if len(text) > MAX_TEXT:
        raise BadInputError(f"has {len(text):,} characters; the limit is {MAX_TEXT:,}", "text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadInputError("holds a lone surrogate, which no stored text has; leave it out", "text")
    found = [Term(phrase or word, bool(minus)) for minus, phrase, word in _TERM.findall(text)]
    wanted = [term for term in dict.fromkeys(found) if term.text.strip() and not term.is_negative]
    unwanted = [term for term in dict.fromkeys(found) if term.text.strip() and term.is_negative]
    if not wanted:
        what = "only says what calls must not have" if unwanted else "is empty"
        raise BadInputError(f'{what}; name a word to look for, or a "phrase in quotes"', "text")
    if len(wanted) + len(unwanted) > MAX_TERMS:
        raise BadInputError(
            f"has {len(wanted) + len(unwanted)} words and phrases; the limit is {MAX_TERMS} "
            "(what is in quotes is one phrase)",
            "text",
        )
    terms = Terms(tuple(wanted), tuple(unwanted))
    if terms.length_in_patterns > MAX_IN_PATTERNS:
        raise BadInputError(
            f"has {terms.length_in_patterns} characters in words and phrases that hold others than ASCII; the limit is "
            f"{MAX_IN_PATTERNS} together; leave some out",
            "text",
        )
    return terms
